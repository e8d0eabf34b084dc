//! Functions as the rest of the server sees them: create, look up, change, delete. How they are called is in `invoke`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::{Batch, Env, FunctionName, LogSink, Scope, Sessions, StateStore, Table, TaskGroup};
use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::aliases::Alias;
use crate::concurrency::Reserved;
use crate::environment::{self, Folders, Inside, Work};
use crate::interpreter::Interpreters;
use crate::keyring::Keyring;
use crate::layer::LayerVersion;
use crate::opts::Opts;
use crate::packages::{PackageFolder, Packages, blocking, code_of};
use crate::permissions::Policy;
use crate::pool::{Action, EnvironmentId, Input, Limits, Owner, Pool};
use crate::publish::Numbers;
use crate::registry::Registry;
use crate::rows::Rows;
use crate::runtime::Family;
use crate::sandbox::{self, Users, Walls};
use crate::{Code, Config, Function, FunctionError, Settings, SettingsChange, Version};

/// What functions need from other rooms.
#[derive(Clone)]
pub struct Ports {
    /// Keeps the registry.
    pub state: Arc<dyn StateStore>,
    /// Takes the output of functions.
    pub logs: Arc<dyn LogSink>,
    /// Gives environments their keys.
    pub sessions: Arc<dyn Sessions>,
}

/// A function to create.
#[derive(Debug, Clone)]
pub struct NewFunction {
    /// Its name.
    pub name: FunctionName,
    /// Its settings.
    pub settings: Settings,
    /// For the owner's book-keeping.
    pub tags: BTreeMap<String, String>,
    /// Publish it as a version in the same step.
    pub publish: bool,
}

/// New code for a function.
#[derive(Debug, Clone)]
pub struct CodeChange {
    /// The zip archive.
    pub archive: Bytes,
    /// Only when this is the latest revision.
    pub revision: Option<String>,
    /// Check everything, change nothing.
    pub dry_run: bool,
    /// Publish it as a version in the same step.
    pub publish: bool,
}

/// All functions of the server. Cloning gives another handle.
#[derive(Clone)]
pub struct Functions {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub env: Env,
    pub logs: Arc<dyn LogSink>,
    pub keyring: Arc<Keyring>,
    pub config: Arc<Config>,
    pub tasks: TaskGroup,
    pub state: Arc<dyn StateStore>,
    pub registry: Registry,
    pub versions: Rows<Function>,
    pub numbers: Rows<Numbers>,
    pub aliases: Rows<Alias>,
    pub concurrency: Rows<Reserved>,
    pub policies: Rows<Policy>,
    pub layers: Rows<LayerVersion>,
    pub layer_numbers: Rows<Numbers>,
    pub layer_packages: Packages,
    pub opts: Opts,
    pub packages: Packages,
    pub interpreters: Arc<Interpreters>,
    pub walls: Arc<Walls>,
    pub users: Users,
    pub environments: Mutex<Environments>,
    /// Whoever changes what others look at before they change something else has the turn: no two at once.
    pub turn: Semaphore,
}

/// The pool's book and the ways to its environments. An environment ends when its way is dropped.
pub(crate) struct Environments {
    pub pool: Pool,
    pub ways: HashMap<EnvironmentId, mpsc::Sender<Work>>,
    /// Those that are not gone yet, each with the word that it is.
    pub gone: HashMap<EnvironmentId, CancellationToken>,
}

impl Environments {
    fn new(pool: Pool) -> Self {
        Self { pool, ways: HashMap::new(), gone: HashMap::new() }
    }
}

/// The longest invocation, and some time to spare before keys expire under it.
const KEYS_MUST_LAST: Duration = Duration::from_secs(900 + 60);
pub(crate) const MAX_DESCRIPTION_CHARS: usize = 256;
/// Tags of a function ("Using tags on Lambda functions").
const MAX_TAGS: usize = 50;

/// What the keys of everything that belongs to a function begin with.
pub(crate) fn prefix(scope: &Scope, name: &FunctionName) -> String {
    format!("{scope}/{name}/")
}

