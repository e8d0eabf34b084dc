//! Acting for an owner: whatever is read, written or called on somebody's behalf is so as a session of a role of theirs.
//!
//! Owns the sessions that services make of roles for themselves, what services do without one by the word of a target's own
//! policy, and which action it is to hand something to a target.
//! Promises that every step is decided anew, so that a permission which comes or goes counts at the next one; a session
//! is kept for [`KEPT`] at most, and made again at once when it is denied something, so that a role which is made anew
//! heals without waiting. What is denied is counted and says who, what and on what.
//! Must not know how it is decided, nor what becomes of what is denied.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{Access, Arn, Authorizer, Clock, Decision, ErrorKind, Kinded, Principal, TargetError};

use crate::{FlowError, metrics};

/// How long a session is used before the role is assumed again: so long a trust policy that is withdrawn goes unnoticed.
const KEPT: Duration = Duration::from_secs(60);
/// Sessions that are kept, at most.
const MOST: usize = 10_000;
/// Characters that a session's name may have ("AssumeRole", AWS STS API Reference).
const MAX_NAME: usize = 64;

/// Who calls a function's role its own.
pub(crate) const LAMBDA: &str = "lambda.amazonaws.com";

/// Who acts, for whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acting<'a> {
    /// The service, such as `events.amazonaws.com`.
    pub service: &'static str,
    /// The owner's role.
    pub role: &'a Arn,
    /// The session's name.
    pub session: &'a str,
    /// On behalf of what: `aws:SourceArn`.
    pub source: &'a Arn,
}

/// Something that may not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Denial {
    /// Whether not even the role could be assumed.
    pub unassumed: bool,
    /// What was to be done.
    pub action: String,
    /// Who may not do what on what, and why.
    pub message: String,
}

impl Kinded for Denial {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Denied
    }
}

impl From<Denial> for TargetError {
    fn from(denial: Denial) -> Self {
        Self { kind: ErrorKind::Denied, message: denial.message }
    }
}

