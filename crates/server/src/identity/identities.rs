//! The directory as the house sees it: read from memory, changed one step at a time.
//!
//! One task owns all changes: it asks the step, writes what that answers, and only then shows it. So a caller who goes
//! away in the middle leaves nothing half done, and no lock is held while the disk is waited for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use auth::Attached;
use auth::directory::{AccessKey, Change, Class, Directory, DirectoryError, Entity, EntityName, Grants, Kind};
use base::{AccountId, Arn, Env, MasterKey, Principal, Rng, StateStore, TaskGroup, Timestamp};
use tokio::sync::{mpsc, oneshot};
use wire::sigv4::SigningSecret;
use zeroize::Zeroizing;

use super::sealed::Sealer;
use super::used::{LastUse, Used};
use super::{IdentityError, rows};
use crate::auth::{access_key_id, secret};

/// Steps that may wait for the one under way; more wait outside.
const WAITING: usize = 64;
/// How often the last uses of keys and roles are written.
const WRITTEN_EVERY: Duration = Duration::from_secs(300);
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// What follows the prefix of a unique id ("IAM identifiers", IAM User Guide: 21 characters in all).
const ID_LETTERS: usize = 17;

/// A long-term key of a user, as the gate needs it.
#[derive(Debug, Clone)]
pub(crate) struct UserKey {
    /// The user's ARN.
    pub arn: Arn,
    /// The user's unique id, which begins with `AIDA`.
    pub id: String,
    /// The secret that signs.
    pub secret: SigningSecret,
    /// Whether it may be used.
    pub active: bool,
}

/// All identities of the account. Clones are handles to the same ones.
#[derive(Clone)]
pub(crate) struct Identities {
    shared: Arc<Shared>,
    steps: mpsc::Sender<Asked>,
}

struct Shared {
    account: AccountId,
    rng: Arc<dyn Rng>,
    sealer: Sealer,
    used: Used,
    now: RwLock<Arc<Snapshot>>,
}

/// The directory at one moment, and what was made of it since.
struct Snapshot {
    directory: Arc<Directory>,
    /// By access key id.
    secrets: HashMap<String, SigningSecret>,
    /// Compiled when they are asked for; gone with the next change.
    compiled: Mutex<Compiled>,
}

#[derive(Default)]
struct Compiled {
    grants: HashMap<(Class, String), Arc<Grants>>,
    trusts: HashMap<String, Attached>,
}

type Step = Box<dyn FnOnce(&Directory) -> Result<Vec<Change>, DirectoryError> + Send>;

struct Asked {
    step: Step,
    answer: oneshot::Sender<Result<Arc<Directory>, IdentityError>>,
}

impl Identities {
    /// Reads all rows of the account; changes are made by a task of `tasks`, whose stop must come before the store's.
    pub fn open(
        env: &Env,
        store: &Arc<dyn StateStore>,
        master: &MasterKey,
        account: &AccountId,
        tasks: &TaskGroup,
    ) -> Result<Self, IdentityError> {
        let (mut directory, sealer) = (Directory::new(account.clone()), Sealer::new(master));
        directory.apply(rows::load(&**store, account)?);
        let mut secrets = HashMap::new();
        for user in directory.entities(Class::User) {
            learn(&sealer, &mut secrets, user)?;
        }
        let now = RwLock::new(Arc::new(Snapshot::new(directory, secrets)));
        let shared = Arc::new(Shared {
            account: account.clone(),
            rng: Arc::clone(&env.rng),
            sealer,
            used: Used::load(&**store, account)?,
            now,
        });
        let (steps, mut asked) = mpsc::channel::<Asked>(WAITING);
        let (owner, store, stopping) = (Arc::clone(&shared), Arc::clone(store), tasks.stopping());
        let clock = Arc::clone(&env.clock);
        tasks.spawn_infallible("identities", async move {
            let mut written = clock.instant();
            loop {
                let until = (written + WRITTEN_EVERY).saturating_sub(clock.instant());
                tokio::select! {
                    biased;
                    () = stopping.cancelled() => return owner.write_uses(&*store).await,
                    Some(Asked { step, answer }) = asked.recv() => {
                        // Whoever went away may look at what became of it.
                        let _ = answer.send(owner.change(&*store, step).await);
                    }
                    () = clock.sleep(until) => {
                        written = clock.instant();
                        owner.write_uses(&*store).await;
                    }
                }
            }
        });
        Ok(Self { shared, steps })
    }

