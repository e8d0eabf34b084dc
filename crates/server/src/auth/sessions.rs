//! Temporary keys, for functions and for whoever asks STS: in memory, bounded, gone some time after they expire, and with
//! the process.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use auth::Attached;
use base::{Arn, Clock, Principal, Rng, SessionKeys, Sessions, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use wire::sigv4::SigningSecret;

use super::Narrowed;
use super::root::{access_key_id, secret};
use crate::config::Secret;

/// How long an expired session is remembered, so that its holder is told "expired" rather than "unknown".
const REMEMBERED: Duration = Duration::from_secs(15 * 60);

/// One issued session.
#[derive(Debug)]
pub struct Session {
    /// Whose it is.
    pub principal: Principal,
    /// The secret that signs.
    pub secret: SigningSecret,
    /// Must come with every call; compare in constant time.
    pub token: Secret,
    /// Of no use from then on.
    pub expires: Timestamp,
    /// When it was made.
    pub issued: Timestamp,
    /// What narrows it; none where nothing does.
    pub policies: Option<Vec<Attached>>,
    /// Its own tags.
    pub tags: Vec<(String, String)>,
    /// The keys of those that go on to a session that it makes.
    pub transitive: Vec<String>,
    /// Whether it was asked for, not made by the server for a function.
    is_asked_for: bool,
}

/// What a session is made of.
pub(crate) struct Made {
    /// Whose it is.
    pub principal: Principal,
    /// How long it is good for.
    pub lifetime: Duration,
    /// What narrows it.
    pub policies: Option<Vec<Attached>>,
    /// Its own tags.
    pub tags: Vec<(String, String)>,
    /// The keys of those that go on.
    pub transitive: Vec<String>,
}

impl Made {
    /// A session that nothing narrows.
    pub fn plain(principal: Principal, lifetime: Duration) -> Self {
        Self { principal, lifetime, policies: None, tags: Vec::new(), transitive: Vec::new() }
    }
}

impl Session {
    /// How it narrows what its role may.
    pub(crate) fn narrows(&self) -> Narrowed<'_> {
        Narrowed { policies: self.policies.as_deref(), tags: &self.tags, issued: Some(self.issued) }
    }
}

#[derive(Default)]
struct Held {
    by_id: HashMap<String, Arc<Session>>,
    by_expiry: BTreeSet<(Timestamp, String)>,
    /// How many of them were asked for.
    asked_for: usize,
}

impl Held {
    fn remove_first(&mut self) {
        if let Some((_, id)) = self.by_expiry.pop_first() {
            let gone = self.by_id.remove(&id);
            self.asked_for -= usize::from(gone.is_some_and(|session| session.is_asked_for));
        }
    }
}

/// All sessions of this process.
pub struct SessionStore {
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    capacity: usize,
    held: Mutex<Held>,
}

impl SessionStore {
    /// An empty store that holds at most `capacity` sessions.
    pub fn new(clock: Arc<dyn Clock>, rng: Arc<dyn Rng>, capacity: usize) -> Self {
        Self { clock, rng, capacity: capacity.max(1), held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Both maps are changed without a panic between: a poisoned lock still guards whole values.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session of an access key id, expired or not.
    pub fn find(&self, access_key_id: &str) -> Option<Arc<Session>> {
        self.held().by_id.get(access_key_id).cloned()
    }

    /// Forgets what expired a while ago; answers how many are left.
    pub fn sweep(&self) -> usize {
        let limit = self.clock.now() - REMEMBERED;
        let mut held = self.held();
        while held.by_expiry.first().is_some_and(|(expires, _)| *expires < limit) {
            held.remove_first();
        }
        held.by_id.len()
    }
}

impl SessionStore {
    /// A session for whoever asked for it. None where these take half of the room: the other half is for functions, whose
    /// sessions are not pushed out by somebody who asks again and again.
    pub(crate) fn make(&self, made: Made) -> Option<SessionKeys> {
        self.sweep();
        let has_room = self.held().asked_for < self.capacity.div_ceil(2);
        has_room.then(|| self.keep(made, true))
    }

    fn keep(&self, made: Made, is_asked_for: bool) -> SessionKeys {
        let (issued, mut token) = (self.clock.now(), [0; 48]);
        self.rng.fill(&mut token);
        let keys = SessionKeys {
            access_key_id: access_key_id("ASIA", &*self.rng),
            secret_access_key: secret(&*self.rng),
            session_token: STANDARD.encode(token),
            expires: issued + made.lifetime,
        };
        let session = Arc::new(Session {
            principal: made.principal,
            secret: keys.secret_access_key.as_str().into(),
            token: keys.session_token.clone().into(),
            expires: keys.expires,
            issued,
            policies: made.policies,
            tags: made.tags,
            transitive: made.transitive,
            is_asked_for,
        });
        let mut held = self.held();
        while held.by_id.len() >= self.capacity {
            held.remove_first();
        }
        held.asked_for += usize::from(is_asked_for);
        held.by_expiry.insert((keys.expires, keys.access_key_id.clone()));
        held.by_id.insert(keys.access_key_id.clone(), session);
        keys
    }
}

impl Sessions for SessionStore {
    fn issue(&self, function: &Arn, role: &Arn, lifetime: Duration) -> SessionKeys {
        let name = function.resource_of("function").and_then(|name| name.split(':').next()).unwrap_or_default();
        let principal = Principal::Session { role: role.clone(), role_id: String::new(), name: name.to_owned() };
        self.keep(Made::plain(principal, lifetime), false)
    }
}

#[cfg(test)]
mod tests {
    use base::{SeededRng, TestClock};

    use super::*;

    fn store(capacity: usize) -> (Arc<TestClock>, SessionStore) {
        let clock = Arc::new(TestClock::at(Timestamp::from_millis(0)));
        (clock.clone(), SessionStore::new(clock, Arc::new(SeededRng::new(1)), capacity))
    }

    fn issue(store: &SessionStore, secs: u64) -> SessionKeys {
        let arn = |text: &str| text.parse().unwrap();
        let function = arn("arn:aws:lambda:us-east-1:000000000000:function:alert");
        store.issue(&function, &arn("arn:aws:iam::000000000000:role/worker"), Duration::from_secs(secs))
    }

    #[test]
    fn sessions_are_forgotten_after_they_expire() {
        let (clock, store) = store(10);
        let keys = issue(&store, 60);
        assert!(keys.access_key_id.starts_with("ASIA") && keys.session_token.len() == 64);
        clock.shift_wall(61_000);
        assert_eq!(store.sweep(), 1, "remembered for a while");
        clock.shift_wall(15 * 60_000);
        assert_eq!(store.sweep(), 0);
        assert!(store.find(&keys.access_key_id).is_none());
    }

    #[test]
    fn the_first_to_expire_makes_room() {
        let (_, store) = store(2);
        let (long, short, new) = (issue(&store, 300), issue(&store, 60), issue(&store, 120));
        assert!(store.find(&short.access_key_id).is_none());
        assert!(store.find(&long.access_key_id).is_some() && store.find(&new.access_key_id).is_some());
    }
}
