//! Groups of schedules, and their tags.
//!
//! Every scope has a group `default` without creating it, which cannot be deleted.

use std::collections::BTreeMap;

use base::{Batch, ScheduleGroupName, Scope, Table, Timestamp};
use serde::{Deserialize, Serialize};

use super::room::Schedules;
use crate::FlowError;
use crate::stored::{self, Change};

const GROUPS: Table = Table("flow.schedule_groups");
const DEFAULT: &str = "default";
/// Quota "Schedule groups" of the service.
const MAX_GROUPS: usize = 500;
const MAX_TAGS: usize = 50;

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

fn key(scope: &Scope, group: &ScheduleGroupName) -> Vec<u8> {
    stored::key(scope, &[group.as_str()])
}

fn default_group(name: ScheduleGroupName) -> Group {
    let always = Timestamp::from_millis(0);
    Group { name, created: always, modified: always, tags: BTreeMap::new(), token: None }
}

fn no_group(group: &ScheduleGroupName) -> FlowError {
    FlowError::NotFound(format!("Schedule group {group} does not exist."))
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
        match self.group(scope, name) {
            Err(FlowError::NotFound(_)) if self.deletions().knows(&key(scope, name), token.as_ref()) => return Ok(()),
            found => found?,
        };
        for schedule in self.list(scope, Some(name))? {
            match self.delete(scope, name, &schedule.name, None).await {
                // Somebody else was quicker.
                Err(FlowError::NotFound(_)) | Ok(()) => {}
                Err(error) => return Err(error),
            }
        }
        self.state().commit(Batch::new().delete(GROUPS, key(scope, name))).await?;
        self.deletions().note(key(scope, name), token);
        Ok(())
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
