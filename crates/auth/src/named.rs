//! `Principal` and `NotPrincipal`: who a statement of a trust policy or of a resource's policy is about.
//!
//! "AWS JSON policy elements: Principal" and "NotPrincipal" (IAM User Guide).

use crate::Principal;
use crate::error::{PolicyError, shown};
use crate::json::Node;
use crate::kind::PolicyKind;
use crate::place::Place;
use crate::principal::Kind;

/// How a statement reaches its caller: what else has to allow depends on it. In ascending order of strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// It names the caller's account, which has to allow in its turn.
    Account,
    /// It names the role of a session: the role's boundary and the session's policies still limit.
    Role,
    /// It names the caller, or everybody.
    Direct,
}

/// What a statement says about callers.
#[derive(Debug, Clone)]
pub(crate) struct Principals {
    negated: bool,
    named: Box<[Named]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    Everybody,
    /// Twelve digits.
    Account(String),
    /// A user, a role or a session.
    Arn(String),
    /// What stands for a user or a role that may be gone.
    Id(String),
    Service(String),
    /// Identity providers and canonical users: nobody here is one.
    Nobody,
}

impl Principals {
    pub(crate) fn read(
        kind: PolicyKind,
        place: &Place<'_>,
        negated: bool,
        node: &Node<'_>,
    ) -> Result<Self, PolicyError> {
        if let Some(text) = node.text() {
            return match (&*text, kind) {
                ("*", PolicyKind::Trust) => Err(invalid(kind, place, "STAR", "*")),
                ("*", _) => Ok(Self { negated, named: [Named::Everybody].into() }),
                (other, _) => Err(PolicyError::syntax(
                    place,
                    format!(
                        "expected \"*\" or an object with AWS, Service, Federated or CanonicalUser, not {}",
                        shown(other)
                    ),
                )),
            };
        }
        let members = node
            .members()
            .ok_or_else(|| PolicyError::syntax(place, format!("expected an object, not {}", node.what())))?;
        let mut named = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for (class, node) in &members {
            let place = place.member(class);
            if seen.contains(&&**class) {
                return Err(PolicyError::syntax(place, "it comes twice"));
            }
            seen.push(class);
            for text in crate::action::strings(node, &place)? {
                named.push(Named::read(kind, &place, class, &text)?);
            }
        }
        if named.is_empty() {
            let text = "Missing required field Principal cannot be empty!";
            return Err(PolicyError::malformed(text, place, "it names nobody"));
        }
        Ok(Self { negated, named: named.into() })
    }

    /// How the statement reaches the caller, if it does.
    pub(crate) fn reach(&self, caller: &Principal, bounded: bool) -> Option<Reach> {
        if self.negated {
            return (!self.excepts(caller, bounded)).then_some(Reach::Direct);
        }
        self.named.iter().filter_map(|named| named.reach(caller)).max()
    }

    /// Whether `NotPrincipal` leaves the caller out. It must name every level of them: a session with its role and its
    /// account, a user with their account. A caller with a permissions boundary is never left out.
    fn excepts(&self, caller: &Principal, bounded: bool) -> bool {
        let names = |wanted: &Named| self.named.contains(wanted);
        if names(&Named::Everybody) {
            return true;
        }
        let account = caller.account().is_some_and(|account| names(&Named::Account(account.to_string())));
        match caller.kind() {
            Kind::Anonymous => false,
            Kind::Service => names(&Named::Service(caller.arn().to_owned())),
            Kind::Root => account,
            Kind::User | Kind::Session if bounded => false,
            Kind::User => account && names(&Named::Arn(caller.arn().to_owned())),
            Kind::Session => {
                let role = caller.role_arn().is_some_and(|role| names(&Named::Arn(role.to_owned())));
                account && role && names(&Named::Arn(caller.arn().to_owned()))
            }
        }
    }
}

