//! The evaluator against the naive one: random policies and requests out of few words, so that they often meet.

use std::sync::Arc;

use auth::{Attached, Context, Outcome, Policies, Policy, PolicyKind, Principal, Request};
use base::{AccountId, Rng, SeededRng};
use serde_json::{Map, Value, json};

use crate::naive::{self, Asked, Keys, Who, World};

const OWN: &str = "111122223333";
const OTHER: &str = "444455556666";
const WORLDS: usize = 20_000;
const REQUESTS: usize = 50;

struct Dice(SeededRng);

impl Dice {
    fn below(&self, bound: usize) -> usize {
        usize::try_from(self.0.below(bound as u64)).unwrap()
    }

    fn one_in(&self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a>(&self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// One, or a list of up to three.
    fn some(&self, from: &[&str]) -> Value {
        match self.below(3) {
            0 => json!(self.pick(from)),
            n => (0..=n).map(|_| json!(self.pick(from))).collect(),
        }
    }
}

const ACTIONS: &[&str] = &["s:Get", "s:Put", "t:Get", "sts:AssumeRole"];
const ACTION_PATTERNS: &[&str] =
    &["*", "s:*", "s:G*", "S:get", "s:?ut", "t:*t", "t:Get", "s:Get", "s:*e*", "sts:AssumeRole", "sts:*"];
const RESOURCES: &[&str] = &[
    "*",
    "arn:aws:s:::a",
    "arn:aws:s:r:111122223333:a/b",
    "arn:aws:s:r:111122223333:a/bob",
    "arn:aws:t:r:444455556666:a:b:c",
    "arn:aws:iam::111122223333:role/x",
];
const RESOURCE_PATTERNS: &[&str] = &[
    "*",
    "arn:aws:s:::*",
    "arn:aws:s:*:*:a/*",
    "arn:aws:s:r:${aws:PrincipalAccount}:a/?",
    "arn:aws:s:*:*:a/${aws:username}",
    "arn:*:s:*:*:a/${aws:username, 'b'}",
    "arn:aws:t:r:444455556666:a:*",
    "arn:aws:t",
    "arn:aws:s:*:1*:*b",
    "arn:aws:iam::111122223333:role/*",
    "arn:aws:s:*:*:a/${k:one}",
];
const AWS: &[&str] = &[
    "*",
    "111122223333",
    "arn:aws:iam::444455556666:root",
    "arn:aws:iam::111122223333:user/bob",
    "arn:aws:iam::111122223333:role/x",
    "arn:aws:sts::111122223333:assumed-role/x/one",
    "AIDAAAAAAAAAAAAAAAAA",
    "AROABBBBBBBBBBBBBBBB",
];
const STRING: &[&str] = &[
    "StringEquals",
    "StringNotEquals",
    "StringEqualsIgnoreCase",
    "StringNotEqualsIgnoreCase",
    "StringLike",
    "StringNotLike",
];
/// Operators by the type of what they compare; `Null` is for any.
const OPERATORS: &[(&str, &[&str], &[&str])] = &[
    (
        "k:one",
        STRING,
        &["a", "A", "b", "", "a*", "?", "*", "${aws:username}", "${k:many}", "${*}", "${aws:username, 'a'}", "a${$}b"],
    ),
    ("k:many", STRING, &["a", "A", "b", "", "a*", "?", "${aws:username}", "${k:one}"]),
    (
        "k:number",
        &[
            "NumericEquals",
            "NumericNotEquals",
            "NumericLessThan",
            "NumericLessThanEquals",
            "NumericGreaterThan",
            "NumericGreaterThanEquals",
        ],
        &["1", "2", "1.0", "-1", "1e1"],
    ),
    (
        "k:time",
        &[
            "DateEquals",
            "DateNotEquals",
            "DateLessThan",
            "DateLessThanEquals",
            "DateGreaterThan",
            "DateGreaterThanEquals",
        ],
        &["2020-01-01T00:00:00Z", "1577836800", "2020-01-02T00:00:00Z", "1577836799"],
    ),
    ("k:flag", &["Bool"], &["true", "false", "True", "${k:flag}"]),
    ("k:bytes", &["BinaryEquals"], &["YQ==", "Yg==", ""]),
    ("k:ip", &["IpAddress", "NotIpAddress"], &["10.0.0.0/8", "10.0.0.1", "10.0.0.0/31", "::/0", "2001:db8::/33"]),
    (
        "k:arn",
        &["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"],
        &[
            "arn:aws:s:*:*:a/*",
            "arn:aws:s:::a",
            "arn:aws:s:r:111122223333:a/${aws:username}",
            "arn:aws:*:*:*:*",
            "${k:arn}",
        ],
    ),
];

fn condition(dice: &Dice) -> (String, Value) {
    let (key, operators, values) = OPERATORS[dice.below(OPERATORS.len())];
    let key = if dice.one_in(4) { key.to_uppercase() } else { key.to_owned() };
    if dice.one_in(8) {
        return ("Null".to_owned(), json!({ key: dice.some(&["true", "false"]) }));
    }
    let set = dice.pick(&["", "", "ForAllValues:", "ForAnyValue:"]);
    let if_exists = dice.pick(&["", "", "IfExists"]);
    (format!("{set}{}{if_exists}", dice.pick(operators)), json!({ key: dice.some(values) }))
}

fn principals(dice: &Dice) -> Value {
    match dice.below(4) {
        0 => json!({ "AWS": dice.some(AWS), "Service": "s.amazonaws.com" }),
        1 => json!({ "Service": dice.some(&["s.amazonaws.com", "t.amazonaws.com"]) }),
        _ => json!({ "AWS": dice.some(AWS) }),
    }
}

fn statement(dice: &Dice, kind: PolicyKind) -> Value {
    let mut members = Map::new();
    let effect = if dice.one_in(5) { "Deny" } else { "Allow" };
    members.insert("Effect".to_owned(), effect.into());
    if kind == PolicyKind::Trust {
        members.insert("Action".to_owned(), dice.some(&["sts:AssumeRole", "sts:*", "sts:TagSession"]));
    } else {
        let name = if dice.one_in(6) { "NotAction" } else { "Action" };
        members.insert(name.to_owned(), dice.some(ACTION_PATTERNS));
        let name = if dice.one_in(6) { "NotResource" } else { "Resource" };
        if kind != PolicyKind::Resource || !dice.one_in(4) {
            members.insert(name.to_owned(), dice.some(RESOURCE_PATTERNS));
        }
    }
    match kind {
        PolicyKind::Resource if effect == "Deny" && dice.one_in(2) => {
            members.insert("NotPrincipal".to_owned(), principals(dice));
        }
        PolicyKind::Trust | PolicyKind::Resource => {
            let everybody = kind == PolicyKind::Resource && dice.one_in(8);
            members.insert("Principal".to_owned(), if everybody { json!("*") } else { principals(dice) });
        }
        _ => {}
    }
    if dice.one_in(2) {
        let conditions: Map<String, Value> = (0..=dice.below(2)).map(|_| condition(dice)).collect();
        members.insert("Condition".to_owned(), conditions.into());
    }
    members.into()
}

fn document(dice: &Dice, kind: PolicyKind) -> Value {
    let statements: Vec<Value> = (0..=dice.below(3)).map(|_| statement(dice, kind)).collect();
    let mut document = json!({ "Version": "2012-10-17", "Statement": statements });
    // Without variables these would be a flag and an ARN that are none.
    let needs_variables = ["${k:flag}", "${k:arn}"].iter().any(|variable| document.to_string().contains(variable));
    if kind != PolicyKind::Managed && dice.one_in(8) && !needs_variables {
        document["Version"] = json!("2008-10-17");
    }
    document
}

fn world(dice: &Dice) -> World {
    let is_trust = dice.one_in(5);
    let kind = if is_trust { PolicyKind::Trust } else { PolicyKind::Resource };
    World {
        identity: (0..dice.below(4)).map(|_| document(dice, PolicyKind::Inline)).collect(),
        boundary: dice.one_in(4).then(|| document(dice, PolicyKind::Managed)),
        session: dice.one_in(4).then(|| (0..dice.below(3)).map(|_| document(dice, PolicyKind::Session)).collect()),
        resource: (is_trust || dice.one_in(2)).then(|| document(dice, kind)),
        is_trust,
    }
}

fn keys(dice: &Dice) -> Keys {
    let mut keys = Vec::new();
    let mut add =
        |key: &str, values: &[&str]| keys.push((key.to_owned(), values.iter().map(|v| (*v).to_owned()).collect()));
    for (key, values) in [
        ("k:one", &["a", "A", "b", "", "ab", "*", "bob", "a$b"][..]),
        ("k:number", &["1", "2", "0", "10", "x"]),
        ("k:time", &["2020-01-01T00:00:00Z", "1577836800", "1577836801"]),
        ("k:flag", &["true", "false", "TRUE"]),
        ("k:bytes", &["YQ==", "Yg=="]),
        ("k:ip", &["10.0.0.1", "10.1.0.1", "::1", "2001:db8::1", "x"]),
        ("k:arn", &["arn:aws:s:::a", "arn:aws:s:r:111122223333:a/bob", "arn:aws:t:r:1:x:y", "x"]),
    ] {
        if !dice.one_in(4) {
            add(key, &[dice.pick(values)]);
        }
    }
    if !dice.one_in(4) {
        let many: Vec<&str> = (0..dice.below(4)).map(|_| dice.pick(&["a", "A", "b", "", "bob"])).collect();
        add("k:many", &many);
    }
    keys
}

/// A caller, as both evaluators know them, with the keys that tell of them.
fn caller(dice: &Dice) -> (Principal, Who, Keys) {
    let id = if dice.one_in(6) { OTHER } else { OWN };
    let account: AccountId = id.parse().unwrap();
    let told = |name: Option<&str>| -> Keys {
        let account = Some(("aws:principalaccount".to_owned(), vec![id.to_owned()]));
        let name = name.map(|name| ("aws:username".to_owned(), vec![name.to_owned()]));
        account.into_iter().chain(name).collect()
    };
    match dice.below(10) {
        0 => (Principal::root(&account), Who::Root { account: id.into() }, told(None)),
        1 | 2 => {
            let name = dice.pick(&["s.amazonaws.com", "t.amazonaws.com"]);
            (Principal::service(name), Who::Service { name: name.into() }, Vec::new())
        }
        3 => (Principal::anonymous(), Who::Anonymous, Vec::new()),
        4..=6 => {
            let name = dice.pick(&["bob", "b"]);
            let user_id = if name == "bob" { "AIDAAAAAAAAAAAAAAAAA" } else { "AIDACCCCCCCCCCCCCCCC" };
            let who =
                Who::User { account: id.into(), arn: format!("arn:aws:iam::{id}:user/{name}"), id: user_id.into() };
            (Principal::user(&account, "/", name, user_id), who, told(Some(name)))
        }
        _ => {
            let (role, session) = (dice.pick(&["x", "y"]), dice.pick(&["one", "two"]));
            let role_id = if role == "x" { "AROABBBBBBBBBBBBBBBB" } else { "AROADDDDDDDDDDDDDDDD" };
            let who = Who::Session {
                account: id.into(),
                arn: format!("arn:aws:sts::{id}:assumed-role/{role}/{session}"),
                role_arn: format!("arn:aws:iam::{id}:role/{role}"),
                role_id: role_id.into(),
                name: session.into(),
            };
            (Principal::session(&account, "/", role, role_id, session), who, told(None))
        }
    }
}

struct Compiled {
    identity: Vec<Attached>,
    boundary: Option<Attached>,
    session: Option<Vec<Attached>>,
    resource: Option<Attached>,
}

fn compile(world: &World) -> Compiled {
    let attach = |kind: PolicyKind, document: &Value| {
        let policy = Policy::parse(kind, &document.to_string()).unwrap_or_else(|error| panic!("{error}\n{document}"));
        Attached { name: "p".into(), policy: Arc::new(policy) }
    };
    let on_resource = if world.is_trust { PolicyKind::Trust } else { PolicyKind::Resource };
    Compiled {
        identity: world.identity.iter().map(|d| attach(PolicyKind::Inline, d)).collect(),
        boundary: world.boundary.as_ref().map(|d| attach(PolicyKind::Managed, d)),
        session: world.session.as_ref().map(|all| all.iter().map(|d| attach(PolicyKind::Session, d)).collect()),
        resource: world.resource.as_ref().map(|d| attach(on_resource, d)),
    }
}

#[test]
fn both_evaluators_agree_on_random_pairs() {
    let dice = Dice(SeededRng::new(6));
    let mut seen = [0_u64; 3];
    for _ in 0..WORLDS {
        let world = world(&dice);
        let Compiled { identity, boundary, session, resource } = compile(&world);
        let policies = Policies {
            identity: &identity,
            boundary: boundary.as_ref(),
            session: session.as_deref(),
            resource: resource.as_ref(),
        };
        for turn in 0..REQUESTS {
            let (principal, who, mut known) = caller(&dice);
            known.extend(keys(&dice));
            let mut context = Context::of(&principal);
            for (key, values) in &known {
                context.set_all(key, values.clone());
            }
            let owner = dice.pick(&["", OWN, OTHER]);
            let asked = Asked {
                who,
                action: if world.is_trust { "sts:AssumeRole" } else { dice.pick(ACTIONS) }.to_owned(),
                resource: dice.pick(RESOURCES).to_owned(),
                owner: (!owner.is_empty()).then(|| owner.to_owned()),
                keys: known,
            };
            let owner: Option<AccountId> = asked.owner.as_ref().map(|owner| owner.parse().unwrap());
            let (action, resource) = (&*asked.action, &*asked.resource);
            let request = Request { principal: &principal, action, resource, owner: owner.as_ref(), context: &context };
            let outcome = policies.decide(&request).outcome;
            if turn == 0 {
                assert_eq!(policies.explain(&request).decision.outcome, outcome, "explained otherwise than decided");
            }
            let expected = naive::decide(&world, &asked);
            assert_eq!(outcome, expected, "\n{world:#?}\n{asked:#?}");
            seen[match outcome {
                Outcome::Allowed => 0,
                Outcome::ExplicitDeny => 1,
                Outcome::ImplicitDeny => 2,
            }] += 1;
        }
    }
    let [allowed, explicit, implicit] = seen;
    println!(
        "{} pairs: {allowed} allowed, {explicit} denied explicitly, {implicit} denied implicitly",
        seen.iter().sum::<u64>()
    );
    assert!(seen.iter().all(|count| *count > 100_000), "{seen:?}: too few of a kind to say anything");
}
