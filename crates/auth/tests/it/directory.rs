//! The directory: what its steps answer, and what a caller may by what is attached.

use std::collections::{BTreeMap, BTreeSet};

use auth::directory::{
    AccessKey, Change, Class, CustomerPolicy, Directory, DirectoryError, Entity, EntityName, EntityPath, Kind,
    PolicyVersion, tags_of,
};
use auth::{Context, Outcome, Principal, Request};
use base::Timestamp;
use serde_json::{Value, json};

use crate::case::{ACCOUNT, account};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn name(class: Class, text: &str) -> EntityName {
    EntityName::of(class, text).unwrap()
}

fn policy_name(text: &str) -> EntityName {
    EntityName::of_policy(text).unwrap()
}

fn entity(text: &str, kind: Kind) -> Entity {
    Entity {
        name: EntityName::of_policy(text).unwrap(),
        path: EntityPath::of(None).unwrap(),
        id: "AIDAAAAAAAAAAAAAAAAA".to_owned(),
        created: NOW,
        inline: BTreeMap::new(),
        attached: BTreeSet::new(),
        boundary: None,
        tags: BTreeMap::new(),
        kind,
    }
}

fn user(text: &str) -> Entity {
    entity(text, Kind::User { groups: BTreeSet::new(), keys: Vec::new() })
}

fn role(text: &str) -> Entity {
    let trust = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": {"Service": "lambda.amazonaws.com"}}});
    entity(text, Kind::Role { trust: trust.to_string(), max_session_seconds: 3_600, description: None })
}

fn allow(action: &str) -> String {
    let statement = json!({"Effect": "Allow", "Action": action, "Resource": "*"});
    json!({"Version": "2012-10-17", "Statement": statement}).to_string()
}

fn managed(text: &str, document: String) -> CustomerPolicy {
    CustomerPolicy {
        name: policy_name(text),
        path: EntityPath::of(Some("/team/")).unwrap(),
        id: "ANPAAAAAAAAAAAAAAAAA".to_owned(),
        created: NOW,
        updated: NOW,
        description: None,
        default: 1,
        next: 2,
        versions: BTreeMap::from([(1, PolicyVersion { document, created: NOW })]),
        tags: BTreeMap::new(),
    }
}

/// Bob in the group devs, the role worker, the policy reads.
fn directory() -> Directory {
    let mut directory = Directory::new(account(ACCOUNT));
    for created in [user("Bob"), entity("devs", Kind::Group), role("worker")] {
        done(&mut directory, |directory| directory.create(created));
    }
    done(&mut directory, |directory| directory.create_policy(managed("reads", allow("s3:Get*"))));
    done(&mut directory, |directory| directory.join(&name(Class::User, "bob"), &name(Class::Group, "Devs")));
    directory
}

fn done(directory: &mut Directory, step: impl FnOnce(&Directory) -> Result<Vec<Change>, DirectoryError>) {
    let changes = step(directory).unwrap();
    directory.apply(changes);
}

fn refused(step: Result<Vec<Change>, DirectoryError>) -> (&'static str, String) {
    let error = step.unwrap_err();
    (error.code(), error.to_string())
}

const READS: &str = "arn:aws:iam::111122223333:policy/team/reads";

fn may(directory: &Directory, class: Class, who: &str, action: &str) -> bool {
    let grants = directory.grants(class, &name(class, who)).unwrap();
    let principal = match class {
        Class::Role => Principal::session(&account(ACCOUNT), "/", who, "AROABBBBBBBBBBBBBBBB", "one"),
        _ => Principal::user(&account(ACCOUNT), "/", who, "AIDAAAAAAAAAAAAAAAAA"),
    };
    let context = Context::of(&principal);
    let request = Request { principal: &principal, action, resource: "*", owner: None, context: &context };
    grants.policies(None, None).decide(&request).outcome == Outcome::Allowed
}