impl Named {
    fn read(kind: PolicyKind, place: &Place<'_>, class: &str, text: &str) -> Result<Self, PolicyError> {
        let refused = || invalid(kind, place, class, text);
        match class {
            "AWS" if text == "*" => Ok(Self::Everybody),
            "AWS" => Self::aws(text).ok_or_else(refused),
            "Service" => {
                let is_name =
                    text.contains('.') && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
                if is_name { Ok(Self::Service(text.to_ascii_lowercase())) } else { Err(refused()) }
            }
            "Federated" | "CanonicalUser" if !text.is_empty() && !text.contains(['*', '?']) => Ok(Self::Nobody),
            _ => Err(refused()),
        }
    }

    fn aws(text: &str) -> Option<Self> {
        let is_account = |text: &str| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
        if is_account(text) {
            return Some(Self::Account(text.to_owned()));
        }
        let id = text.strip_prefix("AIDA").or_else(|| text.strip_prefix("AROA"));
        if id.is_some_and(|rest| rest.len() >= 12 && !text.contains(['*', '?', '/'])) {
            return Some(Self::Id(text.to_owned()));
        }
        if text.contains(['*', '?']) {
            return None;
        }
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let &["arn", partition, service, "", account, resource] = parts.as_slice() else { return None };
        if !(partition == "aws" || partition.starts_with("aws-")) || !is_account(account) {
            return None;
        }
        let (class, name) = resource.split_once('/').unwrap_or((resource, ""));
        match (service, class) {
            ("iam", "root") if resource == "root" => Some(Self::Account(account.to_owned())),
            ("iam", "user" | "role") | ("sts", "federated-user") if !name.is_empty() => {
                Some(Self::Arn(text.to_owned()))
            }
            ("sts", "assumed-role") if name.split('/').filter(|part| !part.is_empty()).count() == 2 => {
                Some(Self::Arn(text.to_owned()))
            }
            _ => None,
        }
    }

    fn reach(&self, caller: &Principal) -> Option<Reach> {
        match self {
            Self::Everybody => Some(Reach::Direct),
            Self::Account(account) if caller.account().is_some_and(|own| own.as_str() == account) => {
                Some(if caller.kind() == Kind::Root { Reach::Direct } else { Reach::Account })
            }
            Self::Arn(arn) if arn == caller.arn() && caller.account().is_some() => Some(Reach::Direct),
            Self::Arn(arn) if caller.role_arn() == Some(arn) => Some(Reach::Role),
            Self::Id(id) if id == caller.id() => Some(Reach::Direct),
            Self::Id(id) if caller.kind() == Kind::Session => {
                caller.id().strip_prefix(&**id)?.starts_with(':').then_some(Reach::Role)
            }
            Self::Service(service) => {
                (caller.kind() == Kind::Service && service == caller.arn()).then_some(Reach::Direct)
            }
            _ => None,
        }
    }
}

fn invalid(kind: PolicyKind, place: &Place<'_>, class: &str, text: &str) -> PolicyError {
    let message = match kind {
        PolicyKind::Trust => {
            format!("AssumeRolepolicy contained an invalid principal: \"{class:.50}\":\"{text:.200}\".")
        }
        _ => format!("Invalid principal in policy: \"{class:.50}\":\"{text:.200}\""),
    };
    let reason = "expected an account, an ARN of a user, role or session, a service's name, or \"*\" for everybody";
    PolicyError::malformed(message, place, reason)
}

#[cfg(test)]
mod tests {
    use base::AccountId;

    use super::*;

    fn principals(text: &str, negated: bool) -> Result<Principals, PolicyError> {
        Principals::read(PolicyKind::Resource, &Place::DOCUMENT, negated, &Node::read(text).unwrap())
    }

    fn callers() -> [Principal; 5] {
        let account: AccountId = "111122223333".parse().unwrap();
        [
            Principal::root(&account),
            Principal::user(&account, "/team/", "bob", "AIDAAAAAAAAAAAAAAAAA"),
            Principal::session(&account, "/svc/", "reader", "AROABBBBBBBBBBBBBBBB", "one"),
            Principal::service("sns.amazonaws.com"),
            Principal::anonymous(),
        ]
    }

