//! What was answered is there after any power cut, with its secrets; what is asked is answered as it is now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use auth::directory::{Class, DirectoryError, Entity, EntityName, EntityPath, Kind};
use auth::{Context, Outcome, Principal, Request};
use base::fs::sim::{Call, Fault, SimFs};
use base::{AccountId, Env, Kinded, MasterKey, SeededRng, StateStore, SystemClock, TaskGroup, Timestamp};

use super::{Identities, IdentityError};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const TRUST: &str = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}}"#;
const READS: &str =
    r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}}"#;

struct Bed {
    identities: Identities,
    store: Arc<state::Store>,
    tasks: TaskGroup,
}

fn account() -> AccountId {
    "000000000000".parse().unwrap()
}

async fn open(fs: &SimFs, master: u8) -> Result<Bed, String> {
    // A process draws other numbers than the one before.
    let seed = fs.calls(Call::ALL);
    let env =
        Env { clock: Arc::new(SystemClock::new()), rng: Arc::new(SeededRng::new(seed)), fs: Arc::new(fs.clone()) };
    let store = state::Store::open(&env, "/state.redb".as_ref()).await.map_err(|error| error.to_string())?;
    let store = Arc::new(store);
    let tasks = TaskGroup::new(Arc::clone(&env.clock), Arc::clone(&env.rng));
    let port: Arc<dyn StateStore> = store.clone();
    let master = MasterKey::new([master; 32]);
    let identities = Identities::open(&env, &port, &master, &account(), &tasks).map_err(|error| error.to_string());
    Ok(Bed { identities: identities?, store, tasks })
}

impl Bed {
    async fn close(self) {
        assert!(self.tasks.stop(Duration::from_secs(10)).await);
        assert!(self.store.close().await);
    }
}

fn name(class: Class, text: &str) -> EntityName {
    EntityName::of(class, text).unwrap()
}

fn entity(class: Class, text: &str, id: String) -> Entity {
    Entity {
        name: name(class, text),
        path: EntityPath::of(None).unwrap(),
        id,
        created: NOW,
        inline: BTreeMap::new(),
        attached: BTreeSet::new(),
        boundary: None,
        tags: BTreeMap::new(),
        kind: match class {
            Class::User => Kind::User { groups: BTreeSet::new(), keys: Vec::new() },
            Class::Group => Kind::Group,
            Class::Role => Kind::Role { trust: TRUST.to_owned(), max_session_seconds: 3_600, description: None },
        },
    }
}

/// One durable change: of three, the first makes a user, the second gives them a key, the third removes both; what they
/// had before stays as it is.
async fn act(identities: &Identities, number: u32) -> Result<(), IdentityError> {
    let user = name(Class::User, &format!("user-{}", number / 3));
    match number % 3 {
        0 => {
            let user = entity(Class::User, user.as_str(), identities.unique_id("AIDA"));
            identities.change(move |directory| directory.create(user)).await?;
        }
        1 => {
            let (key, _) = identities.new_key(NOW)?;
            identities.change(move |directory| directory.add_key(&user, key)).await?;
        }
        _ => {
            let group = entity(Class::Group, &format!("group-{number}"), identities.unique_id("AGPA"));
            let role = entity(Class::Role, &format!("role-{number}"), identities.unique_id("AROA"));
            // Two rows of one change.
            let both = move |directory: &auth::directory::Directory| {
                Ok([directory.create(group)?, directory.create(role)?].concat())
            };
            identities.change(both).await?;
        }
    }
    Ok(())
}

/// How many changes are there. Fails when one of them is there in part, or when they are not the first ones.
fn found(identities: &Identities) -> Result<u32, String> {
    let directory = identities.directory();
    let count = |class| directory.entities(class).count() as u32;
    let (users, groups, roles) = (count(Class::User), count(Class::Group), count(Class::Role));
    let mut keys = 0;
    for user in directory.entities(Class::User) {
        let Kind::User { keys: held, .. } = &user.kind else { return Err("not a user".to_owned()) };
        for key in held {
            let known = identities.key(&key.id).ok_or_else(|| format!("{} has no secret", key.id))?;
            if (known.id, known.active) != (user.id.clone(), true) {
                return Err(format!("{} is somebody else's", key.id));
            }
            keys += 1;
        }
    }
    let whole = groups == roles && roles <= keys && keys <= users && users <= roles + 1;
    if whole { Ok(users + keys + roles) } else { Err(format!("{users} users, {keys} keys, {groups}/{roles} others")) }
}

