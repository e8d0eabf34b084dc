//! The gate: the only place where a caller becomes known.
//!
//! Promises that a route's requirement is met before its caller is let in, and that secrets are compared in constant
//! time. Must not know what the caller wants.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base::{Clock, Principal, Region, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use wire::sigv4::{Authorization, Claim, Credential, Head, Reason, Rejection, SigningSecret, Verifier};

use super::{RootKey, Session, SessionStore};
use crate::identity::{Identities, UserKey};
use crate::refusal::Refusal;
use crate::route::{Requirement, is_basic};

/// A caller who was let in.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Who it is.
    pub principal: Principal,
    /// The region that the signature names.
    pub region: Option<Region>,
    /// The service that the signature names; absent without a signature.
    pub service: Option<String>,
    /// The key that it is signed with.
    pub access_key_id: Option<String>,
    /// The session that it is the key of.
    pub session: Option<Arc<Session>>,
}

/// A caller who was not, with the service that they meant to call, as far as they said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TurnedAway {
    /// Why.
    pub refusal: Refusal,
    /// The signature's service, unproven: good for choosing the form of the answer only.
    pub claimed_service: Option<String>,
}

/// Knows the keys of users.
pub(crate) trait UserKeys: Send + Sync {
    /// The key of an id, switched off or not.
    fn key(&self, access_key_id: &str) -> Option<UserKey>;
}

impl UserKeys for Identities {
    fn key(&self, access_key_id: &str) -> Option<UserKey> {
        Self::key(self, access_key_id)
    }
}

/// Knows all keys.
pub(crate) struct Gate {
    clock: Arc<dyn Clock>,
    root: RootKey,
    root_secret: SigningSecret,
    sessions: Arc<SessionStore>,
    /// Known once they are read.
    users: OnceLock<Arc<dyn UserKeys>>,
    verifier: Verifier,
}

/// One whose head was looked at and who was not turned away by it. Belongs to that head, and to no other.
#[derive(Debug)]
#[must_use = "who was looked at is not admitted yet"]
pub(crate) struct Looked<'r>(Seen<'r>);

#[derive(Debug)]
enum Seen<'r> {
    /// Nothing to prove, or proven by the head.
    Proven(Caller),
    /// The body has to prove it.
    Claimed { claim: Box<Claim<'r>>, session: Option<Arc<Session>>, normal_path: bool },
}

impl Gate {
    /// A gate for the holder of `root` and for sessions; a signature's time may be `max_skew` off.
    pub fn new(clock: Arc<dyn Clock>, root: RootKey, sessions: Arc<SessionStore>, max_skew: Duration) -> Self {
        let root_secret = SigningSecret::from(root.secret.reveal());
        Self { clock, root, root_secret, sessions, users: OnceLock::new(), verifier: Verifier::new(max_skew) }
    }

    /// From now on users are known.
    pub fn know(&self, users: Arc<dyn UserKeys>) {
        // A server reads them once.
        let _ = self.users.set(users);
    }

