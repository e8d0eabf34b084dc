//! Groups of schedules, and their tags.
//!
//! Every scope has a group `default` without creating it, which cannot be deleted. Of a group that is deleted no
//! schedule is left: the group goes first, then nothing is created in it any more, and what a crash leaves of it goes at
//! the next start.

use std::collections::{BTreeMap, HashSet};

use base::{Batch, ScheduleGroupName, Scope, Table, Timestamp};
use serde::{Deserialize, Serialize};

use super::config::{self, CLOCKS, Key, SCHEDULES};
use super::listing::Listing;
use super::room::Schedules;
use super::runs;
use crate::FlowError;
use crate::stored::{self, Change};

pub(super) const GROUPS: Table = Table("flow.schedule_groups");
const DEFAULT: &str = "default";
/// Quota "Schedule groups" of the service.
const MAX_GROUPS: usize = 500;
const MAX_TAGS: usize = 50;
/// Schedules of a deleted group that are deleted in one commit.
const AT_ONCE: usize = 200;

/// A group of schedules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name in its account and region.
    pub name: ScheduleGroupName,
    /// When it was created.
    pub created: Timestamp,
    /// When its tags were changed last.
    pub modified: Timestamp,
    /// By key.
    pub tags: BTreeMap<String, String>,
    /// Of the call that created it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

pub(super) fn key(scope: &Scope, group: &ScheduleGroupName) -> Vec<u8> {
    stored::key(scope, &[group.as_str()])
}

fn default_group(name: ScheduleGroupName) -> Group {
    let always = Timestamp::from_millis(0);
    Group { name, created: always, modified: always, tags: BTreeMap::new(), token: None }
}

fn no_group(group: &ScheduleGroupName) -> FlowError {
    FlowError::NotFound(format!("Schedule group {group} does not exist."))
}

/// Whether it is the group that is always there.
pub(super) fn is_default(group: &ScheduleGroupName) -> bool {
    group.as_str() == DEFAULT
}

fn bounded(tags: &BTreeMap<String, String>) -> Result<(), FlowError> {
    if tags.len() > MAX_TAGS {
        return Err(FlowError::Invalid(format!("a schedule group has at most {MAX_TAGS} tags")));
    }
    Ok(())
}

impl Schedules {
    /// Creates a group. The same call again, by its token, is fine.
    pub async fn create_group(
        &self,
        scope: &Scope,
        name: &ScheduleGroupName,
        tags: BTreeMap<String, String>,
        token: Option<String>,
    ) -> Result<(), FlowError> {
        bounded(&tags)?;
        let exists = || FlowError::Conflict(format!("Schedule group {name} already exists."));
        if name.as_str() == DEFAULT {
            return Err(exists());
        }
        if self.groups(scope)?.len() >= MAX_GROUPS {
            return Err(FlowError::LimitExceeded(format!("an account has at most {MAX_GROUPS} schedule groups")));
        }
        let _turn = self.turn().acquire().await;
        // What a deleted group of this name may have left is not this one's.
        self.clear_orphaned(scope, name).await?;
        let now = self.now();
        let group = Group { name: name.clone(), created: now, modified: now, tags, token };
        stored::update(self.state(), (GROUPS, key(scope, name)), "schedule group", |old: Option<Group>| match old {
            Some(old) if old.token.is_some() && old.token == group.token && old.tags == group.tags => {
                Ok((Change::Keep, ()))
            }
            Some(_) => Err(exists()),
            None => Ok((Change::Put(group.clone(), Vec::new()), ())),
        })
        .await
    }

    /// A group.
    pub fn group(&self, scope: &Scope, name: &ScheduleGroupName) -> Result<Group, FlowError> {
        let stored: Option<Group> = stored::get(self.state(), GROUPS, &key(scope, name))?;
        match stored {
            Some(group) => Ok(group),
            None if name.as_str() == DEFAULT => Ok(default_group(name.clone())),
            None => Err(no_group(name)),
        }
    }

