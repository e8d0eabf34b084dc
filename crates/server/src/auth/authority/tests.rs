//! Decisions follow the directory as it is at that moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use auth::directory::{EntityName, EntityPath, Kind};
use auth::{Policy, PolicyKind};
use base::fs::sim::SimFs;
use base::{Env, MasterKey, SeededRng, StateStore, SystemClock, TaskGroup, TestClock, Timestamp};

use super::*;

const STREAM: &str = "arn:aws:kinesis:eu-central-1:000000000000:stream/s";
const ROLE: &str = "arn:aws:iam::000000000000:role/service/worker";
const TRUST: &str = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole",
    "Principal": {"Service": "lambda.amazonaws.com"},
    "Condition": {"StringEqualsIfExists": {"aws:SourceAccount": "000000000000"}}}}"#;
const PUTS: &str = r#"{"Version": "2012-10-17", "Statement": {"Sid": "puts", "Effect": "Allow", "Action": "kinesis:Put*",
    "Resource": "arn:aws:kinesis:*:*:stream/s", "Condition": {"IpAddressIfExists": {"aws:SourceIp": "127.0.0.0/8"}}}}"#;

#[derive(Default)]
struct Policed(Mutex<BTreeMap<String, Result<String, String>>>);

impl ResourcePolicies for Policed {
    fn policy_of(&self, resource: &str) -> Result<Option<Attached>, String> {
        let held = self.0.lock().unwrap();
        let Some(text) = held.get(resource) else { return Ok(None) };
        let policy = Arc::new(Policy::parse(PolicyKind::Resource, &text.clone()?).unwrap());
        Ok(Some(Attached { name: resource.into(), policy }))
    }
}

struct Bed {
    authority: Authority,
    policed: Arc<Policed>,
    _tasks: TaskGroup,
}

fn account() -> AccountId {
    "000000000000".parse().unwrap()
}

async fn bed(mode: Mode) -> Bed {
    let env =
        Env { clock: Arc::new(SystemClock::new()), rng: Arc::new(SeededRng::new(1)), fs: Arc::new(SimFs::new(1)) };
    let store: Arc<dyn StateStore> = Arc::new(state::Store::open(&env, "/state.redb".as_ref()).await.unwrap());
    let tasks = TaskGroup::new(Arc::clone(&env.clock), Arc::clone(&env.rng));
    let identities = Identities::open(&env, &store, &MasterKey::new([1; 32]), &account(), &tasks).unwrap();
    let policed = Arc::new(Policed::default());
    let clock = Arc::new(TestClock::at(Timestamp::from_millis(1_800_000_000_000)));
    let authority = Authority::new(clock, identities, policed.clone(), mode);
    Bed { authority, policed, _tasks: tasks }
}

fn named(class: Class, name: &str) -> EntityName {
    EntityName::of(class, name).unwrap()
}

impl Bed {
    async fn add(&self, class: Class, path: &str, name: &str, id: &str) {
        let entity = Entity {
            name: named(class, name),
            path: EntityPath::of(Some(path)).unwrap(),
            id: id.to_owned(),
            created: Timestamp::from_millis(0),
            inline: BTreeMap::new(),
            attached: BTreeSet::new(),
            boundary: None,
            tags: [("team".to_owned(), "blue".to_owned())].into(),
            kind: match class {
                Class::User => Kind::User { groups: BTreeSet::new(), keys: Vec::new() },
                Class::Group => Kind::Group,
                Class::Role => Kind::Role { trust: TRUST.into(), max_session_seconds: 3_600, description: None },
            },
        };
        self.authority.identities.change(move |directory| directory.create(entity)).await.unwrap();
    }

    async fn put(&self, class: Class, name: &str, text: &'static str) {
        let (name, policy) = (named(class, name), EntityName::of_policy("own").unwrap());
        let step = move |directory: &auth::directory::Directory| directory.put_inline(class, &name, &policy, text);
        self.authority.identities.change(step).await.unwrap();
    }

    async fn remove(&self, class: Class, name: &str) {
        let (name, policy) = (named(class, name), EntityName::of_policy("own").unwrap());
        let step = move |directory: &auth::directory::Directory| directory.delete_inline(class, &name, &policy);
        self.authority.identities.change(step).await.unwrap();
    }

