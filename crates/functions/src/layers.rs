//! Layers: published, listed, deleted, and laid together for a function.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use base::{Arn, Batch, Scope, StateError};
use bytes::Bytes;

use crate::functions::{Functions, MAX_DESCRIPTION_CHARS};
use crate::layer::{LayerName, LayerUse, LayerVersion, layer_arn, parse, version_arn};
use crate::packages::{PackageFolder, blocking, code_of};
use crate::publish::Numbers;
use crate::{Code, FunctionError, Settings};

/// Layers of one function ("Lambda quotas").
const MAX_LAYERS: usize = 5;
/// Runtimes and processors that a layer may name ("PublishLayerVersion").
const MAX_NAMED: usize = 15;
/// Where the service looks for extensions: programs that run beside a function.
const EXTENSIONS: &str = "extensions";
/// Code and layers of a function, unpacked ("Lambda quotas": 250 MB).
const MAX_UNPACKED_BYTES: u64 = 250 << 20;

/// A layer version to publish.
#[derive(Debug, Clone, Default)]
pub struct NewLayer {
    /// See [`LayerVersion::description`].
    pub description: String,
    /// See [`LayerVersion::runtimes`].
    pub runtimes: Vec<String>,
    /// See [`LayerVersion::architectures`].
    pub architectures: Vec<String>,
    /// See [`LayerVersion::license`].
    pub license: String,
}

fn prefix(scope: &Scope, name: &LayerName) -> String {
    format!("{scope}/{name}/")
}

fn key(scope: &Scope, name: &LayerName, number: u64) -> String {
    format!("{}{number:020}", prefix(scope, name))
}

impl Functions {
    /// Publishes a version of a layer, which comes to be with its first.
    pub async fn publish_layer(
        &self,
        scope: &Scope,
        name: &LayerName,
        new: NewLayer,
        archive: Bytes,
    ) -> Result<Arc<LayerVersion>, FunctionError> {
        if new.description.chars().count() > MAX_DESCRIPTION_CHARS {
            let message = format!("Description has more than {MAX_DESCRIPTION_CHARS} characters");
            return Err(FunctionError::Invalid(message));
        }
        if new.runtimes.len() > MAX_NAMED || new.architectures.len() > MAX_NAMED {
            return Err(FunctionError::Invalid(format!("a layer names at most {MAX_NAMED} runtimes")));
        }
        let published = self.insert_layer(scope, name, new, archive).await;
        if published.is_err() {
            self.sweep_layer(scope, name).await;
        }
        published
    }

    async fn insert_layer(
        &self,
        scope: &Scope,
        name: &LayerName,
        new: NewLayer,
        archive: Bytes,
    ) -> Result<Arc<LayerVersion>, FunctionError> {
        let inner = &self.inner;
        let code = code_of(&archive)?;
        self.check_storage(code.size)?;
        // Held until the version is known.
        let package = inner.layer_packages.store(scope, name.as_str(), &code, archive).await?;
        self.refuse_extensions(package.path()).await?;
        let home = prefix(scope, name);
        // Of several at once each has a number of its own.
        let _turn = inner.turn.acquire().await;
        let (numbers, unchanged) = inner.layer_numbers.read(&home)?;
        let number = numbers.map_or(0, |numbers| numbers.last) + 1;
        let version = LayerVersion {
            scope: scope.clone(),
            name: name.clone(),
            number,
            code,
            description: new.description,
            runtimes: new.runtimes,
            architectures: new.architectures,
            license: new.license,
            created: inner.env.clock.now(),
        };
        let key = key(scope, name, number);
        let batch = inner.layer_numbers.require(Batch::new(), &home, unchanged);
        let batch = inner.layer_numbers.put(batch, &home, &Numbers { last: number })?;
        let batch = inner.layers.put(batch, &key, &version)?;
        self.commit_layer(name, batch).await?;
        inner.layer_numbers.refresh(&home)?;
        inner.layers.refresh(&key)?;
        self.layer(scope, name, number)
    }

