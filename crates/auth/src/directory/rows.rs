//! What is kept: rows, and the changes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base::{AccountId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{EntityName, EntityPath};

/// The classes of entities that policies are attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// A user.
    User,
    /// A group of users.
    Group,
    /// A role.
    Role,
}

/// A user, a group or a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// Its name.
    pub name: EntityName,
    /// Its path.
    pub path: EntityPath,
    /// Begins with `AIDA`, `AGPA` or `AROA`.
    pub id: String,
    /// When it was made.
    pub created: Timestamp,
    /// Inline policies: documents by name.
    #[serde(default)]
    pub inline: BTreeMap<EntityName, String>,
    /// ARNs of managed policies.
    #[serde(default)]
    pub attached: BTreeSet<String>,
    /// ARN of the managed policy that is the permissions boundary.
    #[serde(default)]
    pub boundary: Option<String>,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// What only its class has.
    pub kind: Kind,
}

/// What only one class of entities has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "class", rename_all = "lowercase")]
pub enum Kind {
    /// Of a user.
    User {
        /// Names of the groups that the user is in, in lower case.
        #[serde(default)]
        groups: BTreeSet<String>,
        /// At most two.
        #[serde(default)]
        keys: Vec<AccessKey>,
    },
    /// Of a group.
    Group,
    /// Of a role.
    Role {
        /// The trust policy's document.
        trust: String,
        /// The longest session, in seconds.
        max_session_seconds: u32,
        /// What the role is for.
        #[serde(default)]
        description: Option<String>,
    },
}

/// A long-term key of a user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    /// Begins with `AKIA`.
    pub id: String,
    /// The secret, sealed by whoever keeps the rows.
    pub sealed_secret: String,
    /// Whether it may be used.
    pub active: bool,
    /// When it was made.
    pub created: Timestamp,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessKey({}, active: {})", self.id, self.active)
    }
}

/// A managed policy of the account's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerPolicy {
    /// Its name.
    pub name: EntityName,
    /// Its path.
    pub path: EntityPath,
    /// Begins with `ANPA`.
    pub id: String,
    /// When it was made.
    pub created: Timestamp,
    /// When its versions were changed last.
    pub updated: Timestamp,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// The number of the version that counts.
    pub default: u32,
    /// The number of the next version: none is given twice.
    pub next: u32,
    /// At most five.
    pub versions: BTreeMap<u32, PolicyVersion>,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// One version of a managed policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyVersion {
    /// The document.
    pub document: String,
    /// When it was made.
    pub created: Timestamp,
}

/// A change of one row. All changes of a step belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Writes an entity.
    Put(Entity),
    /// Removes an entity.
    Remove(Class, EntityName),
    /// Writes a managed policy.
    PutPolicy(CustomerPolicy),
    /// Removes a managed policy.
    RemovePolicy(EntityName),
}

impl Entity {
    /// Its class.
    pub fn class(&self) -> Class {
        match self.kind {
            Kind::User { .. } => Class::User,
            Kind::Group => Class::Group,
            Kind::Role { .. } => Class::Role,
        }
    }

    /// Its ARN.
    pub fn arn(&self, account: &AccountId) -> String {
        format!("arn:aws:iam::{account}:{}{}{}", self.class(), self.path, self.name)
    }
}

impl CustomerPolicy {
    /// Its ARN.
    pub fn arn(&self, account: &AccountId) -> String {
        format!("arn:aws:iam::{account}:policy{}{}", self.path, self.name)
    }

    /// The document that counts.
    pub fn document(&self) -> &str {
        self.versions.get(&self.default).map_or("", |version| &version.document)
    }
}

impl Class {
    /// As messages begin with it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Group => "Group",
            Self::Role => "Role",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Group => "group",
            Self::Role => "role",
        })
    }
}