    fn ask(&self, principal: &Principal, action: &str, context: &[(&str, &str)]) -> Result<(), String> {
        match self.authority.decide(&Access { principal, action, resource: STREAM, context }) {
            Decision::Allow => Ok(()),
            Decision::Deny(reason) => Err(reason),
        }
    }
}

fn worker(role_id: &str) -> Principal {
    Principal::Session { role: ROLE.parse().unwrap(), role_id: role_id.to_owned(), name: "alert".to_owned() }
}

#[tokio::test]
async fn a_role_may_what_its_policies_say_now() {
    let bed = bed(Mode::Enforce).await;
    let denied = |ended: Result<(), String>, because: &str| {
        let reason = ended.unwrap_err();
        let who = "User: arn:aws:sts::000000000000:assumed-role/worker/alert is not authorized to perform: ";
        assert!(reason.starts_with(who) && reason.contains(because), "{reason}");
    };
    denied(bed.ask(&worker(""), "kinesis:PutRecord", &[]), "does not exist any more");
    bed.add(Class::Role, "/service/", "worker", "AROA1").await;
    denied(bed.ask(&worker("AROA1"), "kinesis:PutRecord", &[]), "because no identity-based policy allows");
    bed.put(Class::Role, "worker", PUTS).await;
    assert_eq!(bed.ask(&worker("AROA1"), "kinesis:PutRecord", &[]), Ok(()));
    assert_eq!(bed.ask(&worker(""), "kinesis:PutRecord", &[("aws:SourceIp", "127.0.0.1")]), Ok(()));
    denied(bed.ask(&worker("AROA1"), "kinesis:PutRecord", &[("aws:SourceIp", "10.0.0.1")]), "no identity-based");
    denied(bed.ask(&worker("AROA1"), "kinesis:DeleteStream", &[]), "kinesis:DeleteStream on resource: arn:aws:kinesis");
    // Another role of that name is not the one that the session is of.
    denied(bed.ask(&worker("AROA0"), "kinesis:PutRecord", &[]), "does not exist any more");
    bed.remove(Class::Role, "worker").await;
    denied(bed.ask(&worker("AROA1"), "kinesis:PutRecord", &[]), "because no identity-based policy allows");
}

#[tokio::test]
async fn a_session_s_own_policies_narrow_and_its_own_tags_win() {
    let bed = bed(Mode::Enforce).await;
    bed.add(Class::Role, "/service/", "worker", "AROA1").await;
    bed.put(
        Class::Role,
        "worker",
        r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "kinesis:*", "Resource": "*",
            "Condition": {"StringEquals": {"aws:PrincipalTag/team": "red"}}}}"#,
    )
    .await;
    let text = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "kinesis:GetRecords", "Resource": "*"}}"#;
    let narrow =
        Attached { name: "session".into(), policy: Arc::new(Policy::parse(PolicyKind::Session, text).unwrap()) };
    let tags = [("team".to_owned(), "red".to_owned())];
    let ask = |action: &str, policies: Option<&[Attached]>, tags: &[(String, String)]| {
        let access = Access { principal: &worker("AROA1"), action, resource: STREAM, context: &[] };
        bed.authority.decide_in(&access, Narrowed { policies, tags, issued: None }) == Decision::Allow
    };
    assert!(!ask("kinesis:GetRecords", None, &[]), "the role's own tag says blue");
    assert!(ask("kinesis:PutRecord", None, &tags));
    assert!(ask("kinesis:GetRecords", Some(std::slice::from_ref(&narrow)), &tags));
    assert!(!ask("kinesis:PutRecord", Some(std::slice::from_ref(&narrow)), &tags));
}