const CHANGES: u32 = 9;

/// Makes changes until the first failure, and says how many were answered; in its middle the process is another.
async fn script(fs: &SimFs) -> u32 {
    let mut answered = 0;
    for end in [CHANGES / 2, CHANGES] {
        let Ok(bed) = open(fs, 7).await else { return answered };
        while answered < end {
            match act(&bed.identities, answered).await {
                Ok(()) => answered += 1,
                Err(error) => {
                    assert!(matches!(error, IdentityError::State(_)), "{error}");
                    assert_eq!(found(&bed.identities), Ok(answered), "what failed is not shown");
                    return answered;
                }
            }
        }
        assert_eq!(found(&bed.identities), Ok(answered));
        bed.close().await;
    }
    answered
}

#[test]
fn a_power_cut_at_any_change_loses_nothing_that_was_answered() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let whole = SimFs::new(0);
    assert_eq!(runtime.block_on(script(&whole)), CHANGES);
    let mut cuts = 0;
    for nth in 1..=whole.calls(Call::CHANGES) {
        let fs = SimFs::new(nth);
        fs.fail(Call::CHANGES, nth, Fault::Crash);
        let answered = runtime.block_on(script(&fs));
        cuts += u32::from(fs.is_off());
        fs.power_cut();
        let bed = runtime.block_on(open(&fs, 7)).unwrap_or_else(|error| panic!("cut at change {nth}: {error}"));
        let found = found(&bed.identities).unwrap_or_else(|error| panic!("cut at change {nth}: {error}"));
        assert!(found == answered || found == answered + 1, "cut at change {nth}: {answered} answered, {found} found");
        runtime.block_on(async {
            act(&bed.identities, found).await.unwrap();
            bed.close().await;
        });
    }
    assert!(cuts > 50, "only {cuts} cuts");
}

#[tokio::test]
async fn a_key_is_known_while_it_is_there_and_opens_under_its_master_key_only() {
    let fs = SimFs::new(1);
    let bed = open(&fs, 7).await.unwrap();
    let bob = name(Class::User, "bob");
    for number in 0..2 {
        act(&bed.identities, number).await.unwrap();
    }
    let user = entity(Class::User, "bob", bed.identities.unique_id("AIDA"));
    assert_eq!(user.id.len(), 21);
    bed.identities.change(move |directory| directory.create(user)).await.unwrap();
    let (key, secret) = bed.identities.new_key(NOW).unwrap();
    let (id, of) = (key.id.clone(), bob.clone());
    assert!(bed.identities.key(&id).is_none());
    bed.identities.change(move |directory| directory.add_key(&of, key)).await.unwrap();
    let known = bed.identities.key(&id).unwrap();
    assert_eq!(known.arn.to_string(), "arn:aws:iam::000000000000:user/bob");
    assert!(known.active && !format!("{known:?} {:?}", bed.identities.directory()).contains(&**secret));
    let (of, off) = (bob.clone(), id.clone());
    bed.identities.change(move |directory| directory.set_key_active(&of, &off, false)).await.unwrap();
    assert!(!bed.identities.key(&id).unwrap().active);
    bed.close().await;
    let refused = open(&fs, 8).await.map(|_| ()).unwrap_err();
    assert!(refused.contains("cannot be opened"), "{refused}");
    let bed = open(&fs, 7).await.unwrap();
    let (of, gone) = (bob, id.clone());
    bed.identities.change(move |directory| directory.delete_key(&of, &gone)).await.unwrap();
    assert!(bed.identities.key(&id).is_none());
    bed.close().await;
}

