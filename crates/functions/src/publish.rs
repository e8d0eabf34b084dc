//! Published versions of functions: code and settings as they were, under a number that is never used again.

use std::sync::Arc;

use base::{Batch, FunctionName, Scope, StateError};
use serde::{Deserialize, Serialize};

use crate::function::qualified;
use crate::functions::{Functions, MAX_DESCRIPTION_CHARS, prefix, same_revision};
use crate::permissions::policy_key;
use crate::pool::Input;
use crate::{Function, FunctionError, Qualifier, Version};

/// The last number of a function's name, also of one that was deleted.
#[derive(Serialize, Deserialize)]
pub(crate) struct Numbers {
    pub last: u64,
}

/// What is to be published.
#[derive(Debug, Clone, Default)]
pub struct Publication {
    /// Only when the code is this one.
    pub code_sha256: Option<String>,
    /// Instead of the function's own.
    pub description: Option<String>,
    /// Only when this is the latest revision.
    pub revision: Option<String>,
}

pub(crate) fn version_key(scope: &Scope, name: &FunctionName, number: u64) -> String {
    format!("{}{number:020}", prefix(scope, name))
}

impl Functions {
    /// A function by version or alias; of an alias with weights the version that it mainly stands for.
    pub fn resolve(
        &self,
        scope: &Scope,
        name: &FunctionName,
        qualifier: Option<&Qualifier>,
    ) -> Result<Arc<Function>, FunctionError> {
        match qualifier {
            None => self.get(scope, name),
            Some(Qualifier::Version(version)) => self.version(scope, name, *version),
            Some(qualifier @ Qualifier::Alias(alias)) => {
                let gone = |_| FunctionError::NotFound(qualified(scope, name, qualifier));
                self.get(scope, name).map_err(gone)?;
                self.version(scope, name, self.alias(scope, name, alias)?.version)
            }
        }
    }

    pub(crate) fn version(
        &self,
        scope: &Scope,
        name: &FunctionName,
        version: Version,
    ) -> Result<Arc<Function>, FunctionError> {
        let Version::Number(number) = version else { return self.get(scope, name) };
        let found = self.inner.versions.find(&version_key(scope, name, number));
        found.ok_or_else(|| FunctionError::NotFound(qualified(scope, name, &Qualifier::Version(version))))
    }

    /// All versions of a function: the one that changes, then the published ones by number.
    pub fn versions(&self, scope: &Scope, name: &FunctionName) -> Result<Vec<Arc<Function>>, FunctionError> {
        let published = self.inner.versions.below(&prefix(scope, name)).into_iter().map(|(_, version)| version);
        Ok(std::iter::once(self.get(scope, name)?).chain(published).collect())
    }

    /// Publishes what the function is now. When that is what was published last, nothing is made and that is the answer.
    pub async fn publish(
        &self,
        scope: &Scope,
        name: &FunctionName,
        publication: Publication,
    ) -> Result<Arc<Function>, FunctionError> {
        let latest = self.get(scope, name)?;
        same_revision(&latest, publication.revision.as_deref())?;
        if let Some(given) = publication.code_sha256.filter(|given| *given != latest.code.sha256) {
            return Err(FunctionError::Invalid(format!(
                "CodeSHA256 ({given}) is different from current CodeSHA256 in $LATEST ({}). Please try again with the \
                 CodeSHA256 in $LATEST.",
                latest.code.sha256
            )));
        }
        let described = publication.description.unwrap_or_else(|| latest.settings.description.clone());
        if described.chars().count() > MAX_DESCRIPTION_CHARS {
            let message = format!("Description has more than {MAX_DESCRIPTION_CHARS} characters");
            return Err(FunctionError::Invalid(message));
        }
        let asked = Function {
            settings: crate::Settings { description: described.clone(), ..latest.settings.clone() },
            ..(*latest).clone()
        };
        if let Some(last) = self.same_version(&asked) {
            return Ok(last);
        }
        self.check_storage(latest.code.size)?;
        // Held until the version is known, so that nobody removes its code meanwhile.
        let _package = self.inner.packages.folder(scope, name.as_str(), &latest.code).await?;
        let batch = self.inner.registry.unchanged(Batch::new(), &latest)?;
        let (batch, version) = self.numbered(batch, &latest, described)?;
        self.commit(name, batch).await?;
        self.published(scope, name, version)
    }

