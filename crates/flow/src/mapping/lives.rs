//! What runs for each mapping: its consumer, and those before it that still finish what the function holds.
//!
//! Promises that a change is answered promptly, however long a call lasts, and that nothing which is under way is let go
//! for it: a shard's successor begins when its predecessor has the function's answer (see [`Turns`]), a queue's takes
//! other messages. Must not know what mappings are set to.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use super::Mappings;
use super::queue::Elsewhere;
use super::settings::Mapping;
use super::stuck::Progress;
use crate::consumer::{Running, Turns};

/// How long a change waits for what is under way before it is answered all the same.
const PROMPT: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Default)]
pub(super) struct Life {
    current: Option<(Arc<Running>, Arc<Progress>)>,
    /// Told to end.
    former: Vec<Arc<Running>>,
    turns: Turns,
    elsewhere: Arc<Elsewhere>,
    /// It is deleted, and shown until nothing of it is under way any more.
    deleted: Option<Mapping>,
}

/// By the mapping's id.
pub(super) type Lives = HashMap<String, Life>;

/// What a mapping is doing beside what it is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// What it is set to.
    AsSet,
    /// Something is under way that was begun before its last change.
    Changing,
    /// The same, and it is deleted.
    Ending,
}

impl Mappings {
    fn lives(&self) -> MutexGuard<'_, Lives> {
        self.inner.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What successors of a mapping's consumers share; none while one runs.
    pub(super) fn inherited(&self, id: &str) -> Option<(Turns, Arc<Elsewhere>)> {
        let mut lives = self.lives();
        let life = lives.entry(id.to_owned()).or_default();
        life.current.is_none().then(|| (life.turns.clone(), Arc::clone(&life.elsewhere)))
    }

    /// It runs.
    pub(super) fn begun(&self, id: &str, running: Running, progress: Arc<Progress>) {
        self.lives().entry(id.to_owned()).or_default().current = Some((Arc::new(running), progress));
    }

    /// Tells what runs to begin nothing more, and waits a moment for its end. What the function holds is finished.
    pub(super) async fn halt(&self, id: &str) {
        let Some(running) = self.retire(id) else { return };
        let (this, name, ending) = (self.clone(), id.to_owned(), Arc::clone(&running));
        self.inner.group.spawn_infallible("mapping's end", async move {
            ending.over().await;
            this.clear(&name);
        });
        tokio::select! {
            () = running.released() => {}
            () = self.inner.ports.consumers.env.clock.sleep(PROMPT) => {}
        }
    }

    fn retire(&self, id: &str) -> Option<Arc<Running>> {
        let mut lives = self.lives();
        let life = lives.get_mut(id)?;
        let (running, _) = life.current.take()?;
        running.halt();
        life.former.push(Arc::clone(&running));
        Some(running)
    }

    fn clear(&self, id: &str) {
        let mut lives = self.lives();
        let Some(life) = lives.get_mut(id) else { return };
        life.former.retain(|running| !running.is_over());
        if life.current.is_none() && life.former.is_empty() && life.deleted.is_none() {
            lives.remove(id);
        }
    }

    /// Those of before that still finish something.
    pub(super) fn former(&self, id: &str) -> Vec<Arc<Running>> {
        let lives = self.lives();
        let former = lives.get(id).map(|life| life.former.as_slice()).unwrap_or_default();
        former.iter().filter(|running| !running.is_over()).cloned().collect()
    }

    pub(super) fn doing(&self, id: &str) -> Doing {
        if self.lives().get(id).is_some_and(|life| life.deleted.is_some()) {
            return Doing::Ending;
        }
        if self.former(id).is_empty() { Doing::AsSet } else { Doing::Changing }
    }

    /// A deleted mapping is shown until the end of what is under way.
    pub(super) fn bid_farewell(&self, mapping: Mapping) {
        let id = mapping.id.clone();
        self.lives().entry(id).or_default().deleted = Some(mapping);
    }

    /// Nothing of a deleted mapping is under way any more.
    pub(super) fn gone(&self, id: &str) {
        self.lives().remove(id);
    }

    /// Mappings that are deleted, but not gone.
    pub(super) fn farewells(&self) -> Vec<Mapping> {
        self.lives().values().filter_map(|life| life.deleted.clone()).collect()
    }

    pub(super) fn progress(&self, id: &str) -> Option<Arc<Progress>> {
        self.lives().get(id)?.current.as_ref().map(|(_, progress)| Arc::clone(progress))
    }

    /// What waits for its next attempt is tried at once.
    pub(super) fn urge(&self, id: &str) {
        if let Some((running, _)) = self.lives().get(id).and_then(|life| life.current.as_ref()) {
            running.urge();
        }
    }
}