    /// The directory as it is now.
    pub fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.shared.snapshot().directory)
    }

    /// The account that all of them belong to.
    pub fn account(&self) -> &AccountId {
        &self.shared.account
    }

    /// Makes the changes that `step` answers durable, then shows them: the directory right after. What a step refuses
    /// changes nothing.
    pub async fn change(
        &self,
        step: impl FnOnce(&Directory) -> Result<Vec<Change>, DirectoryError> + Send + 'static,
    ) -> Result<Arc<Directory>, IdentityError> {
        let (answer, answered) = oneshot::channel();
        let asked = Asked { step: Box::new(step), answer };
        self.steps.send(asked).await.map_err(|_| IdentityError::Stopping)?;
        answered.await.unwrap_or(Err(IdentityError::Stopping))
    }

    /// The user's key of an id.
    pub fn key(&self, access_key_id: &str) -> Option<UserKey> {
        let snapshot = self.shared.snapshot();
        let user = snapshot.directory.key_holder(access_key_id)?;
        let Kind::User { keys, .. } = &user.kind else { return None };
        Some(UserKey {
            arn: user.arn(&self.shared.account).parse().ok()?,
            id: user.id.clone(),
            secret: snapshot.secrets.get(access_key_id)?.clone(),
            active: keys.iter().any(|key| key.id == access_key_id && key.active),
        })
    }

    /// The policies of a user or a role as they are now. On an error nothing may be allowed.
    pub fn grants(&self, class: Class, name: &EntityName) -> Result<Arc<Grants>, DirectoryError> {
        let (snapshot, key) = (self.shared.snapshot(), (class, name.key()));
        if let Some(grants) = snapshot.compiled(|held| held.grants.get(&key).cloned()) {
            return Ok(grants);
        }
        let grants = Arc::new(snapshot.directory.grants(class, name)?);
        snapshot.compiled(|held| held.grants.insert(key, Arc::clone(&grants)));
        Ok(grants)
    }

    /// A role's trust policy as it is now.
    pub fn trust(&self, role: &EntityName) -> Result<Attached, DirectoryError> {
        let (snapshot, key) = (self.shared.snapshot(), role.key());
        if let Some(trust) = snapshot.compiled(|held| held.trusts.get(&key).cloned()) {
            return Ok(trust);
        }
        let trust = snapshot.directory.trust_of(role)?;
        snapshot.compiled(|held| held.trusts.insert(key, trust.clone()));
        Ok(trust)
    }

    /// Notes that a caller who was proven called a service: of a user the key, of a session the role.
    pub fn note_use(&self, caller: &Principal, key_id: Option<&str>, now: Timestamp, service: &str, region: &str) {
        match (caller, key_id) {
            (Principal::User { .. }, Some(key)) => self.shared.used.note(key, now, service, region),
            (Principal::Session { role, .. }, _) => self.shared.used.note(role.resource(), now, service, region),
            _ => {}
        }
    }

    /// The last use of a key, by its id, or of what [`Identities::used_as`] says, to the minute.
    pub fn last_use(&self, what: &str) -> Option<LastUse> {
        self.shared.used.last(what)
    }

    /// As what a role's uses are noted: what its ARN ends with.
    pub fn used_as(role: &Entity) -> String {
        format!("role{}{}", role.path, role.name)
    }

    /// A new unique id: the prefix (`AIDA`, `AGPA`, `AROA`, `ANPA`) and 85 random bits.
    pub fn unique_id(&self, prefix: &str) -> String {
        let mut bits = [0; ID_LETTERS];
        self.shared.rng.fill(&mut bits);
        prefix.chars().chain(bits.iter().map(|b| char::from(BASE32[usize::from(b & 31)]))).collect()
    }

    /// A new access key and its secret, which is to be shown once and is nowhere but sealed.
    pub fn new_key(&self, now: Timestamp) -> Result<(AccessKey, Zeroizing<String>), IdentityError> {
        let rng = &*self.shared.rng;
        let (id, secret) = (access_key_id("AKIA", rng), Zeroizing::new(secret(rng)));
        let sealed_secret = self.shared.sealer.seal(&id, &secret, rng)?;
        Ok((AccessKey { id, sealed_secret, active: true, created: now }, secret))
    }
}

impl Shared {
    /// Nobody waits for it: what cannot be written now is written with the next.
    async fn write_uses(&self, store: &dyn StateStore) {
        let directory = Arc::clone(&self.snapshot().directory);
        let is_there = |what: &str| {
            let role =
                what.strip_prefix("role/").and_then(|path| EntityName::of(Class::Role, path.rsplit('/').next()?).ok());
            match role {
                Some(role) => directory.entity(Class::Role, &role).is_ok(),
                None => directory.key_holder(what).is_some(),
            }
        };
        if let Err(error) = self.used.write(store, &self.account, is_there).await {
            tracing::warn!(%error, "when keys and roles were used last could not be written");
        }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn change(&self, store: &dyn StateStore, step: Step) -> Result<Arc<Directory>, IdentityError> {
        let before = self.snapshot();
        let changes = step(&before.directory)?;
        if changes.is_empty() {
            return Ok(Arc::clone(&before.directory));
        }
        let mut secrets = before.secrets.clone();
        for change in &changes {
            if let Change::Put(entity) = change {
                learn(&self.sealer, &mut secrets, entity)?;
            }
        }
        store.commit(rows::batch(&self.account, &changes)?).await?;
        let mut directory = Directory::clone(&before.directory);
        directory.apply(changes);
        secrets.retain(|id, _| directory.key_holder(id).is_some());
        let after = Arc::new(Snapshot::new(directory, secrets));
        let shown = Arc::clone(&after.directory);
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = after;
        Ok(shown)
    }
}

impl Snapshot {
    fn new(directory: Directory, secrets: HashMap<String, SigningSecret>) -> Self {
        Self { directory: Arc::new(directory), secrets, compiled: Mutex::default() }
    }

    fn compiled<T>(&self, look: impl FnOnce(&mut Compiled) -> T) -> T {
        look(&mut self.compiled.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Opens the secrets of a user's keys that are not known yet.
fn learn(sealer: &Sealer, secrets: &mut HashMap<String, SigningSecret>, entity: &Entity) -> Result<(), IdentityError> {
    let Kind::User { keys, .. } = &entity.kind else { return Ok(()) };
    for key in keys {
        if !secrets.contains_key(&key.id) {
            let opened = sealer.open(&key.id, &key.sealed_secret)?;
            secrets.insert(key.id.clone(), SigningSecret::from(opened.as_str()));
        }
    }
    Ok(())
}