/// A session, by whose it is.
type Sessions = HashMap<(&'static str, Arn, String, Arn), (Principal, Duration)>;

/// Asks the authorizer. Cloning gives another handle.
#[derive(Clone)]
pub(crate) struct Roles {
    authorizer: Arc<dyn Authorizer>,
    clock: Arc<dyn Clock>,
    sessions: Arc<Mutex<Sessions>>,
}

impl Roles {
    pub fn new(authorizer: Arc<dyn Authorizer>, clock: Arc<dyn Clock>) -> Self {
        Self { authorizer, clock, sessions: Arc::default() }
    }

    /// Whether the service may assume the role, asked anew.
    pub fn assume(&self, acting: &Acting<'_>) -> Result<(), Denial> {
        self.session(acting, "sts:AssumeRole").map(drop)
    }

    /// Whether this may be done now; what may not is counted.
    pub fn permit(&self, acting: &Acting<'_>, action: &str, resource: &Arn) -> Result<(), Denial> {
        let decided = self.look(acting, action, resource);
        decided.inspect_err(|_| metrics::denied(acting.source, action))
    }

    /// The same for whoever only wants to know.
    pub fn look(&self, acting: &Acting<'_>, action: &str, resource: &Arn) -> Result<(), Denial> {
        let resource = resource.to_string();
        if let Some(principal) = self.kept(acting)
            && self.decide(&principal, action, &resource) == Decision::Allow
        {
            return Ok(());
        }
        let principal = self.session(acting, action)?;
        match self.decide(&principal, action, &resource) {
            Decision::Allow => Ok(()),
            Decision::Deny(message) => Err(Denial { unassumed: false, action: action.to_owned(), message }),
        }
    }

    /// Whether something may be handed to a target.
    pub fn permit_delivery(&self, acting: &Acting<'_>, target: &Arn) -> Result<(), Denial> {
        // What is no target the router refuses.
        action_of(target).map_or(Ok(()), |action| self.permit(acting, action, target))
    }

    /// Whether a service may hand something to a target by itself, on behalf of what its owner has there: by the
    /// target's own policy, to which `aws:SourceArn` and `aws:SourceAccount` say on behalf of what.
    pub fn permit_service(&self, service: &str, source: &Arn, target: &Arn) -> Result<(), Denial> {
        let Some(action) = action_of(target) else { return Ok(()) };
        let (principal, resource) = (Principal::Service { name: service.to_owned() }, target.to_string());
        let of = Source::new(source);
        let access = Access { principal: &principal, action, resource: &resource, context: &of.context() };
        match self.authorizer.decide(&access) {
            Decision::Allow => Ok(()),
            Decision::Deny(message) => {
                metrics::denied(source, action);
                Err(Denial { unassumed: false, action: action.to_owned(), message })
            }
        }
    }

    fn decide(&self, principal: &Principal, action: &str, resource: &str) -> Decision {
        self.authorizer.decide(&Access { principal, action, resource, context: &[] })
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self, acting: &Acting<'_>) -> Option<Principal> {
        let now = self.clock.instant();
        let sessions = self.sessions();
        let (principal, made) = sessions.get(&acting.key())?;
        (now.saturating_sub(*made) < KEPT).then(|| principal.clone())
    }

    fn session(&self, acting: &Acting<'_>, action: &str) -> Result<Principal, Denial> {
        let name: String = acting.session.chars().take(MAX_NAME).collect();
        let of = Source::new(acting.source);
        let assumed = self.authorizer.assume(acting.service, acting.role, &name, &of.context());
        let now = self.clock.instant();
        let mut sessions = self.sessions();
        match assumed {
            Ok(principal) => {
                if sessions.len() >= MOST {
                    sessions.clear();
                }
                sessions.insert(acting.key(), (principal.clone(), now));
                Ok(principal)
            }
            Err(why) => {
                sessions.remove(&acting.key());
                let message = format!("{} cannot assume the role {}: {why}", acting.service, acting.role);
                Err(Denial { unassumed: true, action: action.to_owned(), message })
            }
        }
    }
}

/// On behalf of what something is done, as conditions see it.
struct Source {
    arn: String,
    account: String,
}

impl Source {
    fn new(source: &Arn) -> Self {
        Self { arn: source.to_string(), account: source.account().map(ToString::to_string).unwrap_or_default() }
    }

    fn context(&self) -> [(&str, &str); 2] {
        [("aws:SourceArn", &self.arn), ("aws:SourceAccount", &self.account)]
    }
}

impl Acting<'_> {
    fn key(&self) -> (&'static str, Arn, String, Arn) {
        (self.service, self.role.clone(), self.session.to_owned(), self.source.clone())
    }
}

/// What it is called to hand something to a target; none where nothing can be handed to it.
pub(crate) fn action_of(target: &Arn) -> Option<&'static str> {
    Some(match target.service() {
        "kinesis" => "kinesis:PutRecord",
        "firehose" => "firehose:PutRecord",
        "lambda" => "lambda:InvokeFunction",
        "sns" => "sns:Publish",
        "sqs" => "sqs:SendMessage",
        "events" if target.resource_of("api-destination").is_some() => "events:InvokeApiDestination",
        "events" => "events:PutEvents",
        _ => return None,
    })
}

/// A function without its version or alias, as trust policies name the source of a session.
pub(crate) fn unqualified(function: &Arn) -> Arn {
    let name = function.resource_of("function").and_then(|name| name.split(':').next());
    match function.scope().zip(name) {
        Some((scope, name)) => Arn::new("lambda", &scope, format!("function:{name}")),
        None => function.clone(),
    }
}

