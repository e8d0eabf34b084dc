//! Who may be whom, for how long, and what the session is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use auth::directory::{Class, Directory, Entity, EntityName, EntityPath, Kind};
use base::fs::sim::SimFs;
use base::{AccountId, Env, MasterKey, SeededRng, StateStore, TaskGroup, TestClock, Timestamp};
use wire::sts::{PolicyDescriptorType, Tag};

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const ROLE: &str = "arn:aws:iam::000000000000:role/team/worker";
const MAY_ASSUME: &str =
    r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}}"#;
const MAY_TAG: &str =
    r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:TagSession", "Resource": "*"}}"#;

struct Bed {
    service: Arc<TokenService>,
    clock: Arc<TestClock>,
    _tasks: TaskGroup,
}

fn account() -> AccountId {
    "000000000000".parse().unwrap()
}

fn trusting(principal: &str, condition: &str) -> String {
    format!(
        r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "Allow", "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Principal": {{"AWS": "{principal}"}}{condition}}}}}"#
    )
}

fn name(class: Class, text: &str) -> EntityName {
    EntityName::of(class, text).unwrap()
}

impl Bed {
    /// Bob, who may nothing, and a role that trusts the account.
    async fn new() -> Self {
        let clock = Arc::new(TestClock::at(NOW));
        let env = Env { clock: clock.clone(), rng: Arc::new(SeededRng::new(1)), fs: Arc::new(SimFs::new(1)) };
        let store: Arc<dyn StateStore> = Arc::new(state::Store::open(&env, "/state.redb".as_ref()).await.unwrap());
        let tasks = TaskGroup::new(Arc::clone(&env.clock), Arc::clone(&env.rng));
        let identities = Identities::open(&env, &store, &MasterKey::new([7; 32]), &account(), &tasks).unwrap();
        let sessions = Arc::new(SessionStore::new(clock.clone(), Arc::clone(&env.rng), 10));
        let bed = Self { service: TokenService::new(identities, sessions), clock, _tasks: tasks };
        bed.add("/", "bob", "AIDABOB", Kind::User { groups: BTreeSet::new(), keys: Vec::new() }).await;
        let trust = trusting("000000000000", "");
        bed.add("/team/", "worker", "AROAWORKER", Kind::Role { trust, max_session_seconds: 7_200, description: None })
            .await;
        bed
    }

    async fn change(
        &self,
        step: impl FnOnce(&Directory) -> Result<Vec<auth::directory::Change>, auth::directory::DirectoryError>
        + Send
        + 'static,
    ) {
        self.service.identities.change(step).await.unwrap();
    }

    async fn add(&self, path: &str, title: &str, id: &str, kind: Kind) {
        let entity = Entity {
            name: EntityName::of_policy(title).unwrap(),
            path: EntityPath::of(Some(path)).unwrap(),
            id: id.to_owned(),
            created: NOW,
            inline: BTreeMap::new(),
            attached: BTreeSet::new(),
            boundary: None,
            tags: BTreeMap::new(),
            kind,
        };
        self.change(move |directory| directory.create(entity)).await;
    }

    async fn put(&self, class: Class, title: &str, policy: &str, document: &'static str) {
        let (of, policy) = (name(class, title), EntityName::of_policy(policy).unwrap());
        self.change(move |directory| directory.put_inline(class, &of, &policy, document)).await;
    }

    async fn trust(&self, document: String) {
        self.change(move |directory| directory.trust(&name(Class::Role, "worker"), &document)).await;
    }

    fn call(&self, principal: Principal) -> Call {
        Call {
            scope: base::Scope { account: account(), region: "eu-central-1".parse().unwrap() },
            principal,
            request_id: "r".to_owned(),
            now: self.clock_now(),
            endpoint: String::new(),
            trace: None,
            source_ip: None,
            secure: false,
            user_agent: None,
            access_key_id: None,
            left: Default::default(),
        }
    }

    /// Whether a session is as long as that.
    fn lasts(&self, keys: &Credentials, seconds: u64) -> bool {
        let session = self.service.sessions.find(&keys.access_key_id).unwrap();
        session.expires == keys.expiration && session.expires == session.issued + Duration::from_secs(seconds)
    }

    fn clock_now(&self) -> Timestamp {
        use base::Clock;
        self.clock.now()
    }

    async fn assume(&self, input: AssumeRoleInput) -> Result<AssumeRoleOutput, (String, u16)> {
        self.assume_by(&self.call(bob()), input).await
    }

    async fn assume_by(&self, call: &Call, input: AssumeRoleInput) -> Result<AssumeRoleOutput, (String, u16)> {
        let ended = self.service.assume_role(call, input).await;
        ended.map_err(|error| (format!("{}: {}", error.code, error.message), error.status.unwrap_or(400)))
    }
}

fn bob() -> Principal {
    Principal::User { arn: "arn:aws:iam::000000000000:user/bob".parse().unwrap(), id: "AIDABOB".to_owned() }
}