    /// Turns away the caller of a request who would be turned away whatever its body is, so that no memory is spent on
    /// the bodies of strangers. Who passes has still to be [admitted](Looked::admit).
    pub fn look<'r>(&self, requirement: Requirement, head: impl Into<Head<'r>>) -> Result<Looked<'r>, TurnedAway> {
        let head = head.into();
        let seen = match requirement {
            Requirement::Public => Seen::Proven(Caller {
                principal: Principal::Anonymous,
                region: None,
                service: None,
                access_key_id: None,
                session: None,
            }),
            Requirement::SignedOrBasic if is_basic(head.headers) => Seen::Proven(self.basic(head.headers)?),
            Requirement::Signed | Requirement::SignedOrBasic => {
                let mut session = None;
                let claim = self.verifier.claim(head, self.clock.now(), |id| self.credential(id, &mut session));
                let claim = claim.map_err(|rejection| self.turned_away(rejection, head))?;
                Seen::Claimed { claim: Box::new(claim), session, normal_path: is_normal(head.uri.path()) }
            }
        };
        Ok(Looked(seen))
    }

    /// Whether a key is one of a user's is not known before all users are.
    fn turned_away(&self, rejection: Rejection, head: Head<'_>) -> TurnedAway {
        let refusal = match rejection.reason {
            Reason::UnknownKey if self.users.get().is_none() => Refusal::NotReady,
            _ => Refusal::Unproven(rejection),
        };
        TurnedAway { refusal, claimed_service: claimed(head) }
    }

    fn credential(&self, access_key_id: &str, of: &mut Option<Arc<Session>>) -> Option<Credential> {
        if access_key_id == self.root.access_key_id {
            return Some(Credential {
                secret: self.root_secret.clone(),
                session_token: None,
                expires: None,
                principal: Principal::Root,
            });
        }
        let Some(session) = self.sessions.find(access_key_id) else { return self.user(access_key_id) };
        *of = Some(Arc::clone(&session));
        Some(Credential {
            secret: session.secret.clone(),
            session_token: Some(session.token.reveal().to_owned()),
            expires: Some(session.expires),
            principal: session.principal.clone(),
        })
    }

    /// A user's key. One that is switched off is as good as none.
    fn user(&self, access_key_id: &str) -> Option<Credential> {
        let key = self.users.get()?.key(access_key_id).filter(|key| key.active)?;
        let principal = Principal::User { arn: key.arn, id: key.id };
        Some(Credential { secret: key.secret, session_token: None, expires: None, principal })
    }

    /// The root key as user and password. A session's key has a token, for which HTTP Basic has no place.
    fn basic(&self, headers: &HeaderMap) -> Result<Caller, TurnedAway> {
        let value = headers.get(AUTHORIZATION).map(|v| v.as_bytes()).unwrap_or_default();
        let given = value.get(6..).and_then(|encoded| STANDARD.decode(encoded.trim_ascii()).ok()).unwrap_or_default();
        let wanted = format!("{}:{}", self.root.access_key_id, self.root.secret.reveal());
        // Of the digests, so that not even the length is told.
        if bool::from(Sha256::digest(given).ct_eq(&Sha256::digest(wanted))) {
            let access_key_id = Some(self.root.access_key_id.clone());
            return Ok(Caller {
                principal: Principal::Root,
                region: None,
                service: None,
                access_key_id,
                session: None,
            });
        }
        Err(TurnedAway { refusal: Refusal::WrongPassword, claimed_service: None })
    }
}

impl Looked<'_> {
    /// Lets the caller in, whose body is whole `now`, or says why not.
    pub fn admit(self, body: &[u8], now: Timestamp) -> Result<Caller, TurnedAway> {
        let (claim, session, normal_path) = match self.0 {
            Seen::Proven(caller) => return Ok(caller),
            Seen::Claimed { claim, session, normal_path } => (claim, session, normal_path),
        };
        // Read again from the head only where it fails.
        let head = claim.head();
        match claim.prove(body, now) {
            // A signature covers the path without dots and empty parts; what is routed is the path as it came.
            Ok(_) if !normal_path => Err(TurnedAway {
                refusal: Refusal::NotFound("the path has an empty part, '.' or '..'; send it without".to_owned()),
                claimed_service: None,
            }),
            Ok(verified) => Ok(Caller {
                principal: verified.principal,
                region: Some(verified.region),
                service: Some(verified.service),
                access_key_id: Some(verified.access_key),
                session,
            }),
            Err(rejection) => Err(unproven(rejection, claimed(head))),
        }
    }
}

/// The service that a head's signature names, unproven.
fn claimed(head: Head<'_>) -> Option<String> {
    Authorization::read(head).ok().map(|authorization| authorization.credential.service.into_owned())
}

fn unproven(rejection: Rejection, claimed_service: Option<String>) -> TurnedAway {
    TurnedAway { refusal: Refusal::Unproven(rejection), claimed_service }
}