/// Lambda's words for a destination or a source of another service that a function's role may not use.
pub(crate) fn not_permitted(action: &str) -> FlowError {
    let (service, call) = action.split_once(':').unwrap_or((action, action));
    FlowError::Invalid(format!(
        "The provided execution role does not have permissions to call {call} on {}",
        match service {
            "events" => "EventBridge".to_owned(),
            "lambda" => "Lambda".to_owned(),
            other => other.to_uppercase(),
        }
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use base::TestClock;
    use base::Timestamp;

    use super::*;

    /// Denies what a test says, and counts how often a role is assumed.
    #[derive(Default)]
    struct Judge {
        denied: Mutex<BTreeSet<&'static str>>,
        gone: Mutex<bool>,
        made: Mutex<u32>,
    }

    impl Authorizer for Judge {
        fn decide(&self, access: &Access<'_>) -> Decision {
            let Principal::Session { role_id, .. } = access.principal else { panic!("no session") };
            let newest = self.made.lock().unwrap().to_string();
            // A session of a role that was made anew is none of it.
            if *role_id != newest || self.denied.lock().unwrap().contains(access.action) {
                return Decision::Deny(format!("not {} on {}", access.action, access.resource));
            }
            Decision::Allow
        }

        fn assume(&self, _: &str, role: &Arn, name: &str, context: &[(&str, &str)]) -> Result<Principal, String> {
            assert_eq!(context, [("aws:SourceArn", RULE), ("aws:SourceAccount", "000000000000")]);
            if *self.gone.lock().unwrap() {
                return Err("there is none".to_owned());
            }
            let mut made = self.made.lock().unwrap();
            *made += 1;
            Ok(Principal::Session { role: role.clone(), role_id: made.to_string(), name: name.to_owned() })
        }
    }

    const RULE: &str = "arn:aws:events:us-east-1:000000000000:rule/r";

    #[tokio::test(start_paused = true)]
    async fn each_step_is_decided_anew_and_sessions_last_a_minute() {
        let (judge, clock) = (Arc::new(Judge::default()), Arc::new(TestClock::at(Timestamp::from_millis(0))));
        let roles = Roles::new(judge.clone(), clock.clone());
        let (role, source) = ("arn:aws:iam::000000000000:role/r".parse().unwrap(), RULE.parse().unwrap());
        let acting = Acting { service: "events.amazonaws.com", role: &role, session: "r", source: &source };
        let queue: Arn = "arn:aws:sqs:us-east-1:000000000000:q".parse().unwrap();
        let made = || *judge.made.lock().unwrap();
        for _ in 0..3 {
            roles.permit_delivery(&acting, &queue).unwrap();
        }
        assert_eq!(made(), 1);
        judge.denied.lock().unwrap().insert("sqs:SendMessage");
        let denial = roles.permit_delivery(&acting, &queue).unwrap_err();
        assert_eq!((denial.unassumed, denial.message), (false, format!("not sqs:SendMessage on {queue}")));
        judge.denied.lock().unwrap().clear();
        roles.permit_delivery(&acting, &queue).unwrap();
        assert_eq!(made(), 2, "a denial makes another session");
        // Made anew, the role is another: its sessions of before are denied, and it heals at once.
        *judge.made.lock().unwrap() = 7;
        roles.permit_delivery(&acting, &queue).unwrap();
        assert_eq!(made(), 8);
        // A trust policy that is withdrawn counts within the minute.
        *judge.gone.lock().unwrap() = true;
        roles.permit_delivery(&acting, &queue).unwrap();
        clock.sleep(KEPT).await;
        let denial = roles.permit_delivery(&acting, &queue).unwrap_err();
        assert!(denial.unassumed && denial.message.contains("role/r: there is none"), "{denial}");
        assert!(roles.assume(&acting).is_err());
        *judge.gone.lock().unwrap() = false;
        roles.permit_delivery(&acting, &queue).unwrap();
    }

    #[test]
    fn a_function_is_meant_without_its_version() {
        let of = |text: &str| unqualified(&text.parse().unwrap()).to_string();
        let function = "arn:aws:lambda:us-east-1:000000000000:function:f";
        assert_eq!((of(function), of(&format!("{function}:7"))), (function.to_owned(), function.to_owned()));
    }
}