fn asking() -> AssumeRoleInput {
    AssumeRoleInput { role_arn: ROLE.to_owned(), role_session_name: "one".to_owned(), ..Default::default() }
}

const DENIED: &str = "AccessDenied: User: arn:aws:iam::000000000000:user/bob is not authorized to perform: sts:AssumeRole on \
                      resource: arn:aws:iam::000000000000:role/team/worker";

#[tokio::test]
async fn a_role_is_whose_both_sides_allow() {
    let bed = Bed::new().await;
    let denied = Err((DENIED.to_owned(), 403));
    assert_eq!(bed.assume(asking()).await, denied, "the account is trusted, bob may not ask");
    bed.put(Class::User, "bob", "assumes", MAY_ASSUME).await;
    let made = bed.assume(asking()).await.unwrap();
    let user = made.assumed_role_user.unwrap();
    assert_eq!(user.arn, "arn:aws:sts::000000000000:assumed-role/worker/one");
    assert_eq!(user.assumed_role_id, "AROAWORKER:one");
    let keys = made.credentials.unwrap();
    let session = bed.service.sessions.find(&keys.access_key_id).unwrap();
    let role = ROLE.parse().unwrap();
    assert_eq!(
        session.principal,
        Principal::Session { role, role_id: "AROAWORKER".to_owned(), name: "one".to_owned() }
    );
    assert_eq!(session.expires, session.issued + Duration::from_secs(3_600));
    assert_eq!(session.expires, keys.expiration);
    assert!(session.policies.is_none() && session.tags.is_empty());
    bed.trust(trusting("arn:aws:iam::000000000000:user/eve", "")).await;
    assert_eq!(bed.assume(asking()).await, denied, "somebody else is trusted");
    bed.trust(trusting("arn:aws:iam::000000000000:user/bob", "")).await;
    assert!(bed.assume(asking()).await.is_ok());
    bed.put(
        Class::User,
        "bob",
        "no",
        r#"{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "sts:*", "Resource": "*"}}"#,
    )
    .await;
    assert_eq!(bed.assume(asking()).await, denied);
}

#[tokio::test]
async fn whoever_is_gone_or_the_owner_assumes_nothing_and_no_role_is_not_told_from_a_forbidden_one() {
    let bed = Bed::new().await;
    bed.put(Class::User, "bob", "assumes", MAY_ASSUME).await;
    for wrong in ["role/worker", "role/none", "user/bob"] {
        let arn = format!("arn:aws:iam::000000000000:{wrong}");
        let refused = bed.assume(AssumeRoleInput { role_arn: arn.clone(), ..asking() }).await.unwrap_err();
        assert_eq!(refused, (DENIED.replace(ROLE, &arn), 403));
    }
    let root = bed.assume_by(&bed.call(Principal::Root), asking()).await.unwrap_err();
    assert_eq!(root.0, "AccessDenied: Roles may not be assumed by root accounts.");
    let arn = "arn:aws:iam::000000000000:user/bob".parse().unwrap();
    let former = Principal::User { arn, id: "AIDAFORMER".to_owned() };
    assert_eq!(bed.assume_by(&bed.call(former), asking()).await, Err((DENIED.to_owned(), 403)), "another bob");
}

