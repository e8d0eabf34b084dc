//! Functions as the rest of the server sees them: create, look up, change, delete. How they are called is in `invoke`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::{Env, FunctionName, LogSink, Scope, Sessions, StateStore, TaskGroup};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::environment::{self, Work};
use crate::interpreter::Interpreter;
use crate::keyring::Keyring;
use crate::packages::{Packages, code_of};
use crate::pool::{Action, EnvironmentId, Input, Limits, Owner, Pool};
use crate::registry::Registry;
use crate::runtime::Family;
use crate::{Code, Config, Function, FunctionError, Settings, SettingsChange};

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
    pub registry: Registry,
    pub packages: Packages,
    pub interpreter: Arc<Interpreter>,
    pub environments: Mutex<Environments>,
}

/// The pool's book and the ways to its environments. An environment ends when its way is dropped.
pub(crate) struct Environments {
    pub pool: Pool,
    pub ways: HashMap<EnvironmentId, mpsc::Sender<Work>>,
}

/// The longest invocation, and some time to spare before keys expire under it.
const KEYS_MUST_LAST: Duration = Duration::from_secs(900 + 60);
const MAX_DESCRIPTION_CHARS: usize = 256;

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
        environment::write_bootstrap(env, &config).await?;
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
            packages: Packages::new(env, &config.dir),
            interpreter: Arc::new(Interpreter::new(env, config.python_interpreter.clone())),
            environments: Mutex::new(Environments { pool: Pool::new(limits), ways: HashMap::new() }),
            logs: ports.logs,
            keyring: Arc::new(keyring),
            config: Arc::new(config),
            tasks: tasks.clone(),
        });
        let functions = Self { inner };
        tasks.spawn_infallible("functions-housekeeping", functions.clone().keep_house());
        Ok(functions)
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
        if self.inner.registry.find(scope, &new.name).is_some() {
            return Err(FunctionError::Exists(new.name));
        }
        self.can_run(&new.settings).await?;
        let name = new.name.clone();
        let created = self.insert(scope, new, archive).await;
        if created.is_err() {
            self.sweep(scope, &name).await;
        }
        created
    }

    async fn insert(&self, scope: &Scope, new: NewFunction, archive: Bytes) -> Result<Arc<Function>, FunctionError> {
        let code = code_of(&archive)?;
        // Held until the registry says that it is needed.
        let _package = self.inner.packages.store(scope, &new.name, &code, archive).await?;
        let function = Function {
            scope: scope.clone(),
            name: new.name,
            settings: new.settings,
            code,
            revision: self.inner.env.rng.uuid(),
            last_modified: self.inner.env.clock.now(),
            tags: new.tags,
        };
        self.inner.registry.insert(&function).await
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
        let _package = self.inner.packages.store(scope, name, &code, change.archive).await?;
        if change.dry_run {
            return Ok(Arc::new(Function { code, ..old.clone() }));
        }
        self.update(scope, name, change.revision.as_deref(), |old| Ok(Function { code, ..old })).await
    }

    /// Changes settings of a function. Warm environments with the old ones are not used again.
    pub async fn update_settings(
        &self,
        scope: &Scope,
        name: &FunctionName,
        change: SettingsChange,
        revision: Option<&str>,
    ) -> Result<Arc<Function>, FunctionError> {
        let settings = self.get(scope, name)?.settings.with(change.clone());
        check(&settings)?;
        self.can_run(&settings).await?;
        self.update(scope, name, revision, |old| Ok(Function { settings: old.settings.with(change), ..old })).await
    }

    /// Deletes a function with its code. Running invocations come to their end.
    pub async fn delete(&self, scope: &Scope, name: &FunctionName) -> Result<(), FunctionError> {
        self.inner.registry.remove(scope, name).await?;
        self.replaced(scope, name, None);
        self.sweep(scope, name).await;
        Ok(())
    }

    async fn update(
        &self,
        scope: &Scope,
        name: &FunctionName,
        revision: Option<&str>,
        change: impl FnOnce(Function) -> Result<Function, FunctionError> + Send,
    ) -> Result<Arc<Function>, FunctionError> {
        let (id, now) = (self.inner.env.rng.uuid(), self.inner.env.clock.now());
        let updated = self.inner.registry.update(scope, name, |old| {
            same_revision(&old, revision)?;
            change(old).map(|new| Function { revision: id, last_modified: now, ..new })
        });
        let updated = updated.await?;
        self.replaced(scope, name, Some(&updated.revision));
        Ok(updated)
    }

    /// Refuses what could not be started, when that is known.
    async fn can_run(&self, settings: &Settings) -> Result<(), FunctionError> {
        match settings.runtime.family() {
            Family::Python => self.inner.interpreter.get().await.map(|_| ()),
            Family::Provided => Ok(()),
        }
    }

    fn replaced(&self, scope: &Scope, name: &FunctionName, revision: Option<&str>) {
        let input = Input::Replaced { function: key(scope, name), revision: revision.map(Arc::from) };
        self.step(input);
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

    /// Removes code that no function has any more. What cannot be removed now is tried at the next start.
    pub(crate) async fn sweep(&self, scope: &Scope, name: &FunctionName) {
        let current = self.inner.registry.find(scope, name);
        let swept = self.inner.packages.sweep(scope, name, current.as_ref().map(|f| &f.code)).await;
        if let Err(error) = swept {
            tracing::warn!(%scope, function = %name, %error, "old code could not be removed");
        }
    }

    /// Ends idle environments when their time is over; first removes what a crash left of old code.
    async fn keep_house(self) {
        match self.inner.packages.homes().await {
            Ok(homes) => {
                for (scope, name) in homes {
                    self.sweep(&scope, &name).await;
                }
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

fn same_revision(function: &Function, given: Option<&str>) -> Result<(), FunctionError> {
    match given {
        Some(given) if given != function.revision => {
            Err(FunctionError::RevisionMismatch { name: function.name.clone(), given: given.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Whose environments a function has now.
pub(crate) fn owner(function: &Function) -> Owner {
    Owner { function: key(&function.scope, &function.name), revision: function.revision.as_str().into() }
}

/// Whether an environment with this code is behind.
pub(crate) fn is_current(current: Option<&Function>, code: &Code) -> bool {
    current.is_some_and(|current| current.code == *code)
}