pub(crate) fn key(scope: &Scope, name: &FunctionName) -> Arc<str> {
    format!("{scope}/{name}").into()
}

fn check(settings: &Settings) -> Result<(), FunctionError> {
    if settings.description.chars().count() > MAX_DESCRIPTION_CHARS {
        let message = format!("Description has more than {MAX_DESCRIPTION_CHARS} characters");
        return Err(FunctionError::Invalid(message));
    }
    Ok(())
}

impl Functions {
    /// Opens the functions kept in the state store and in `config.dir`. Environments run in `tasks` and end with it:
    /// idle ones at once, busy ones after their invocation.
    pub async fn open(env: &Env, ports: Ports, config: Config, tasks: &TaskGroup) -> Result<Self, FunctionError> {
        environment::write_bootstraps(env, &config).await?;
        let (outside, asked) = (env.clone(), config.clone());
        let walls = blocking(move || Ok(sandbox::survey(&outside, &asked))).await?;
        let keyring = Keyring::new(ports.sessions, Arc::clone(&env.clock), config.session_lifetime);
        let age = keyring.good_for().saturating_sub(KEYS_MUST_LAST).max(keyring.good_for() / 2);
        let limits = Limits {
            total: config.max_environments,
            per_function: config.max_environments_per_function,
            idle: config.idle_timeout,
            age,
        };
        let inner = Arc::new(Inner {
            env: env.clone(),
            registry: Registry::load(Arc::clone(&ports.state))?,
            versions: Rows::load(&ports.state, Table("functions.versions"))?,
            numbers: Rows::load(&ports.state, Table("functions.numbers"))?,
            aliases: Rows::load(&ports.state, Table("functions.aliases"))?,
            concurrency: Rows::load(&ports.state, Table("functions.concurrency"))?,
            policies: Rows::load(&ports.state, Table("functions.policies"))?,
            layers: Rows::load(&ports.state, Table("functions.layers"))?,
            layer_numbers: Rows::load(&ports.state, Table("functions.layer_numbers"))?,
            layer_packages: Packages::new(env, &config.dir.join("layers")),
            opts: Opts::new(env, &config.dir.join("opt")),
            state: ports.state,
            packages: Packages::new(env, &config.dir),
            interpreters: Arc::new(Interpreters::new(env, &config)),
            walls: Arc::new(walls),
            users: Users::new(config.first_user),
            environments: Mutex::new(Environments::new(Pool::new(limits))),
            turn: Semaphore::new(1),
            logs: ports.logs,
            keyring: Arc::new(keyring),
            config: Arc::new(config),
            tasks: tasks.clone(),
        });
        let functions = Self { inner };
        functions.inner.registry.all().iter().for_each(|f| functions.reserve_in_pool(&f.scope, &f.name));
        functions.warn_of_too_much_set_aside();
        tasks.spawn_infallible("functions-housekeeping", functions.clone().keep_house());
        Ok(functions)
    }

    /// What was found out about the walls around functions when this was opened.
    pub fn walls(&self) -> &Walls {
        &self.inner.walls
    }

    /// Why functions are not run on this machine with these settings, and what would help.
    pub fn refusal(&self) -> Option<String> {
        environment::refusal(&self.inner.config, &self.inner.walls)
    }

    /// A function.
    pub fn get(&self, scope: &Scope, name: &FunctionName) -> Result<Arc<Function>, FunctionError> {
        self.inner.registry.get(scope, name)
    }

    /// All functions of a scope, by name.
    pub fn list(&self, scope: &Scope) -> Vec<Arc<Function>> {
        self.inner.registry.list(scope)
    }

    /// Creates a function from a zip archive. It can be called when this returns.
    pub async fn create(
        &self,
        scope: &Scope,
        new: NewFunction,
        archive: Bytes,
    ) -> Result<Arc<Function>, FunctionError> {
        check(&new.settings)?;
        check_tags(&new.tags)?;
        if self.inner.registry.find(scope, &new.name).is_some() {
            return Err(FunctionError::Exists(new.name));
        }
        let name = new.name.clone();
        let created = self.insert(scope, new, archive).await;
        if created.is_err() {
            self.sweep(scope, &name).await;
        }
        created
    }