    fn reach(text: &str) -> [Option<Reach>; 5] {
        let principals = principals(text, false).unwrap();
        callers().map(|caller| principals.reach(&caller, false))
    }

    #[test]
    fn each_way_of_naming_reaches_its_callers() {
        use Reach::{Account, Direct, Role};
        assert_eq!(reach(r#""*""#), [Some(Direct); 5]);
        assert_eq!(reach(r#"{"AWS":"*"}"#), [Some(Direct); 5]);
        for account in [r#"{"AWS":"111122223333"}"#, r#"{"AWS":["arn:aws:iam::111122223333:root"]}"#] {
            assert_eq!(reach(account), [Some(Direct), Some(Account), Some(Account), None, None]);
        }
        for user in [r#"{"AWS":"arn:aws:iam::111122223333:user/team/bob"}"#, r#"{"AWS":"AIDAAAAAAAAAAAAAAAAA"}"#] {
            assert_eq!(reach(user), [None, Some(Direct), None, None, None]);
        }
        for role in [r#"{"AWS":"arn:aws:iam::111122223333:role/svc/reader"}"#, r#"{"AWS":"AROABBBBBBBBBBBBBBBB"}"#] {
            assert_eq!(reach(role), [None, None, Some(Role), None, None]);
        }
        let session = r#"{"AWS":"arn:aws:sts::111122223333:assumed-role/reader/one"}"#;
        assert_eq!(reach(session), [None, None, Some(Direct), None, None]);
        assert_eq!(reach(r#"{"Service":"sns.amazonaws.com"}"#), [None, None, None, Some(Direct), None]);
        let nobody = r#"{"Federated":"accounts.google.com","AWS":"arn:aws:iam::111122223333:user/bob"}"#;
        assert_eq!(reach(nobody), [None; 5]);
    }

    #[test]
    fn not_principal_leaves_out_whom_it_names_whole() {
        let left_out = |text: &str, bounded| {
            let principals = principals(text, true).unwrap();
            callers().map(|caller| principals.reach(&caller, bounded).is_none())
        };
        let bob = "arn:aws:iam::111122223333:user/team/bob";
        assert_eq!(left_out(&format!(r#"{{"AWS":"{bob}"}}"#), false), [false; 5]);
        let with_account = format!(r#"{{"AWS":["{bob}","111122223333"]}}"#);
        assert_eq!(left_out(&with_account, false), [true, true, false, false, false]);
        assert_eq!(left_out(&with_account, true), [true, false, false, false, false]);
        let session = r#"{"AWS":["arn:aws:sts::111122223333:assumed-role/reader/one",
            "arn:aws:iam::111122223333:role/svc/reader","arn:aws:iam::111122223333:root"]}"#;
        assert_eq!(left_out(session, false), [true, false, true, false, false]);
        assert_eq!(left_out(r#"{"Service":"sns.amazonaws.com"}"#, false), [false, false, false, true, false]);
    }

    #[test]
    fn what_names_nobody_for_certain_is_refused() {
        for wrong in [
            r#""111122223333""#,
            r#"{}"#,
            r#"{"AWS":[]}"#,
            r#"{"AWS":"arn:aws:iam::111122223333:user/*"}"#,
            r#"{"AWS":"arn:aws:sts::111122223333:assumed-role/reader"}"#,
            r#"{"AWS":"arn:aws:iam::111122223333:group/a"}"#,
            r#"{"AWS":"arn:aws:iam::1:user/a"}"#,
            r#"{"AWS":"bob"}"#,
            r#"{"Service":"*"}"#,
            r#"{"Robot":"x"}"#,
            r#"{"AWS":"*","AWS":"*"}"#,
            r#"{"AWS":{"a":"b"}}"#,
            "7",
        ] {
            assert!(principals(wrong, false).is_err(), "{wrong}");
        }
        let node = Node::read(r#""*""#).unwrap();
        let error = Principals::read(PolicyKind::Trust, &Place::DOCUMENT, false, &node).unwrap_err().to_string();
        assert!(error.starts_with(r#"AssumeRolepolicy contained an invalid principal: "STAR":"*"."#), "{error}");
    }
}
