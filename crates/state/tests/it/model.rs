//! Random calls against a `BTreeMap`.

use std::collections::BTreeMap;

use base::fs::sim::SimFs;
use base::{Batch, Precondition, StateError, StateStore, Table, Write};
use proptest::prelude::*;

use crate::bed::{LEFT, RIGHT, open, runtime};

type Model = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

#[derive(Debug, Clone)]
enum Step {
    Commit(Batch),
    Get(Table, Vec<u8>),
    Scan { table: Table, prefix: Vec<u8>, after: Option<Vec<u8>>, limit: usize },
    Reopen,
    PowerCut,
}

fn table() -> impl Strategy<Value = Table> {
    prop_oneof![Just(LEFT), Just(RIGHT)]
}

/// Few and short, so that they meet.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(0u8), Just(b'a'), Just(255u8)], 0..4)
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => prop::collection::vec(0u8..2, 0..2),
        1 => (any::<u8>(), 0usize..20_000).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn batch() -> impl Strategy<Value = Batch> {
    let condition =
        prop_oneof![Just(Precondition::Absent), Just(Precondition::Present), value().prop_map(Precondition::Equals),];
    let write = prop_oneof![
        2 => (table(), key(), value()).prop_map(|(table, key, value)| Write::Put(table, key, value)),
        1 => (table(), key()).prop_map(|(table, key)| Write::Delete(table, key)),
    ];
    let conditions = prop::collection::vec((table(), key(), condition), 0..2);
    (conditions, prop::collection::vec(write, 0..6)).prop_map(|(preconditions, writes)| Batch { preconditions, writes })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => batch().prop_map(Step::Commit),
        3 => (table(), key()).prop_map(|(table, key)| Step::Get(table, key)),
        3 => (table(), key(), prop::option::of(key()), 0usize..5)
            .prop_map(|(table, prefix, after, limit)| Step::Scan { table, prefix, after, limit }),
        1 => Just(Step::Reopen),
        1 => Just(Step::PowerCut),
    ]
}

/// What the batch does to the model: whether it is written.
fn apply(model: &mut Model, batch: &Batch) -> bool {
    let holds = batch.preconditions.iter().all(|(table, key, condition)| {
        let value = model.get(&(*table, key.clone()));
        match condition {
            Precondition::Absent => value.is_none(),
            Precondition::Present => value.is_some(),
            Precondition::Equals(expected) => value == Some(expected),
        }
    });
    if holds {
        for write in &batch.writes {
            match write.clone() {
                Write::Put(table, key, value) => _ = model.insert((table, key), value),
                Write::Delete(table, key) => _ = model.remove(&(table, key)),
            }
        }
    }
    holds
}

async fn run(seed: u64, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let fs = SimFs::new(seed);
    let mut store = open(&fs).await.unwrap();
    let mut model = Model::new();
    for step in steps {
        match step {
            Step::Commit(batch) => {
                let written = apply(&mut model, &batch);
                match store.commit(batch).await {
                    Ok(()) => prop_assert!(written),
                    Err(StateError::Conflict { .. }) => prop_assert!(!written),
                    Err(error) => return Err(TestCaseError::fail(error.to_string())),
                }
            }
            Step::Get(table, key) => {
                prop_assert_eq!(store.get(table, &key).unwrap(), model.get(&(table, key)).cloned());
            }
            Step::Scan { table, prefix, after, limit } => {
                let expected: Vec<_> = model
                    .iter()
                    .filter(|((of, key), _)| *of == table && key.starts_with(&prefix))
                    .filter(|((_, key), _)| after.as_ref().is_none_or(|after| key > after))
                    .take(limit)
                    .map(|((_, key), value)| (key.clone(), value.clone()))
                    .collect();
                prop_assert_eq!(store.scan(table, &prefix, after.as_deref(), limit).unwrap(), expected);
            }
            Step::Reopen => {
                prop_assert!(store.close().await);
                store = open(&fs).await.unwrap();
            }
            Step::PowerCut => {
                fs.power_cut();
                drop(store);
                store = open(&fs).await.unwrap();
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn behaves_as_a_map_that_survives(seed: u64, steps in prop::collection::vec(step(), 1..40)) {
        runtime().block_on(run(seed, steps))?;
    }
}