    async fn insert(&self, scope: &Scope, new: NewFunction, archive: Bytes) -> Result<Arc<Function>, FunctionError> {
        let code = code_of(&archive)?;
        self.check_storage(code.size)?;
        // Held until the registry says that they are needed.
        let _layers = self.keep_layers(&new.settings.layers, &[])?;
        let package = self.inner.packages.store(scope, new.name.as_str(), &code, archive).await?;
        let _opt = self.can_run(&new.settings, package.path()).await?;
        let function = Function {
            scope: scope.clone(),
            name: new.name,
            settings: new.settings,
            code,
            revision: self.inner.env.rng.uuid(),
            last_modified: self.inner.env.clock.now(),
            tags: new.tags,
            version: Version::Latest,
        };
        // What a call that crossed a deletion may have left.
        let mut batch = self.without_belongings(scope, &function.name);
        let mut version = None;
        if new.publish {
            let description = function.settings.description.clone();
            let (with, number) = self.numbered(batch, &function, description)?;
            (batch, version) = (with, Some(number));
        }
        let inserted = self.inner.registry.insert(&function, batch).await;
        self.refresh_belongings(scope, &function.name)?;
        match (inserted, version) {
            (Ok(_), Some(version)) => self.published(scope, &function.name, version),
            (inserted, _) => inserted,
        }
    }

    /// Removes what belongs to a function, but not the number of its last version.
    fn without_belongings(&self, scope: &Scope, name: &FunctionName) -> Batch {
        let (inner, prefix) = (&self.inner, prefix(scope, name));
        let batch = inner.versions.delete_below(Batch::new(), &prefix);
        let batch = inner.aliases.delete_below(batch, &prefix);
        let batch = inner.concurrency.delete_below(batch, &prefix);
        inner.policies.delete_below(batch, &prefix)
    }

    fn refresh_belongings(&self, scope: &Scope, name: &FunctionName) -> Result<(), FunctionError> {
        let (inner, prefix) = (&self.inner, prefix(scope, name));
        inner.versions.refresh_below(&prefix)?;
        inner.aliases.refresh_below(&prefix)?;
        inner.concurrency.refresh_below(&prefix)?;
        inner.policies.refresh_below(&prefix)?;
        self.reserve_in_pool(scope, name);
        Ok(())
    }

    /// Gives a function new code. Warm environments with the old one are not used again.
    pub async fn update_code(
        &self,
        scope: &Scope,
        name: &FunctionName,
        change: CodeChange,
    ) -> Result<Arc<Function>, FunctionError> {
        let old = self.get(scope, name)?;
        same_revision(&old, change.revision.as_deref())?;
        let updated = self.replace_code(&old, change).await;
        self.sweep(scope, name).await;
        updated
    }

    async fn replace_code(&self, old: &Function, change: CodeChange) -> Result<Arc<Function>, FunctionError> {
        let (scope, name) = (&old.scope, &old.name);
        let code = code_of(&change.archive)?;
        self.check_storage(code.size.saturating_sub(old.code.size))?;
        let package = self.inner.packages.store(scope, name.as_str(), &code, change.archive).await?;
        let _opt = self.can_run(&old.settings, package.path()).await?;
        if change.dry_run {
            return Ok(Arc::new(Function { code, ..old.clone() }));
        }
        let publish = change.publish;
        self.update(scope, name, change.revision.as_deref(), publish, |old| Ok(Function { code, ..old })).await
    }

    /// Changes settings of a function. Warm environments with the old ones are not used again.
    pub async fn update_settings(
        &self,
        scope: &Scope,
        name: &FunctionName,
        change: SettingsChange,
        revision: Option<&str>,
    ) -> Result<Arc<Function>, FunctionError> {
        let old = self.get(scope, name)?;
        same_revision(&old, revision)?;
        let updated = self.replace_settings(&old, change, revision).await;
        self.sweep(scope, name).await;
        updated
    }