#[tokio::test]
async fn the_owner_may_what_no_resource_denies_and_nobody_may_nothing() {
    let bed = bed(Mode::Enforce).await;
    assert_eq!(bed.ask(&Principal::Root, "kinesis:DeleteStream", &[]), Ok(()));
    assert!(bed.ask(&Principal::Anonymous, "kinesis:PutRecord", &[]).is_err());
    let user = Principal::User { arn: "arn:aws:iam::000000000000:user/bob".parse().unwrap(), id: "AIDA1".to_owned() };
    assert!(bed.ask(&user, "kinesis:PutRecord", &[]).is_err(), "there is no such user");
    let keeps = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Principal": "*", "Action": "kinesis:DeleteStream", "Resource": "*"}}"#;
    bed.policed.0.lock().unwrap().insert(STREAM.to_owned(), Ok(keeps.to_owned()));
    assert!(bed.ask(&Principal::Root, "kinesis:DeleteStream", &[]).unwrap_err().contains("with an explicit deny"));
    assert_eq!(bed.ask(&Principal::Root, "kinesis:PutRecord", &[]), Ok(()));
    let closed = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"}}"#;
    bed.policed.0.lock().unwrap().insert(STREAM.to_owned(), Ok(closed.to_owned()));
    assert!(bed.ask(&Principal::Root, "kinesis:PutRecord", &[]).is_err());
    assert_eq!(
        bed.ask(&Principal::Root, "kinesis:DeleteResourcePolicy", &[]),
        Ok(()),
        "nobody else could open it again"
    );
    bed.policed.0.lock().unwrap().insert(STREAM.to_owned(), Err("it is unreadable".to_owned()));
    assert!(bed.ask(&Principal::Root, "kinesis:PutRecord", &[]).unwrap_err().ends_with("because it is unreadable"));
}

#[tokio::test]
async fn a_service_needs_the_resource_s_policy_and_the_source_that_it_names() {
    let bed = bed(Mode::Enforce).await;
    let topic = "arn:aws:sns:eu-central-1:000000000000:t";
    let sns = Principal::Service { name: "sns.amazonaws.com".to_owned() };
    let reason = bed.ask(&sns, "kinesis:PutRecord", &[("aws:SourceArn", topic)]).unwrap_err();
    assert!(reason.ends_with("because no resource-based policy allows the kinesis:PutRecord action"), "{reason}");
    let lets = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "kinesis:PutRecord", "Resource": "*", "Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:sns:*:*:t"}}}}"#;
    bed.policed.0.lock().unwrap().insert(STREAM.to_owned(), Ok(lets.to_owned()));
    let service = |name: &str| Principal::Service { name: name.to_owned() };
    let ask = |name: &str, from: &str| bed.ask(&service(name), "kinesis:PutRecord", &[("aws:SourceArn", from)]);
    assert_eq!(ask("sns.amazonaws.com", topic), Ok(()));
    assert!(ask("sns.amazonaws.com", "arn:aws:sns:eu-central-1:000000000000:other").is_err());
    assert!(ask("events.amazonaws.com", topic).is_err());
    assert!(bed.ask(&service("sns.amazonaws.com"), "kinesis:PutRecord", &[]).is_err(), "no source, no access");
}

#[tokio::test]
async fn a_role_is_the_services_that_it_trusts() {
    let bed = bed(Mode::Enforce).await;
    let assume = |service: &str, account: &str| {
        let context = [("aws:SourceAccount", account)];
        bed.authority.assume(service, &ROLE.parse().unwrap(), "alert", &context)
    };
    assert!(assume("lambda.amazonaws.com", "000000000000").unwrap_err().contains("does not exist"));
    bed.add(Class::Role, "/service/", "worker", "AROA1").await;
    assert_eq!(assume("lambda.amazonaws.com", "000000000000"), Ok(worker("AROA1")));
    let reason = assume("events.amazonaws.com", "000000000000").unwrap_err();
    assert!(reason.contains("events.amazonaws.com") && reason.contains("role trust policy"), "{reason}");
    assert!(assume("lambda.amazonaws.com", "111111111111").is_err());
    let elsewhere = "arn:aws:iam::000000000000:role/worker".parse().unwrap();
    assert!(bed.authority.assume("lambda.amazonaws.com", &elsewhere, "alert", &[]).is_err(), "another path");
}

#[tokio::test]
async fn an_audit_allows_what_would_be_denied() {
    let bed = bed(Mode::Audit).await;
    assert_eq!(bed.ask(&worker(""), "kinesis:PutRecord", &[]), Ok(()));
}
