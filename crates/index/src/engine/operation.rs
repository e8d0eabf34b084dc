//! One change to one document, and what comes of it: the decision is a pure step.

use bytes::Bytes;
use serde_json::Value;

/// What is asked for.
#[derive(Debug, Clone)]
pub enum Action {
    /// Writes the document, replacing one of its id.
    Index(Bytes),
    /// Writes the document unless its id exists.
    Create(Bytes),
    /// Removes the document.
    Delete,
    /// Merges fields into the document.
    Update(Box<Update>),
}

/// The body of an update.
#[derive(Debug, Clone)]
pub struct Update {
    /// The fields to merge.
    pub doc: Value,
    /// Written when the document does not exist.
    pub upsert: Option<Value>,
}

/// The document must be in the state that a caller saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Its `_seq_no`.
    pub seq_no: u64,
    /// The primary term, which is always 1.
    pub primary_term: u64,
}

/// A change to the document `id`.
#[derive(Debug, Clone)]
pub struct Operation {
    /// The document.
    pub id: String,
    /// The change.
    pub action: Action,
    /// What must hold.
    pub condition: Option<Condition>,
}

/// How a change went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The document was not there before.
    Created {
        /// Its version.
        version: u64,
        /// The change's number.
        seq_no: u64,
    },
    /// It was replaced.
    Updated {
        /// Its version.
        version: u64,
        /// The change's number.
        seq_no: u64,
    },
    /// It is gone.
    Deleted {
        /// The version of its removal.
        version: u64,
        /// The change's number.
        seq_no: u64,
    },
    /// An update that changed nothing.
    Noop {
        /// The document's version.
        version: u64,
        /// The number of its last change.
        seq_no: u64,
    },
    /// There was nothing to delete.
    NotFound,
    /// It was not done.
    Refused(Refused),
}

/// Why one change was refused; the others of its request are not touched by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status of the item.
    pub status: u16,
    /// Elasticsearch's type of the error.
    pub kind: &'static str,
    /// The message.
    pub reason: String,
}

/// The state of a document before a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Existing {
    /// Its version.
    pub version: u64,
    /// The number of its last change.
    pub seq_no: u64,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Write the document.
    Write {
        /// Its content.
        source: Bytes,
        /// Its version.
        version: u64,
    },
    /// Remove the document.
    Remove {
        /// Of the removal.
        version: u64,
    },
    /// Merge fields into the document of this version and number.
    Merge(Value, Existing),
    /// Nothing is to be done.
    Answer(Outcome),
}

/// Decides on a change given the state its document is in.
pub fn decide(operation: Operation, existing: Option<Existing>) -> Decision {
    if let Some(refused) = check(&operation, existing) {
        return Decision::Answer(Outcome::Refused(refused));
    }
    let refuse = |refused| Decision::Answer(Outcome::Refused(refused));
    let id = operation.id;
    match (operation.action, existing) {
        (Action::Index(source), existing) => Decision::Write { source, version: existing.map_or(1, |e| e.version + 1) },
        (Action::Create(source), None) => Decision::Write { source, version: 1 },
        (Action::Create(_), Some(existing)) => refuse(conflict(format!(
            "[{id}]: version conflict, document already exists (current version [{}])",
            existing.version
        ))),
        (Action::Delete, Some(existing)) => Decision::Remove { version: existing.version + 1 },
        (Action::Delete, None) => Decision::Answer(Outcome::NotFound),
        (Action::Update(update), Some(existing)) => Decision::Merge(update.doc, existing),
        (Action::Update(update), None) => match update.upsert {
            Some(upsert) => Decision::Write { source: Bytes::from(upsert.to_string()), version: 1 },
            None => refuse(Refused {
                status: 404,
                kind: "document_missing_exception",
                reason: format!("[{id}]: document missing"),
            }),
        },
    }
}

fn conflict(reason: String) -> Refused {
    Refused { status: 409, kind: "version_conflict_engine_exception", reason }
}

fn check(operation: &Operation, existing: Option<Existing>) -> Option<Refused> {
    let wanted = operation.condition?;
    let id = &operation.id;
    let (seq_no, term) = (wanted.seq_no, wanted.primary_term);
    match existing {
        Some(e) if e.seq_no == seq_no && term == 1 => None,
        Some(e) => Some(conflict(format!(
            "[{id}]: version conflict, required seqNo [{seq_no}], primary term [{term}]. current document has seqNo \
             [{}] and primary term [1]",
            e.seq_no
        ))),
        None => Some(conflict(format!(
            "[{id}]: version conflict, required seqNo [{seq_no}], primary term [{term}]. but no document was found"
        ))),
    }
}

/// Merges `changes` into `target`: objects key by key, everything else replaced. Whether anything changed.
pub fn merge(target: &mut Value, changes: &Value) -> bool {
    match (target, changes) {
        (Value::Object(target), Value::Object(changes)) => {
            let mut changed = false;
            for (key, value) in changes {
                match target.get_mut(key) {
                    Some(old) => changed |= merge(old, value),
                    None => {
                        target.insert(key.clone(), value.clone());
                        changed = true;
                    }
                }
            }
            changed
        }
        (target, changes) if target != changes => {
            *target = changes.clone();
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn operation(action: Action, condition: Option<Condition>) -> Operation {
        Operation { id: "a".into(), action, condition }
    }

    #[test]
    fn decisions() {
        let there = Some(Existing { version: 3, seq_no: 9 });
        let source = Bytes::from_static(b"{}");
        let written = |version| Decision::Write { source: Bytes::from_static(b"{}"), version };
        let index = operation(Action::Index(source.clone()), None);
        assert_eq!(decide(index.clone(), None), written(1));
        assert_eq!(decide(index, there), written(4));
        let create = operation(Action::Create(source), None);
        assert_eq!(decide(create.clone(), None), written(1));
        let Decision::Answer(Outcome::Refused(refused)) = decide(create, there) else { panic!("must be refused") };
        assert_eq!((refused.status, refused.kind), (409, "version_conflict_engine_exception"));
        assert_eq!(decide(operation(Action::Delete, None), None), Decision::Answer(Outcome::NotFound));
        let seen = |seq_no| operation(Action::Delete, Some(Condition { seq_no, primary_term: 1 }));
        assert_eq!(decide(seen(9), there), Decision::Remove { version: 4 });
        assert!(matches!(decide(seen(8), there), Decision::Answer(Outcome::Refused(_))));
        assert!(matches!(decide(seen(9), None), Decision::Answer(Outcome::Refused(_))));
        let update = |upsert| operation(Action::Update(Box::new(Update { doc: json!({"a": 1}), upsert })), None);
        assert_eq!(decide(update(Some(json!({}))), None), written(1));
        assert!(matches!(decide(update(None), None), Decision::Answer(Outcome::Refused(_))));
        assert!(matches!(decide(update(None), there), Decision::Merge(_, _)));
    }

    #[test]
    fn merging_says_whether_it_changed_something() {
        let mut doc = json!({"a": {"x": 1, "y": 2}, "b": [1]});
        assert!(!merge(&mut doc, &json!({"a": {"x": 1}})));
        assert!(merge(&mut doc, &json!({"a": {"x": 5}, "b": [2], "c": null})));
        assert_eq!(doc, json!({"a": {"x": 5, "y": 2}, "b": [2], "c": null}));
    }
}