#[test]
fn a_caller_may_what_is_attached_to_them_and_their_groups() {
    let mut directory = directory();
    let bob = name(Class::User, "Bob");
    assert!(!may(&directory, Class::User, "Bob", "s3:GetObject"));
    done(&mut directory, |d| d.attach(Class::Group, &name(Class::Group, "devs"), READS));
    assert!(may(&directory, Class::User, "Bob", "s3:GetObject"));
    done(&mut directory, |d| d.put_inline(Class::User, &bob, &policy_name("own"), &allow("sqs:*")));
    assert!(may(&directory, Class::User, "bob", "sqs:SendMessage"));
    done(&mut directory, |d| d.bound(Class::User, &bob, Some(READS)));
    assert!(
        !may(&directory, Class::User, "Bob", "sqs:SendMessage") && may(&directory, Class::User, "Bob", "s3:GetObject")
    );
    done(&mut directory, |d| d.bound(Class::User, &bob, None));
    done(&mut directory, |d| d.add_version(READS, &allow("sns:*"), true, NOW));
    assert!(may(&directory, Class::User, "Bob", "sns:Publish") && !may(&directory, Class::User, "Bob", "s3:GetObject"));
    done(&mut directory, |d| d.set_default_version(READS, 1, NOW));
    assert!(may(&directory, Class::User, "Bob", "s3:GetObject"));
    done(&mut directory, |d| d.leave(&bob, &name(Class::Group, "devs")));
    assert!(!may(&directory, Class::User, "Bob", "s3:GetObject"));
    let aws = "arn:aws:iam::aws:policy/service-role/AWSLambdaKinesisExecutionRole";
    done(&mut directory, |d| d.attach(Class::Role, &name(Class::Role, "worker"), aws));
    assert!(may(&directory, Class::Role, "worker", "kinesis:GetRecords"));
    assert!(!may(&directory, Class::Role, "worker", "kinesis:PutRecord"));
}

