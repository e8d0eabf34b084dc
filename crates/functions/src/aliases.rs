//! Aliases: names that stand for a version, or for two of them by weight.

use std::sync::Arc;

use base::{Batch, FunctionName, Scope};
use serde::{Deserialize, Serialize};

use crate::function::qualified;
use crate::functions::{Functions, MAX_DESCRIPTION_CHARS, prefix};
use crate::permissions::policy_key;
use crate::{AliasName, Function, FunctionError, Qualifier, Version};

/// Of so many calls a weight is a part.
const WHOLE: u64 = 1_000_000;

/// An alias of a function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alias {
    /// Its name.
    pub name: AliasName,
    /// What it stands for.
    pub version: Version,
    /// For people; at most 256 characters.
    pub description: String,
    /// Another version that gets a part of the calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<Weighted>,
    /// A UUID; changes with every change.
    pub revision: String,
}

/// A version with a part of the calls, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Weighted {
    /// The version.
    pub version: Version,
    /// The part.
    pub weight: f64,
}

/// New values of an alias; absent ones stay as they are.
#[derive(Debug, Clone, Default)]
pub struct AliasChange {
    /// See [`Alias::version`].
    pub version: Option<Version>,
    /// See [`Alias::description`].
    pub description: Option<String>,
    /// See [`Alias::other`]; an inner `None` takes it away.
    pub other: Option<Option<Weighted>>,
    /// Only when this is the latest revision.
    pub revision: Option<String>,
}

impl Alias {
    pub(crate) fn names(&self, version: Version) -> bool {
        self.version == version || self.other.is_some_and(|other| other.version == version)
    }
}

fn alias_key(scope: &Scope, function: &FunctionName, alias: &AliasName) -> String {
    format!("{}{alias}", prefix(scope, function))
}

impl Functions {
    pub(crate) fn find_alias(&self, scope: &Scope, function: &FunctionName, alias: &AliasName) -> Option<Arc<Alias>> {
        self.inner.aliases.find(&alias_key(scope, function, alias))
    }

    /// An alias of a function.
    pub fn alias(
        &self,
        scope: &Scope,
        function: &FunctionName,
        alias: &AliasName,
    ) -> Result<Arc<Alias>, FunctionError> {
        self.get(scope, function)?;
        self.find_alias(scope, function, alias).ok_or_else(|| {
            let arn = qualified(scope, function, &Qualifier::Alias(alias.clone()));
            FunctionError::Missing(format!("Cannot find alias arn: {arn}"))
        })
    }

    /// All aliases of a function, by name.
    pub fn aliases(&self, scope: &Scope, function: &FunctionName) -> Result<Vec<Arc<Alias>>, FunctionError> {
        self.get(scope, function)?;
        Ok(self.inner.aliases.below(&prefix(scope, function)).into_iter().map(|(_, alias)| alias).collect())
    }

    /// Which version a call by this alias gets.
    pub(crate) fn drawn(&self, alias: &Alias) -> Version {
        match alias.other {
            // A weight has been checked to be from 0 to 1.
            Some(other) if self.inner.env.rng.below(WHOLE) < (other.weight * WHOLE as f64) as u64 => other.version,
            _ => alias.version,
        }
    }

    /// Makes an alias.
    pub async fn create_alias(
        &self,
        scope: &Scope,
        function: &FunctionName,
        name: AliasName,
        change: AliasChange,
    ) -> Result<Arc<Alias>, FunctionError> {
        self.get(scope, function)?;
        if self.find_alias(scope, function, &name).is_some() {
            let arn = qualified(scope, function, &Qualifier::Alias(name));
            return Err(FunctionError::Taken(format!("Alias already exists: {arn}")));
        }
        let new =
            Alias { name, version: Version::Latest, description: String::new(), other: None, revision: String::new() };
        self.put_alias(scope, function, new, change).await
    }