#[tokio::test]
async fn what_is_compiled_is_as_the_directory_is_now() {
    let bed = open(&SimFs::new(1), 7).await.unwrap();
    let identities = &bed.identities;
    let role = entity(Class::Role, "Worker", identities.unique_id("AROA"));
    let worker = role.name.clone();
    assert!(matches!(identities.grants(Class::Role, &worker), Err(DirectoryError::NoSuchEntity(_))));
    identities.change(move |directory| directory.create(role)).await.unwrap();
    let may = || {
        let principal = Principal::session(&account(), "/", "Worker", "AROA", "one");
        let context = Context::of(&principal);
        let request =
            Request { principal: &principal, action: "s3:GetObject", resource: "*", owner: None, context: &context };
        let grants = identities.grants(Class::Role, &worker).unwrap();
        grants.policies(None, None).decide(&request).outcome == Outcome::Allowed
    };
    assert!(!may() && !may());
    assert!(Arc::ptr_eq(
        &identities.grants(Class::Role, &worker).unwrap(),
        &identities.grants(Class::Role, &name(Class::Role, "WORKER")).unwrap()
    ));
    let (of, policy) = (worker.clone(), EntityName::of_policy("reads").unwrap());
    identities.change(move |directory| directory.put_inline(Class::Role, &of, &policy, READS)).await.unwrap();
    assert!(may());
    assert!(identities.trust(&worker).is_ok());
    let (of, policy) = (worker.clone(), EntityName::of_policy("reads").unwrap());
    identities.change(move |directory| directory.delete_inline(Class::Role, &of, &policy)).await.unwrap();
    assert!(!may());
    let refused = identities.change(|directory| directory.delete_policy("arn:aws:iam::000000000000:policy/none")).await;
    assert_eq!(refused.unwrap_err().kind(), base::ErrorKind::NotFound);
    bed.close().await;
}

#[tokio::test]
async fn last_uses_outlive_a_stop_and_go_with_what_was_used() {
    let fs = SimFs::new(1);
    let bed = open(&fs, 7).await.unwrap();
    for number in 0..2 {
        act(&bed.identities, number).await.unwrap();
    }
    let role = entity(Class::Role, "worker", bed.identities.unique_id("AROA"));
    let worker = role.name.clone();
    bed.identities.change(move |directory| directory.create(role)).await.unwrap();
    let directory = bed.identities.directory();
    let user = directory.entity(Class::User, &name(Class::User, "user-0")).unwrap();
    let Kind::User { keys, .. } = &user.kind else { panic!("not a user") };
    let key = keys[0].id.clone();
    let caller = base::Principal::User { arn: user.arn(&account()).parse().unwrap(), id: user.id.clone() };
    let session = base::Principal::Session {
        role: "arn:aws:iam::000000000000:role/worker".parse().unwrap(),
        role_id: String::new(),
        name: "one".to_owned(),
    };
    let note = |who: &base::Principal, seconds: u64, service: &str| {
        bed.identities.note_use(who, Some(&key), NOW + Duration::from_secs(seconds), service, "eu-central-1");
    };
    let of_role = Identities::used_as(directory.entity(Class::Role, &worker).unwrap());
    note(&caller, 0, "kinesis");
    note(&caller, 59, "sns");
    assert_eq!(bed.identities.last_use(&key).unwrap().service, "kinesis", "to the minute");
    note(&caller, 60, "sqs");
    note(&session, 5, "lambda");
    bed.close().await;
    let bed = open(&fs, 7).await.unwrap();
    let used = bed.identities.last_use(&key).unwrap();
    assert_eq!((used.at, &*used.service, &*used.region), (NOW + Duration::from_secs(60), "sqs", "eu-central-1"));
    assert_eq!(bed.identities.last_use(&of_role).unwrap().service, "lambda");
    bed.identities.change(move |directory| directory.delete(Class::Role, &worker)).await.unwrap();
    bed.close().await;
    let bed = open(&fs, 7).await.unwrap();
    assert!(bed.identities.last_use(&of_role).is_none() && bed.identities.last_use(&key).is_some());
    bed.close().await;
}
