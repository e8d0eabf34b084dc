//! Who acts.

use base::{AccountId, Rng};
use serde_json::{Value, json};

use super::pick;

/// A person with a user, or a program with a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Actor {
    Person(&'static Person),
    Machine(&'static Machine),
}

/// Somebody with an IAM user.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub name: &'static str,
    pub address: &'static str,
    agent: &'static str,
}

/// Something with a role.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Machine {
    role: &'static str,
    session: &'static str,
    address: &'static str,
    agent: &'static str,
}

const CONSOLE: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const CLI: &str = "aws-cli/2.31.0 md/awscrt#0.27.6 ua/2.1 os/linux#6.12 lang/python#3.13";
const BOTO: &str = "Boto3/1.40.0 md/Botocore#1.40.0 ua/2.1 os/linux#6.12 lang/python#3.13";
const TERRAFORM: &str = "APN/1.0 HashiCorp/1.0 Terraform/1.13.0 terraform-provider-aws/6.10.0";

pub(super) const PEOPLE: [Person; 7] = [
    Person { name: "olivia", address: "10.20.4.17", agent: CLI },
    Person { name: "marcus", address: "10.20.4.31", agent: TERRAFORM },
    Person { name: "priya", address: "10.20.4.44", agent: CONSOLE },
    Person { name: "jonas", address: "10.20.7.9", agent: BOTO },
    Person { name: "aiko", address: "10.20.7.12", agent: CONSOLE },
    Person { name: "tomas", address: "10.20.9.3", agent: CONSOLE },
    Person { name: "lena", address: "10.20.9.21", agent: CONSOLE },
];

const MACHINES: [Machine; 5] = [
    Machine { role: "ci-deployer", session: "build-4711", address: "10.30.1.5", agent: CLI },
    Machine { role: "web-frontend", session: "i-0f3c9a1b2d4e5f607", address: "10.40.2.18", agent: BOTO },
    Machine { role: "order-worker", session: "order-worker", address: "10.40.3.77", agent: BOTO },
    Machine { role: "nightly-backup", session: "backup", address: "10.30.1.9", agent: BOTO },
    Machine {
        role: "config-recorder",
        session: "AWSConfig-Describe",
        address: "config.amazonaws.com",
        agent: "config.amazonaws.com",
    },
];

impl Actor {
    pub fn any(rng: &dyn Rng) -> Self {
        const PEOPLE_REFS: [&Person; 7] =
            [&PEOPLE[0], &PEOPLE[1], &PEOPLE[2], &PEOPLE[3], &PEOPLE[4], &PEOPLE[5], &PEOPLE[6]];
        const MACHINE_REFS: [&Machine; 5] = [&MACHINES[0], &MACHINES[1], &MACHINES[2], &MACHINES[3], &MACHINES[4]];
        match rng.below(5) {
            0 | 1 => Self::Person(pick(&PEOPLE_REFS, rng)),
            _ => Self::Machine(pick(&MACHINE_REFS, rng)),
        }
    }

    pub fn is_person(self) -> bool {
        matches!(self, Self::Person(_))
    }

    pub fn address(self) -> &'static str {
        match self {
            Self::Person(person) => person.address,
            Self::Machine(machine) => machine.address,
        }
    }

    pub fn agent(self) -> &'static str {
        match self {
            Self::Person(person) => person.agent,
            Self::Machine(machine) => machine.agent,
        }
    }

    /// The record's `userIdentity`.
    pub fn identity(self, account: &AccountId) -> Value {
        match self {
            Self::Person(person) => user(person.name, account),
            Self::Machine(Machine { role, session, .. }) => json!({
                "type": "AssumedRole",
                "principalId": format!("{}:{session}", principal("AROA", role)),
                "arn": format!("arn:aws:sts::{account}:assumed-role/{role}/{session}"),
                "accountId": account,
                "accessKeyId": principal("ASIA", session),
                "sessionContext": {"sessionIssuer": {
                    "type": "Role",
                    "principalId": principal("AROA", role),
                    "arn": format!("arn:aws:iam::{account}:role/{role}"),
                    "accountId": account,
                    "userName": role,
                }},
            }),
        }
    }
}

/// The identity of an IAM user.
pub(super) fn user(name: &str, account: &AccountId) -> Value {
    json!({
        "type": "IAMUser",
        "principalId": principal("AIDA", name),
        "arn": format!("arn:aws:iam::{account}:user/{name}"),
        "accountId": account,
        "accessKeyId": principal("AKIA", name),
        "userName": name,
    })
}

/// The identity of the account's owner.
pub(super) fn root(account: &AccountId) -> Value {
    json!({"type": "Root", "principalId": account, "arn": format!("arn:aws:iam::{account}:root"), "accountId": account})
}

/// An id in the form of IAM's, always the same for a name.
fn principal(prefix: &str, name: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut hash =
        name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let mut id = prefix.to_owned();
    for _ in 0..16 {
        id.push(char::from(ALPHABET[(hash % 32) as usize]));
        hash = hash.rotate_left(27).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (hash >> 31);
    }
    id
}