#[tokio::test]
async fn an_external_id_is_what_the_trust_policy_asks_for() {
    let bed = Bed::new().await;
    bed.put(Class::User, "bob", "assumes", MAY_ASSUME).await;
    bed.trust(trusting("000000000000", r#", "Condition": {"StringEquals": {"sts:ExternalId": "agreed"}}"#)).await;
    assert!(bed.assume(asking()).await.is_err());
    let with = |id: &str| AssumeRoleInput { external_id: Some(id.to_owned()), ..asking() };
    assert!(bed.assume(with("another")).await.is_err());
    assert!(bed.assume(with("agreed")).await.is_ok());
}

#[tokio::test]
async fn a_session_is_as_long_as_the_role_lets_it_and_an_hour_by_another_session() {
    let bed = Bed::new().await;
    bed.put(Class::User, "bob", "assumes", MAY_ASSUME).await;
    bed.put(Class::Role, "worker", "assumes", MAY_ASSUME).await;
    let lasting = |seconds: i32| AssumeRoleInput { duration_seconds: Some(seconds), ..asking() };
    let made = bed.assume(lasting(7_200)).await.unwrap();
    assert!(bed.lasts(&made.credentials.unwrap(), 7_200));
    let refused = bed.assume(lasting(7_201)).await.unwrap_err().0;
    assert_eq!(
        refused,
        "ValidationError: The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
    );
    let role = ROLE.parse().unwrap();
    let chained = bed.call(Principal::Session { role, role_id: "AROAWORKER".to_owned(), name: "one".to_owned() });
    assert!(bed.assume_by(&chained, lasting(3_600)).await.is_ok());
    assert!(bed.assume_by(&chained, lasting(3_601)).await.unwrap_err().0.contains("role chaining"));
}

#[tokio::test]
async fn tags_need_their_own_permission_and_transitive_ones_go_on() {
    let bed = Bed::new().await;
    bed.put(Class::User, "bob", "assumes", MAY_ASSUME).await;
    bed.put(Class::Role, "worker", "assumes", MAY_ASSUME).await;
    let tagged = |keys: &[&str], transitive: &[&str]| AssumeRoleInput {
        tags: Some(
            keys.iter()
                .map(|key| Tag { key: (*key).to_owned(), value: "v".to_owned(), ..Default::default() })
                .collect(),
        ),
        transitive_tag_keys: Some(transitive.iter().map(|key| (*key).to_owned()).collect()),
        ..asking()
    };
    assert_eq!(bed.assume(tagged(&["team"], &[])).await, Err((DENIED.to_owned(), 403)));
    bed.put(Class::User, "bob", "tags", MAY_TAG).await;
    bed.put(Class::Role, "worker", "tags", MAY_TAG).await;
    assert!(bed.assume(tagged(&["a", "A"], &[])).await.unwrap_err().0.starts_with("ValidationError"));
    assert!(bed.assume(tagged(&["a"], &["b"])).await.unwrap_err().0.starts_with("ValidationError"));
    let first = bed.assume(tagged(&["team", "own"], &["TEAM"])).await.unwrap().credentials.unwrap();
    let role = ROLE.parse().unwrap();
    let mut chained = bed.call(Principal::Session { role, role_id: "AROAWORKER".to_owned(), name: "one".to_owned() });
    chained.access_key_id = Some(first.access_key_id);
    let second = bed.assume_by(&chained, asking()).await.unwrap().credentials.unwrap();
    let session = bed.service.sessions.find(&second.access_key_id).unwrap();
    assert_eq!(session.tags, [("team".to_owned(), "v".to_owned())]);
    assert_eq!(session.transitive, ["TEAM"]);
    assert!(bed.assume_by(&chained, tagged(&["Team"], &[])).await.unwrap_err().0.contains("handed on"));
}

#[tokio::test]
async fn a_session_has_the_policies_that_it_is_given_and_they_have_to_be_some() {
    let bed = Bed::new().await;
    bed.put(Class::User, "bob", "assumes", MAY_ASSUME).await;
    let arns =
        |arns: &[&str]| Some(arns.iter().map(|arn| PolicyDescriptorType { arn: Some((*arn).to_owned()) }).collect());
    let aws = "arn:aws:iam::aws:policy/ReadOnlyAccess";
    let input = AssumeRoleInput { policy: Some(MAY_TAG.to_owned()), policy_arns: arns(&[aws]), ..asking() };
    let keys = bed.assume(input).await.unwrap().credentials.unwrap();
    let session = bed.service.sessions.find(&keys.access_key_id).unwrap();
    let names: Vec<_> = session.policies.iter().flatten().map(|attached| &*attached.name).collect();
    assert_eq!(names, ["session policy", aws]);
    let wrong = AssumeRoleInput { policy: Some("{}".to_owned()), ..asking() };
    assert!(bed.assume(wrong).await.unwrap_err().0.starts_with("MalformedPolicyDocument"));
    let none = AssumeRoleInput { policy_arns: arns(&["arn:aws:iam::000000000000:policy/none"]), ..asking() };
    assert!(bed.assume(none).await.is_err());
    let source = AssumeRoleInput { source_identity: Some("bob".to_owned()), ..asking() };
    assert_eq!(
        bed.assume(source).await.unwrap_err(),
        (
            "NotImplemented: SourceIdentity in AssumeRoleRequest of sts is not available in this version of Tidegate"
                .to_owned(),
            501
        )
    );
}

#[tokio::test]
async fn a_user_has_temporary_keys_and_a_session_none_of_that_kind() {
    let bed = Bed::new().await;
    let ask = async |principal: Principal, seconds: Option<i32>| {
        let input = GetSessionTokenInput { duration_seconds: seconds, ..Default::default() };
        let made = bed.service.get_session_token(&bed.call(principal), input).await;
        made.map(|made| made.credentials.unwrap()).map_err(|error| error.message)
    };
    let keys = ask(bob(), None).await.unwrap();
    assert!(bed.lasts(&keys, 43_200));
    assert_eq!(bed.service.sessions.find(&keys.access_key_id).unwrap().principal, bob());
    assert!(bed.lasts(&ask(Principal::Root, Some(40_000)).await.unwrap(), 3_600));
    let mut call = bed.call(bob());
    call.access_key_id = Some(keys.access_key_id);
    assert!(bed.service.get_session_token(&call, Default::default()).await.is_err());
    // Half of the room for ten is for functions.
    for _ in 0..3 {
        ask(bob(), None).await.unwrap();
    }
    assert!(ask(bob(), None).await.unwrap_err().contains("auth.max_sessions"));
    bed.clock.shift_wall(4_600_000);
    assert!(ask(bob(), None).await.is_ok(), "the owner's has expired");
}