/// Whether a path is as its signature covers it.
fn is_normal(path: &str) -> bool {
    let Some(inner) = path.strip_prefix('/') else { return false };
    let parts = inner.strip_suffix('/').unwrap_or(inner);
    inner.is_empty() || parts.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

impl Refusal {
    /// No proof where one is needed.
    pub fn missing_token() -> Self {
        Self::Unproven(Rejection { reason: Reason::NoToken, message: "Missing Authentication Token".to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use base::{Arn, SeededRng, SessionKeys, Sessions, TestClock};
    use bytes::Bytes;
    use http::Request;
    use wire::sigv4::{Keys, sign};

    use super::*;
    use crate::route::{ROUTES, route};

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    /// Bob has two keys, of which one is switched off.
    struct Bob;

    impl UserKeys for Bob {
        fn key(&self, access_key_id: &str) -> Option<UserKey> {
            let active = match access_key_id {
                "AKIABOBBOBBOBBOBBOB1" => true,
                "AKIABOBBOBBOBBOBBOB2" => false,
                _ => return None,
            };
            let arn = "arn:aws:iam::000000000000:user/bob".parse().unwrap();
            Some(UserKey { arn, id: "AIDABOB".to_owned(), secret: "bob's secret".into(), active })
        }
    }

    struct Fixture {
        clock: Arc<TestClock>,
        sessions: Arc<SessionStore>,
        gate: Gate,
    }

    fn fixture() -> Fixture {
        let clock = Arc::new(TestClock::at(START));
        let sessions = Arc::new(SessionStore::new(clock.clone(), Arc::new(SeededRng::new(1)), 10));
        let root =
            RootKey { access_key_id: "AKIAROOTROOTROOTROOT".to_owned(), secret: "root-secret-root".to_owned().into() };
        let gate = Gate::new(clock.clone(), root, Arc::clone(&sessions), Duration::from_secs(300));
        gate.know(Arc::new(Bob));
        Fixture { clock, sessions, gate }
    }

    impl Gate {
        fn admit(&self, requirement: Requirement, request: &Request<Bytes>) -> Result<Caller, TurnedAway> {
            self.look(requirement, request)?.admit(request.body(), self.clock.now())
        }
    }

    fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<Bytes> {
        let mut request = Request::builder().method(method).uri(uri).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Bytes::new()).unwrap()
    }

    fn reason(turned_away: Result<Caller, TurnedAway>) -> Reason {
        match turned_away.map_err(|away| away.refusal) {
            Err(Refusal::Unproven(rejection)) => rejection.reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn no_route_but_the_public_lets_anybody_in() {
        let Fixture { gate, .. } = fixture();
        for row in ROUTES {
            let (method, uri, headers) = row.sample;
            let request = request(method, uri, headers);
            let (head, body) = request.into_parts();
            let taken = route(&head);
            let admitted = gate.admit(taken.requirement, &Request::from_parts(head, body));
            match taken.requirement {
                Requirement::Public => assert_eq!(admitted.unwrap().principal, Principal::Anonymous),
                Requirement::Signed | Requirement::SignedOrBasic => assert!(admitted.is_err(), "{uri}"),
            }
        }
    }

    #[test]
    fn strangers_are_turned_away_by_their_head_alone() {
        let Fixture { clock, gate, .. } = fixture();
        let keys = |id: &str| Keys {
            access_key_id: id.to_owned(),
            secret_access_key: "not the secret".to_owned(),
            session_token: None,
        };
        let look = |id: &str, token: Option<&str>, at: Timestamp| {
            let mut request = request("POST", "/", &[]);
            sign(&mut request, &Keys { session_token: token.map(str::to_owned), ..keys(id) }, "us-east-1", "sns", at)
                .unwrap();
            gate.look(Requirement::Signed, &request.map(|_| ())).map(|_| ()).map_err(|away| match away.refusal {
                Refusal::Unproven(rejection) => rejection.reason,
                other => panic!("{other:?}"),
            })
        };
        let (now, root) = (clock.now(), "AKIAROOTROOTROOTROOT");
        assert_eq!(look("AKIANOTHERENOTHERE00", None, now), Err(Reason::UnknownKey));
        assert_eq!(look(root, Some("token"), now), Err(Reason::UnknownKey));
        assert_eq!(look(root, None, now - Duration::from_secs(301)), Err(Reason::Mismatch));
        // Whether the secret is right needs the body.
        assert_eq!(look(root, None, now), Ok(()));
        let bare = request("POST", "/", &[]);
        assert!(gate.look(Requirement::SignedOrBasic, &bare).is_err());
        let wrong = request("GET", "/", &[("authorization", "Basic eDp5")]);
        assert_eq!(gate.look(Requirement::SignedOrBasic, &wrong).unwrap_err().refusal, Refusal::WrongPassword);
        assert!(gate.look(Requirement::Public, &bare).is_ok());
    }

    #[test]
    fn a_user_is_known_by_a_key_that_is_not_switched_off() {
        let Fixture { clock, gate, .. } = fixture();
        let admit = |gate: &Gate, id: &str, secret: &str| {
            let (access_key_id, secret_access_key) = (id.to_owned(), secret.to_owned());
            let keys = Keys { access_key_id, secret_access_key, session_token: None };
            let mut request = request("POST", "/", &[]);
            sign(&mut request, &keys, "us-east-1", "sns", clock.now()).unwrap();
            gate.admit(Requirement::Signed, &request)
        };
        let bob = admit(&gate, "AKIABOBBOBBOBBOBBOB1", "bob's secret").unwrap();
        let arn = "arn:aws:iam::000000000000:user/bob".parse().unwrap();
        assert_eq!(bob.principal, Principal::User { arn, id: "AIDABOB".to_owned() });
        assert_eq!(bob.access_key_id.as_deref(), Some("AKIABOBBOBBOBBOBBOB1"));
        assert_eq!(reason(admit(&gate, "AKIABOBBOBBOBBOBBOB1", "another")), Reason::Mismatch);
        assert_eq!(reason(admit(&gate, "AKIABOBBOBBOBBOBBOB2", "bob's secret")), Reason::UnknownKey);
        // Before users are read, nobody can say whose a key is.
        let early = Gate::new(clock.clone(), gate.root.clone(), Arc::clone(&gate.sessions), Duration::from_secs(300));
        let away = admit(&early, "AKIABOBBOBBOBBOBBOB1", "bob's secret").unwrap_err();
        assert_eq!(away.refusal, Refusal::NotReady);
    }

    #[test]
    fn a_signed_path_that_is_not_normal_goes_nowhere() {
        let Fixture { clock, gate, .. } = fixture();
        let root = Keys {
            access_key_id: "AKIAROOTROOTROOTROOT".to_owned(),
            secret_access_key: "root-secret-root".to_owned(),
            session_token: None,
        };
        let admit = |path: &str| {
            let mut request = request("GET", path, &[]);
            sign(&mut request, &root, "us-east-1", "es", clock.now()).unwrap();
            gate.admit(Requirement::Signed, &request)
        };
        for path in ["/", "/events/_search", "/events/", "/a..b/...", "/events/%2e%2e"] {
            assert!(admit(path).is_ok(), "{path}");
        }
        for path in ["//", "/events//_search", "/x/../events", "/./events", "/events/..", "/events//"] {
            assert!(matches!(admit(path).unwrap_err().refusal, Refusal::NotFound(_)), "{path}");
        }
    }

    #[test]
    fn basic_is_for_the_root_key_on_its_routes_only() {
        let Fixture { gate, .. } = fixture();
        let basic = |text: &str| request("GET", "/", &[("authorization", &format!("Basic {}", STANDARD.encode(text)))]);
        let right = basic("AKIAROOTROOTROOTROOT:root-secret-root");
        assert_eq!(gate.admit(Requirement::SignedOrBasic, &right).unwrap().principal, Principal::Root);
        assert_eq!(reason(gate.admit(Requirement::Signed, &right)), Reason::NoToken);
        for wrong in ["", ":", "AKIAROOTROOTROOTROOT:", "AKIAROOTROOTROOTROOT:root-secret-roo", ":root-secret-root"] {
            let away = gate.admit(Requirement::SignedOrBasic, &basic(wrong)).unwrap_err();
            assert_eq!(away.refusal, Refusal::WrongPassword, "{wrong}");
        }
    }

    #[test]
    fn a_session_is_good_with_its_token_until_it_expires() {
        let Fixture { clock, sessions, gate } = fixture();
        let function: Arn = "arn:aws:lambda:us-east-1:000000000000:function:alert".parse().unwrap();
        let role: Arn = "arn:aws:iam::000000000000:role/worker".parse().unwrap();
        let SessionKeys { access_key_id, secret_access_key, session_token, .. } =
            sessions.issue(&function, &role, Duration::from_secs(60));
        let admit = |token: Option<&str>| {
            let keys = Keys {
                access_key_id: access_key_id.clone(),
                secret_access_key: secret_access_key.clone(),
                session_token: token.map(str::to_owned),
            };
            let mut request = request("POST", "/", &[]);
            sign(&mut request, &keys, "us-east-1", "events", clock.now()).unwrap();
            gate.admit(Requirement::Signed, &request)
        };
        let caller = admit(Some(&session_token)).unwrap();
        assert_eq!(caller.principal, Principal::Session { role, role_id: String::new(), name: "alert".to_owned() });
        assert_eq!(caller.service.as_deref(), Some("events"));
        assert_eq!(reason(admit(None)), Reason::UnknownKey);
        assert_eq!(reason(admit(Some("another"))), Reason::UnknownKey);
        clock.shift_wall(60_000);
        assert_eq!(reason(admit(Some(&session_token))), Reason::ExpiredToken);
        clock.shift_wall(16 * 60_000);
        sessions.sweep();
        assert_eq!(reason(admit(Some(&session_token))), Reason::UnknownKey);
    }
}