    /// The groups of a scope, by name.
    pub fn groups(&self, scope: &Scope) -> Result<Vec<Group>, FlowError> {
        let mut groups: Vec<Group> = stored::list(self.state(), GROUPS, &stored::scope_prefix(scope))?;
        if let Ok(name) = DEFAULT.parse::<ScheduleGroupName>()
            && groups.iter().all(|group| group.name != name)
        {
            groups.push(default_group(name));
        }
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(groups)
    }

    /// Deletes a group with all its schedules. The same call again, by its token, is fine as long as that is remembered.
    pub async fn delete_group(
        &self,
        scope: &Scope,
        name: &ScheduleGroupName,
        token: Option<String>,
    ) -> Result<(), FlowError> {
        if name.as_str() == DEFAULT {
            return Err(FlowError::Invalid("The default schedule group cannot be deleted.".to_owned()));
        }
        let _turn = self.turn().acquire().await;
        match self.group(scope, name) {
            Err(FlowError::NotFound(_)) if self.deletions().knows(&key(scope, name), token.as_ref()) => return Ok(()),
            found => found?,
        };
        self.state().commit(Batch::new().delete(GROUPS, key(scope, name))).await?;
        self.deletions().note(key(scope, name), token);
        let cleared = self.clear_group(scope, name).await;
        if cleared.is_err() {
            self.note_orphaned(scope.clone(), name.clone());
        }
        cleared
    }

    /// Every group but the default ones.
    pub(super) fn all_groups(&self) -> Result<HashSet<(Scope, ScheduleGroupName)>, FlowError> {
        let groups = stored::list_scoped::<Group>(self.state(), GROUPS)?;
        Ok(groups.into_iter().map(|(scope, group)| (scope, group.name)).collect())
    }

    /// Deletes what a deleted group may have left. The turn is held.
    pub(super) async fn clear_orphaned(&self, scope: &Scope, name: &ScheduleGroupName) -> Result<(), FlowError> {
        match self.group(scope, name) {
            Err(FlowError::NotFound(_)) => self.clear_group(scope, name).await,
            found => found.map(drop),
        }
    }

    /// Deletes the schedules of a group that is not there, with their runs.
    async fn clear_group(&self, scope: &Scope, name: &ScheduleGroupName) -> Result<(), FlowError> {
        loop {
            let listing = Listing { group: Some(name.clone()), limit: AT_ONCE, ..Listing::default() };
            let (schedules, _) = self.page(scope, &listing)?;
            if schedules.is_empty() {
                return Ok(());
            }
            let keys: Vec<Key> = schedules.into_iter().map(|s| (scope.clone(), s.group, s.name)).collect();
            let mut batch = Batch::new();
            for schedule in &keys {
                let row = config::row(schedule);
                batch = batch.delete(SCHEDULES, row.clone()).delete(CLOCKS, row);
                batch.writes.extend(runs::forget(self.state(), schedule)?);
            }
            self.state().commit(batch).await?;
            self.quota().remove(scope, keys.len());
            for schedule in &keys {
                self.wind(schedule)?;
            }
        }
    }

    /// Changes a group's tags.
    pub async fn tag_group(
        &self,
        scope: &Scope,
        name: &ScheduleGroupName,
        mut change: impl FnMut(&mut BTreeMap<String, String>),
    ) -> Result<(), FlowError> {
        let now = self.now();
        stored::update(self.state(), (GROUPS, key(scope, name)), "schedule group", |old: Option<Group>| {
            let default = || (name.as_str() == DEFAULT).then(|| default_group(name.clone()));
            let mut group = old.or_else(default).ok_or_else(|| no_group(name))?;
            change(&mut group.tags);
            bounded(&group.tags)?;
            group.modified = now;
            Ok((Change::Put(group, Vec::new()), ()))
        })
        .await
    }
}