    async fn replace_settings(
        &self,
        old: &Function,
        change: SettingsChange,
        revision: Option<&str>,
    ) -> Result<Arc<Function>, FunctionError> {
        let (scope, name) = (&old.scope, &old.name);
        let settings = old.settings.with(change.clone());
        check(&settings)?;
        // Held until the registry says that they are needed.
        let _layers = self.keep_layers(&settings.layers, &old.settings.layers)?;
        let package = self.inner.packages.folder(scope, name.as_str(), &old.code).await?;
        let _opt = self.can_run(&settings, package.path()).await?;
        let change = |old: Function| Ok(Function { settings: old.settings.with(change), ..old });
        self.update(scope, name, revision, false, change).await
    }

    /// Sets tags, and takes away others. Tags are no part of a revision.
    pub async fn tag(
        &self,
        scope: &Scope,
        name: &FunctionName,
        set: BTreeMap<String, String>,
        remove: &[String],
    ) -> Result<(), FunctionError> {
        let updated = self.inner.registry.update(scope, name, |mut function| {
            function.tags.extend(set);
            function.tags.retain(|key, _| !remove.contains(key));
            check_tags(&function.tags)?;
            Ok((function, Batch::new()))
        });
        updated.await.map(drop)
    }

    /// Deletes a function with its code and all that belongs to it. Running invocations come to their end.
    pub async fn delete(&self, scope: &Scope, name: &FunctionName) -> Result<(), FunctionError> {
        self.inner.registry.remove(scope, name, self.without_belongings(scope, name)).await?;
        self.refresh_belongings(scope, name)?;
        self.step(Input::Replaced { function: key(scope, name), version: None, revision: None });
        self.sweep(scope, name).await;
        Ok(())
    }

    async fn update(
        &self,
        scope: &Scope,
        name: &FunctionName,
        revision: Option<&str>,
        publish: bool,
        change: impl FnOnce(Function) -> Result<Function, FunctionError> + Send,
    ) -> Result<Arc<Function>, FunctionError> {
        let (id, now) = (self.inner.env.rng.uuid(), self.inner.env.clock.now());
        let mut version = None;
        let updated = self.inner.registry.update(scope, name, |old| {
            same_revision(&old, revision)?;
            let new = Function { revision: id, last_modified: now, ..change(old)? };
            if !publish {
                return Ok((new, Batch::new()));
            }
            let description = new.settings.description.clone();
            let (batch, number) = match self.same_version(&new) {
                Some(last) => (Batch::new(), last.version),
                None => self.numbered(Batch::new(), &new, description)?,
            };
            version = Some(number);
            Ok((new, batch))
        });
        let updated = updated.await?;
        let (latest, revision) = (Some(Version::Latest), Some(updated.revision.as_str().into()));
        self.step(Input::Replaced { function: key(scope, name), version: latest, revision });
        version.map_or(Ok(updated), |version| self.published(scope, name, version))
    }

    /// Refuses what could not be started; holds what was laid together for it. A `provided` package without a
    /// `bootstrap` is taken, as on AWS Lambda, and fails when it is called.
    async fn can_run(&self, settings: &Settings, package: &Path) -> Result<Option<PackageFolder>, FunctionError> {
        if let Some(reason) = environment::refusal(&self.inner.config, &self.inner.walls) {
            return Err(FunctionError::Invalid(reason));
        }
        let laid = self.opt(settings).await?;
        let opt = laid.as_ref().map(PackageFolder::path);
        if let Some(opt) = opt {
            self.check_size(package, opt).await?;
            // Of a layer that was published before they were refused.
            self.refuse_extensions(opt).await?;
        }
        if settings.runtime.family() == Family::Provided {
            return Ok(laid);
        }
        let folders = Folders { task_root: package.to_owned(), opt: opt.map(Path::to_owned), inside: Inside::walled() };
        let found = environment::entry(&self.inner.env, &self.inner.interpreters, settings, folders).await;
        found.map_err(|reason| reason.refusal(settings))?;
        Ok(laid)
    }