    /// The last version of a function, if it has the same code and settings.
    pub(crate) fn same_version(&self, latest: &Function) -> Option<Arc<Function>> {
        let (_, last) = self.inner.versions.below(&prefix(&latest.scope, &latest.name)).pop()?;
        let description = last.settings.description.clone();
        let settings = crate::Settings { description, ..latest.settings.clone() };
        (last.code == latest.code && last.settings == settings).then_some(last)
    }

    /// Adds the next version of a function as it is, and says which that is.
    pub(crate) fn numbered(
        &self,
        batch: Batch,
        latest: &Function,
        description: String,
    ) -> Result<(Batch, Version), FunctionError> {
        let (scope, name) = (&latest.scope, &latest.name);
        let home = prefix(scope, name);
        let (numbers, unchanged) = self.inner.numbers.read(&home)?;
        let number = numbers.map_or(0, |numbers| numbers.last) + 1;
        let version = Function {
            settings: crate::Settings { description, ..latest.settings.clone() },
            version: Version::Number(number),
            revision: self.inner.env.rng.uuid(),
            last_modified: self.inner.env.clock.now(),
            tags: Default::default(),
            ..latest.clone()
        };
        let batch = self.inner.numbers.require(batch, &home, unchanged);
        let batch = self.inner.numbers.put(batch, &home, &Numbers { last: number })?;
        let batch = self.inner.versions.put(batch, &version_key(scope, name, number), &version)?;
        Ok((batch, version.version))
    }

    /// Takes over a version that was published.
    pub(crate) fn published(
        &self,
        scope: &Scope,
        name: &FunctionName,
        version: Version,
    ) -> Result<Arc<Function>, FunctionError> {
        if let Version::Number(number) = version {
            self.inner.numbers.refresh(&prefix(scope, name))?;
            self.inner.versions.refresh(&version_key(scope, name, number))?;
        }
        self.version(scope, name, version)
    }

    /// Deletes a published version. One that an alias names stays.
    pub async fn delete_version(&self, scope: &Scope, name: &FunctionName, number: u64) -> Result<(), FunctionError> {
        let version = Version::Number(number);
        let turn = self.inner.turn.acquire().await;
        self.version(scope, name, version)?;
        let aliases = self.aliases(scope, name)?;
        let holds: Vec<&str> = aliases.iter().filter(|a| a.names(version)).map(|a| a.name.as_str()).collect();
        if !holds.is_empty() {
            let held = qualified(scope, name, &Qualifier::Version(version));
            let message = format!("Version {held} is still referenced by the aliases: {}", holds.join(", "));
            return Err(FunctionError::Taken(message));
        }
        let key = version_key(scope, name, number);
        let policy = policy_key(scope, name, Some(&Qualifier::Version(version)));
        let batch = self.inner.policies.delete(self.inner.versions.delete(Batch::new(), &key), &policy);
        self.commit(name, batch).await?;
        self.inner.versions.refresh(&key)?;
        self.inner.policies.refresh(&policy)?;
        drop(turn);
        let function = crate::functions::key(scope, name);
        self.step(Input::Replaced { function, version: Some(version), revision: None });
        self.sweep(scope, name).await;
        Ok(())
    }

    /// Commits a change to what belongs to a function.
    pub(crate) async fn commit(&self, name: &FunctionName, batch: Batch) -> Result<(), FunctionError> {
        match self.inner.state.commit(batch).await {
            Ok(()) => Ok(()),
            Err(StateError::Conflict { .. }) => Err(FunctionError::Changing(name.clone())),
            Err(error) => Err(error.into()),
        }
    }
}