    /// Changes an alias.
    pub async fn update_alias(
        &self,
        scope: &Scope,
        function: &FunctionName,
        name: &AliasName,
        change: AliasChange,
    ) -> Result<Arc<Alias>, FunctionError> {
        let old = self.alias(scope, function, name)?;
        if let Some(given) = change.revision.clone().filter(|given| *given != old.revision) {
            return Err(FunctionError::RevisionMismatch { name: function.clone(), given });
        }
        self.put_alias(scope, function, (*old).clone(), change).await
    }

    async fn put_alias(
        &self,
        scope: &Scope,
        function: &FunctionName,
        old: Alias,
        change: AliasChange,
    ) -> Result<Arc<Alias>, FunctionError> {
        let alias = Alias {
            version: change.version.unwrap_or(old.version),
            description: change.description.unwrap_or(old.description),
            other: change.other.unwrap_or(old.other),
            revision: self.inner.env.rng.uuid(),
            name: old.name,
        };
        // No version that it names is deleted meanwhile.
        let _turn = self.inner.turn.acquire().await;
        self.check_alias(scope, function, &alias)?;
        let key = alias_key(scope, function, &alias.name);
        let (stored, unchanged) = self.inner.aliases.read(&key)?;
        if stored.map(|stored| stored.revision).unwrap_or_default() != old.revision {
            return Err(FunctionError::Changing(function.clone()));
        }
        let batch = self.inner.registry.present(Batch::new(), scope, function);
        let batch = self.inner.aliases.require(batch, &key, unchanged);
        let batch = self.inner.aliases.put(batch, &key, &alias)?;
        self.commit(function, batch).await?;
        self.inner.aliases.refresh(&key)?;
        self.alias(scope, function, &alias.name)
    }

    fn check_alias(&self, scope: &Scope, function: &FunctionName, alias: &Alias) -> Result<(), FunctionError> {
        let invalid = |message: String| Err(FunctionError::Invalid(message));
        if alias.description.chars().count() > MAX_DESCRIPTION_CHARS {
            return invalid(format!("Description has more than {MAX_DESCRIPTION_CHARS} characters"));
        }
        self.version(scope, function, alias.version)?;
        let Some(other) = alias.other else { return Ok(()) };
        self.version(scope, function, other.version)?;
        if !(0.0..=1.0).contains(&other.weight) {
            return invalid(format!("The weight of version {} must be from 0.0 to 1.0", other.version));
        }
        if other.version == alias.version {
            let version = other.version;
            return invalid(format!(
                "Invalid function version {version}. Function version {version} is already included in routing configuration."
            ));
        }
        if alias.version.is_latest() || other.version.is_latest() {
            return invalid("$LATEST is not supported for an alias pointing to more than 1 version".to_owned());
        }
        // "Implementing Lambda canary deployments": both versions have the same role and dead-letter queue.
        let same = |f: Arc<Function>| (f.settings.role.clone(), f.settings.dead_letters.clone());
        if self.version(scope, function, alias.version).map(same)?
            != self.version(scope, function, other.version).map(same)?
        {
            let message = "the two versions of an alias must have the same role and dead-letter queue".to_owned();
            return Err(FunctionError::Invalid(message));
        }
        Ok(())
    }

    /// Deletes an alias; that there was none is no error.
    pub async fn delete_alias(
        &self,
        scope: &Scope,
        function: &FunctionName,
        name: &AliasName,
    ) -> Result<(), FunctionError> {
        self.get(scope, function)?;
        let key = alias_key(scope, function, name);
        let policy = policy_key(scope, function, Some(&Qualifier::Alias(name.clone())));
        let _turn = self.inner.turn.acquire().await;
        let batch = self.inner.policies.delete(self.inner.aliases.delete(Batch::new(), &key), &policy);
        self.commit(function, batch).await?;
        self.inner.aliases.refresh(&key)?;
        self.inner.policies.refresh(&policy)
    }
}
