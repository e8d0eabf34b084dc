//! Pages of schedules.
//!
//! Promises that a page costs what is on it, but for those that its filters leave out. Must not know how pages are
//! asked for.

use base::{ScheduleGroupName, ScheduleName, Scope};

use super::config::{self, SCHEDULES, Schedule};
use super::room::Schedules;
use crate::{FlowError, stored};

/// Which schedules are wanted.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Of this group only.
    pub group: Option<ScheduleGroupName>,
    /// With names that begin so.
    pub prefix: Option<String>,
    /// That run, or do not.
    pub enabled: Option<bool>,
    /// Behind this one, by group and name.
    pub after: Option<(ScheduleGroupName, ScheduleName)>,
    /// So many at most.
    pub limit: usize,
}

impl Schedules {
    /// Schedules of a scope by group and name, and whether there are more.
    pub fn page(&self, scope: &Scope, listing: &Listing) -> Result<(Vec<Schedule>, bool), FlowError> {
        let mut prefix = listing
            .group
            .as_ref()
            .map_or_else(|| stored::scope_prefix(scope), |group| stored::key(scope, &[group.as_str()]));
        if let (Some(_), Some(name)) = (&listing.group, &listing.prefix) {
            prefix.extend_from_slice(name.as_bytes());
        }
        let after = listing.after.clone().map(|(group, name)| config::row(&(scope.clone(), group, name)));
        let (mut found, mut after) = (Vec::new(), after);
        loop {
            let rows = self.state().scan(SCHEDULES, &prefix, after.as_deref(), listing.limit + 1)?;
            let is_last = rows.len() <= listing.limit;
            for (key, bytes) in &rows {
                let schedule: Schedule = stored::decode(SCHEDULES, key, bytes)?;
                let named = listing.prefix.as_ref().is_none_or(|prefix| schedule.name.as_str().starts_with(prefix));
                if !named || listing.enabled.is_some_and(|enabled| enabled != schedule.spec.enabled) {
                    continue;
                }
                if found.len() == listing.limit {
                    return Ok((found, true));
                }
                found.push(schedule);
            }
            if is_last {
                return Ok((found, false));
            }
            after = rows.into_iter().next_back().map(|(key, _)| key);
        }
    }
}