    async fn commit_layer(&self, name: &LayerName, batch: Batch) -> Result<(), FunctionError> {
        match self.inner.state.commit(batch).await {
            Ok(()) => Ok(()),
            Err(StateError::Conflict { .. }) => {
                Err(FunctionError::Taken(format!("layer {name} is being changed by another call; try again")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A version of a layer.
    pub fn layer(&self, scope: &Scope, name: &LayerName, number: u64) -> Result<Arc<LayerVersion>, FunctionError> {
        let found = self.inner.layers.find(&key(scope, name, number));
        let arn = || version_arn(scope, name, number);
        found.ok_or_else(|| FunctionError::Missing(format!("Layer version {} does not exist.", arn())))
    }

    /// All versions of a layer, by number; none when there is no such layer.
    pub fn layer_versions(&self, scope: &Scope, name: &LayerName) -> Vec<Arc<LayerVersion>> {
        self.inner.layers.below(&prefix(scope, name)).into_iter().map(|(_, version)| version).collect()
    }

    /// The latest version of every layer, by name.
    pub fn layers(&self, scope: &Scope) -> Vec<Arc<LayerVersion>> {
        let mut latest: Vec<Arc<LayerVersion>> = Vec::new();
        for (_, version) in self.inner.layers.below(&format!("{scope}/")) {
            match latest.last_mut().filter(|last| last.name == version.name) {
                Some(last) => *last = version,
                None => latest.push(version),
            }
        }
        latest
    }

    /// Deletes a version of a layer; that there was none is no error. Functions that use it keep it.
    pub async fn delete_layer(&self, scope: &Scope, name: &LayerName, number: u64) -> Result<(), FunctionError> {
        let key = key(scope, name, number);
        self.commit_layer(name, self.inner.layers.delete(Batch::new(), &key)).await?;
        self.inner.layers.refresh(&key)?;
        self.sweep_layer(scope, name).await;
        Ok(())
    }

    /// The layers that a function is to have, in the order in which they are laid over each other.
    pub fn layers_by_arn(&self, scope: &Scope, arns: &[Arn]) -> Result<Vec<LayerUse>, FunctionError> {
        if arns.len() > MAX_LAYERS {
            return Err(FunctionError::Invalid(format!("Cannot reference more than {MAX_LAYERS} layers.")));
        }
        let mut uses: Vec<(LayerName, LayerUse)> = Vec::new();
        for arn in arns {
            let missing = || FunctionError::Invalid(format!("Layer version {arn} does not exist."));
            let (of, name, number) = parse(arn).ok_or_else(missing)?;
            let version = self.layer(&of, &name, number).map_err(|_| missing()).ok();
            let version = version.filter(|_| of == *scope).ok_or_else(missing)?;
            if let Some((_, other)) = uses.iter().find(|(used, _)| *used == name) {
                return Err(FunctionError::Invalid(format!(
                    "Two different versions of the same layer are not allowed to be referenced in the same function. \
                     {} and {arn} are versions of the same layer",
                    other.arn
                )));
            }
            uses.push((name, LayerUse { arn: arn.clone(), code: version.code.clone() }));
        }
        Ok(uses.into_iter().map(|(_, used)| used).collect())
    }

    /// The folder that stands for `/opt` of a function, if it has layers; held while the answer is.
    pub(crate) async fn opt(&self, settings: &Settings) -> Result<Option<PackageFolder>, FunctionError> {
        if settings.layers.is_empty() {
            return Ok(None);
        }
        let layers = settings.layers.iter().map(|used| {
            let (scope, name, _) = used
                .parts()
                .ok_or_else(|| FunctionError::Unavailable(format!("{} is not the ARN of a layer version", used.arn)))?;
            Ok(self.inner.layer_packages.archive(&scope, name.as_str(), &used.code))
        });
        let layers = layers.collect::<Result<Vec<_>, FunctionError>>()?;
        let codes: Vec<Code> = settings.layers.iter().map(|used| used.code.clone()).collect();
        self.inner.opts.layered(&codes, layers).await.map(Some)
    }

    /// Refuses layers with programs that the service would start beside the function and that would be missed here.
    pub(crate) async fn refuse_extensions(&self, layer: &Path) -> Result<(), FunctionError> {
        let (env, folder) = (self.inner.env.clone(), layer.join(EXTENSIONS));
        let found = blocking(move || {
            if !env.fs.exists(&folder).map_err(FunctionError::io(&folder))? {
                return Ok(None);
            }
            let entries = env.fs.read_dir(&folder).map_err(FunctionError::io(&folder))?;
            Ok(entries.into_iter().filter(|entry| !entry.is_dir).map(|entry| entry.name).min())
        });
        match found.await? {
            None => Ok(()),
            Some(name) => Err(FunctionError::Invalid(format!(
                "{EXTENSIONS}/{name}: this server does not run Lambda extensions (the Extensions API), so the layer would \
                 not do what it is for; leave the folder {EXTENSIONS} out, or start the program from a script named by \
                 AWS_LAMBDA_EXEC_WRAPPER"
            ))),
        }
    }

    /// Refuses code and layers that are too large together.
    pub(crate) async fn check_size(&self, package: &Path, opt: &Path) -> Result<(), FunctionError> {
        let size = self.inner.opts.size(&[package, opt]).await?;
        if size > MAX_UNPACKED_BYTES {
            return Err(FunctionError::Invalid(format!(
                "Function code combined with layers exceeds the maximum allowed size of {MAX_UNPACKED_BYTES} bytes. \
                 The actual size is {size} bytes."
            )));
        }
        Ok(())
    }

    /// Keeps the layers that a function is to have until it has them. One that was deleted meanwhile is refused, unless
    /// the function `had` it already.
    pub(crate) fn keep_layers(
        &self,
        layers: &[LayerUse],
        had: &[LayerUse],
    ) -> Result<Vec<PackageFolder>, FunctionError> {
        let keep = |used: &LayerUse| {
            let missing = || FunctionError::Invalid(format!("Layer version {} does not exist.", used.arn));
            let (scope, name, number) = used.parts().ok_or_else(missing)?;
            // In this order: whoever deletes the version removes its files afterwards, and then sees that they are held.
            let kept = self.inner.layer_packages.keep(&scope, name.as_str(), &used.code);
            let is_there = self.layer(&scope, &name, number).is_ok();
            if is_there || had.contains(used) { Ok(kept) } else { Err(missing()) }
        };
        layers.iter().map(keep).collect()
    }

    /// Every use of a layer in every version of every function.
    fn uses(&self) -> Vec<Vec<LayerUse>> {
        let latest = self.inner.registry.all();
        let published = self.inner.versions.below("").into_iter().map(|(_, version)| version);
        let all = latest.into_iter().chain(published).filter(|function| !function.settings.layers.is_empty());
        all.map(|function| function.settings.layers.clone()).collect()
    }

    /// What a layer's versions and the functions that use it need.
    fn layer_codes(&self, scope: &Scope, name: &LayerName) -> Vec<Code> {
        let of = layer_arn(scope, name).to_string();
        let mut needed: Vec<Code> = self.layer_versions(scope, name).iter().map(|v| v.code.clone()).collect();
        let used = self.uses().into_iter().flatten();
        let own = used.filter(|used| used.arn.to_string().rsplit_once(':').is_some_and(|(layer, _)| layer == of));
        needed.extend(own.map(|used| used.code));
        needed
    }

    /// Removes what a layer holds on disk that neither a version of it nor a function needs.
    pub(crate) async fn sweep_layer(&self, scope: &Scope, name: &LayerName) {
        let (this, of) = (self.clone(), (scope.clone(), name.clone()));
        let needed = move || this.layer_codes(&of.0, &of.1);
        if let Err(error) = self.inner.layer_packages.sweep(scope, name.as_str(), needed).await {
            tracing::warn!(%scope, layer = %name, %error, "an old layer could not be removed");
        }
    }

    /// Removes what was laid together and no function has any more, and layers that were kept for functions only.
    pub(crate) async fn sweep_layers(&self) {
        let this = self.clone();
        let codes = |list: Vec<LayerUse>| list.into_iter().map(|used| used.code).collect();
        if let Err(error) = self.inner.opts.sweep(move || this.uses().into_iter().map(codes).collect()).await {
            tracing::warn!(%error, "old layers of functions could not be removed");
        }
        // Only layers with something that no version has: the uses of all functions are not looked through for each.
        let homes = self.inner.layer_packages.homes().await.unwrap_or_default();
        for (scope, name) in homes.into_iter().collect::<BTreeSet<(Scope, String)>>() {
            let Ok(name) = LayerName::try_from(name) else { continue };
            let versions: Vec<Code> = self.layer_versions(&scope, &name).iter().map(|v| v.code.clone()).collect();
            if self.inner.layer_packages.has_more(&scope, name.as_str(), versions).await {
                self.sweep_layer(&scope, &name).await;
            }
        }
    }
}