    /// Bytes of all archives: of functions, their versions, and layers.
    pub fn code_bytes(&self) -> u64 {
        let inner = &self.inner;
        let latest = inner.registry.all().iter().map(|function| function.code.size).sum::<u64>();
        let versions = inner.versions.below("").iter().map(|(_, version)| version.code.size).sum::<u64>();
        latest + versions + inner.layers.below("").iter().map(|(_, layer)| layer.code.size).sum::<u64>()
    }

    /// Bytes that archives may have in all.
    pub fn code_storage(&self) -> u64 {
        self.inner.config.code_storage_bytes
    }

    /// Refuses more code than there may be.
    pub(crate) fn check_storage(&self, more: u64) -> Result<(), FunctionError> {
        let limit = self.code_storage();
        if self.code_bytes().saturating_add(more) > limit { Err(FunctionError::StorageFull(limit)) } else { Ok(()) }
    }

    /// Steps the pool and ends the environments that it retires. For inputs that no call waits for.
    pub(crate) fn step(&self, input: Input) {
        let now = self.inner.env.clock.instant();
        let mut environments = self.inner.environments.lock().unwrap_or_else(PoisonError::into_inner);
        for action in environments.pool.step(now, input) {
            if let Action::Retire(id) = action {
                environments.ways.remove(&id);
            }
        }
    }

    /// The code of all versions of a function; none when there is no such function.
    pub(crate) fn codes(&self, scope: &Scope, name: &FunctionName) -> Vec<Code> {
        let all = self.versions(scope, name).unwrap_or_default();
        all.iter().map(|version| version.code.clone()).collect()
    }

    /// Removes code that no function has any more. What cannot be removed now is tried at the next start.
    pub(crate) async fn sweep(&self, scope: &Scope, name: &FunctionName) {
        self.sweep_code(scope, name).await;
        self.sweep_layers().await;
    }

    async fn sweep_code(&self, scope: &Scope, name: &FunctionName) {
        let (this, of) = (self.clone(), (scope.clone(), name.clone()));
        let needed = move || this.codes(&of.0, &of.1);
        if let Err(error) = self.inner.packages.sweep(scope, name.as_str(), needed).await {
            tracing::warn!(%scope, function = %name, %error, "old code could not be removed");
        }
    }

    /// Ends idle environments when their time is over; first removes what a crash left of old code.
    async fn keep_house(self) {
        match self.inner.packages.homes().await {
            Ok(homes) => {
                for (scope, name) in homes {
                    // What is not named as functions are is not ours to look into.
                    if let Ok(name) = name.parse() {
                        self.sweep_code(&scope, &name).await;
                    }
                }
                self.sweep_layers().await;
            }
            Err(error) => tracing::warn!(%error, "the code of functions could not be listed"),
        }
        let stopping = self.inner.tasks.stopping();
        let period = (self.inner.config.idle_timeout / 4).clamp(Duration::from_millis(10), Duration::from_secs(15));
        loop {
            tokio::select! {
                () = self.inner.env.clock.sleep(period) => self.step(Input::Tick),
                () = stopping.cancelled() => return,
            }
        }
    }
}

pub(crate) fn same_revision(function: &Function, given: Option<&str>) -> Result<(), FunctionError> {
    match given {
        Some(given) if given != function.revision => {
            Err(FunctionError::RevisionMismatch { name: function.name.clone(), given: given.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Whose environments a function has now.
pub(crate) fn owner(function: &Function) -> Owner {
    Owner {
        function: key(&function.scope, &function.name),
        version: function.version,
        revision: function.revision.as_str().into(),
    }
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), FunctionError> {
    if tags.len() > MAX_TAGS {
        return Err(FunctionError::Invalid(format!(
            "a function has at most {MAX_TAGS} tags, these are {}",
            tags.len()
        )));
    }
    match tags.keys().find(|key| key.is_empty() || key.chars().count() > 128 || key.starts_with("aws:")) {
        None if tags.values().all(|value| value.chars().count() <= 256) => Ok(()),
        None => Err(FunctionError::Invalid("the value of a tag has at most 256 characters".to_owned())),
        Some(key) => Err(FunctionError::Invalid(format!(
            "'{key}' is not the key of a tag: 1 to 128 characters that do not begin with aws:"
        ))),
    }
}