#[test]
fn names_are_one_in_any_case() {
    let mut directory = directory();
    assert_eq!(
        refused(directory.create(user("BOB"))),
        ("EntityAlreadyExists", "User with name BOB already exists.".to_owned())
    );
    let arn = directory.entity(Class::User, &name(Class::User, "bob")).unwrap().arn(&account(ACCOUNT));
    assert_eq!(arn, "arn:aws:iam::111122223333:user/Bob");
    done(&mut directory, |d| d.create(role("bob")));
    let (code, message) = refused(directory.delete(Class::User, &name(Class::User, "eve")));
    assert_eq!((code, &*message), ("NoSuchEntity", "The user with name eve cannot be found."));
    for wrong in ["", "a/b", "a b", "é"] {
        assert_eq!(EntityName::of(Class::Role, wrong).unwrap_err().code(), "ValidationError", "{wrong}");
    }
    assert!(
        EntityName::of(Class::User, &"x".repeat(65)).is_err() && EntityName::of(Class::Group, &"x".repeat(65)).is_ok()
    );
    for wrong in ["", "a/", "/a", "/a b/"] {
        assert!(EntityPath::of(Some(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn nothing_is_deleted_that_is_still_used() {
    let mut directory = directory();
    let (bob, devs) = (name(Class::User, "Bob"), name(Class::Group, "devs"));
    let conflict = |step| {
        let (code, message) = refused(step);
        assert_eq!(code, "DeleteConflict");
        message
    };
    assert_eq!(
        conflict(directory.delete(Class::Group, &devs)),
        "Cannot delete entity, must remove users from group first."
    );
    done(&mut directory, |d| d.attach(Class::User, &bob, READS));
    assert_eq!(conflict(directory.delete(Class::User, &bob)), "Cannot delete entity, must detach all policies first.");
    assert_eq!(conflict(directory.delete_policy(READS)), "Cannot delete a policy attached to entities.");
    done(&mut directory, |d| d.detach(Class::User, &bob, READS));
    done(&mut directory, |d| d.bound(Class::User, &bob, Some(READS)));
    assert_eq!(conflict(directory.delete_policy(READS)), "Cannot delete a policy attached to entities.");
    done(&mut directory, |d| d.bound(Class::User, &bob, None));
    done(&mut directory, |d| d.add_version(READS, &allow("sns:*"), false, NOW));
    assert!(conflict(directory.delete_policy(READS)).starts_with("This policy has more than one version."));
    assert_eq!(conflict(directory.delete_version(READS, 1, NOW)), "Cannot delete the default version of a policy.");
    done(&mut directory, |d| d.delete_version(READS, 2, NOW));
    done(&mut directory, |d| d.delete_policy(READS));
    done(&mut directory, |d| d.leave(&bob, &devs));
    done(&mut directory, |d| d.delete(Class::User, &bob));
    done(&mut directory, |d| d.delete(Class::Group, &devs));
    assert_eq!(directory.entities(Class::User).count() + directory.entities(Class::Group).count(), 0);
    assert_eq!(directory.policies().count(), 0);
}

#[test]
fn quotas_hold() {
    let mut directory = directory();
    let (bob, worker) = (name(Class::User, "Bob"), name(Class::Role, "worker"));
    for number in 0..4 {
        done(&mut directory, |d| d.add_version(READS, &allow(&format!("s3:Get{number}")), false, NOW));
    }
    assert!(
        refused(directory.add_version(READS, &allow("s3:*"), true, NOW))
            .1
            .starts_with("A managed policy can have up to 5")
    );
    // A number is not given twice.
    done(&mut directory, |d| d.delete_version(READS, 5, NOW));
    done(&mut directory, |d| d.add_version(READS, &allow("s3:Get5"), false, NOW));
    assert!(directory.policy(READS).unwrap().versions.contains_key(&6));
    let long = json!({"Version": "2012-10-17", "Id": "x".repeat(1_000),
        "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}})
    .to_string();
    done(&mut directory, |d| d.put_inline(Class::User, &bob, &policy_name("one"), &long));
    let (code, message) = refused(directory.put_inline(Class::User, &bob, &policy_name("two"), &long));
    assert_eq!((code, &*message), ("LimitExceeded", "Maximum policy size of 2048 bytes exceeded for user Bob"));
    assert!(directory.put_inline(Class::User, &bob, &policy_name("one"), &long).is_ok(), "it replaces");
    for managed in auth::managed_policies().iter().take(10) {
        done(&mut directory, |d| d.attach(Class::Role, &worker, &managed.arn()));
    }
    assert_eq!(
        refused(directory.attach(Class::Role, &worker, READS)),
        ("LimitExceeded", "Cannot exceed quota for PoliciesPerRole: 10".to_owned())
    );
    let too_long = directory.update_role(&worker, None, Some(43_201));
    assert!(refused(too_long).1.ends_with("Member must have value less than or equal to 43200"));
}

#[test]
fn a_user_has_two_keys_and_is_found_by_them() {
    let mut directory = directory();
    let bob = name(Class::User, "Bob");
    let key =
        |id: &str| AccessKey { id: id.to_owned(), sealed_secret: "sealed".to_owned(), active: true, created: NOW };
    for id in ["AKIA1", "AKIA2"] {
        done(&mut directory, |d| d.add_key(&bob, key(id)));
    }
    assert_eq!(refused(directory.add_key(&bob, key("AKIA3"))).1, "Cannot exceed quota for AccessKeysPerUser: 2");
    assert_eq!(directory.key_holder("AKIA2").unwrap().name.as_str(), "Bob");
    done(&mut directory, |d| d.set_key_active(&bob, "AKIA1", false));
    let Kind::User { keys, .. } = &directory.key_holder("AKIA1").unwrap().kind else { panic!("no user") };
    assert_eq!(keys.iter().map(|key| key.active).collect::<Vec<_>>(), [false, true]);
    assert!(!format!("{keys:?}").contains("sealed"));
    done(&mut directory, |d| d.delete_key(&bob, "AKIA1"));
    assert!(directory.key_holder("AKIA1").is_none());
    assert_eq!(refused(directory.delete_key(&bob, "AKIA1")).1, "The Access Key with id AKIA1 cannot be found.");
    assert!(refused(directory.delete(Class::User, &bob)).1.contains("delete access keys first"));
}

#[test]
fn a_wrong_document_changes_nothing() {
    let directory = directory();
    let worker = name(Class::Role, "worker");
    let code = |step| refused(step).0;
    assert_eq!(code(directory.put_inline(Class::Role, &worker, &policy_name("x"), "{}")), "MalformedPolicyDocument");
    assert_eq!(code(directory.trust(&worker, &allow("s3:*"))), "MalformedPolicyDocument");
    assert_eq!(code(directory.create_policy(managed("other", "{".to_owned()))), "MalformedPolicyDocument");
    assert_eq!(code(directory.attach(Class::Role, &worker, "arn:aws:iam::aws:policy/Nothing")), "NoSuchEntity");
    assert_eq!(code(directory.attach(Class::Role, &worker, "arn:aws:iam::111122223333:policy/reads")), "NoSuchEntity");
    assert_eq!(code(directory.bound(Class::Group, &name(Class::Group, "devs"), Some(READS))), "ValidationError");
    assert!(directory.trust_of(&worker).is_ok());
}

#[test]
fn rows_of_before_are_read() {
    let row = json!({"name": "worker", "path": "/", "id": "AROABBBBBBBBBBBBBBBB", "created": 0,
        "kind": {"class": "role", "trust": "{}", "max_session_seconds": 3600}});
    let entity: Entity = serde_json::from_value(row).unwrap();
    assert_eq!((entity.class(), entity.attached.len()), (Class::Role, 0));
    let written: Value = serde_json::to_value(&entity).unwrap();
    assert_eq!(serde_json::from_value::<Entity>(written).unwrap(), entity);
}

#[test]
fn a_renamed_user_keeps_what_they_had_and_a_renamed_group_its_users() {
    let mut directory = directory();
    let (bob, devs) = (name(Class::User, "bob"), name(Class::Group, "devs"));
    let key = AccessKey { id: "AKIAONE".to_owned(), sealed_secret: String::new(), active: true, created: NOW };
    done(&mut directory, |d| d.add_key(&bob, key));
    done(&mut directory, |d| d.attach(Class::Group, &devs, READS));
    done(&mut directory, |d| d.rename(Class::Group, &devs, Some(name(Class::Group, "Makers")), None));
    assert!(directory.entity(Class::Group, &devs).is_err());
    assert!(may(&directory, Class::User, "Bob", "s3:GetObject"));
    done(&mut directory, |d| d.create(user("eve")));
    let taken = refused(directory.rename(Class::User, &bob, Some(name(Class::User, "EVE")), None));
    assert_eq!(taken, ("EntityAlreadyExists", "User with name EVE already exists.".to_owned()));
    let path = EntityPath::of(Some("/team/")).unwrap();
    done(&mut directory, |d| d.rename(Class::User, &bob, Some(name(Class::User, "Robert")), Some(path)));
    let robert = directory.key_holder("AKIAONE").unwrap();
    assert_eq!(robert.arn(&account(ACCOUNT)), "arn:aws:iam::111122223333:user/team/Robert");
    assert!(may(&directory, Class::User, "robert", "s3:GetObject"));
    // The same name in another case is a rename, too.
    done(&mut directory, |d| {
        d.rename(Class::User, &name(Class::User, "robert"), Some(name(Class::User, "ROBERT")), None)
    });
    assert_eq!(directory.key_holder("AKIAONE").unwrap().name.as_str(), "ROBERT");
    assert_eq!(directory.members(&name(Class::Group, "makers")).count(), 1);
    assert_eq!(refused(directory.rename(Class::Role, &name(Class::Role, "worker"), None, None)).0, "ValidationError");
}

#[test]
fn tags_are_one_in_any_case_and_fifty_at_most() {
    let mut directory = directory();
    let bob = name(Class::User, "bob");
    let tags = |from: std::ops::Range<u32>| tags_of(from.map(|n| (format!("Key{n}"), "v".to_owned()))).unwrap();
    done(&mut directory, |d| d.tag(Class::User, &bob, tags(0..50)));
    assert_eq!(
        refused(directory.tag(Class::User, &bob, tags(50..51))),
        ("LimitExceeded", "Cannot exceed quota for TagsPerResource: 50".to_owned())
    );
    let again = tags_of([("KEY0".to_owned(), "w".to_owned())]).unwrap();
    done(&mut directory, |d| d.tag(Class::User, &bob, again));
    let held = directory.entity(Class::User, &bob).unwrap();
    assert_eq!((held.tags.len(), held.tags.get("Key0"), &*held.tags["KEY0"]), (50, None, "w"));
    done(&mut directory, |d| d.untag(Class::User, &bob, &["key0".to_owned(), "none".to_owned()]));
    assert_eq!(directory.entity(Class::User, &bob).unwrap().tags.len(), 49);
    for wrong in [&["a", "A"][..], &["aws:x"], &["AWS:x"]] {
        let error = tags_of(wrong.iter().map(|key| ((*key).to_owned(), String::new()))).unwrap_err();
        assert_eq!(error.code(), "InvalidInput", "{wrong:?}");
    }
    assert_eq!(refused(directory.tag(Class::Group, &name(Class::Group, "devs"), tags(0..1))).0, "ValidationError");
    done(&mut directory, |d| d.tag_policy(READS, tags(0..2)));
    done(&mut directory, |d| d.untag_policy(READS, &["Key1".to_owned()]));
    assert_eq!(directory.policy(READS).unwrap().tags.len(), 1);
}

#[test]
fn there_are_as_many_groups_as_the_quota_says() {
    let mut directory = directory();
    for number in 1..300 {
        done(&mut directory, |d| d.create(entity(&format!("group{number}"), Kind::Group)));
    }
    assert_eq!(
        refused(directory.create(entity("more", Kind::Group))),
        ("LimitExceeded", "Cannot exceed quota for GroupsPerAccount: 300".to_owned())
    );
}
