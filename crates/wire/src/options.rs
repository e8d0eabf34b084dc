//! Refusing the options that a handler does not do: an option is executed or refused, never ignored.

use crate::data::{Structure, View};
use crate::model::Kind;
use crate::{ServiceError, ServiceId};

/// Refuses a structure with a member besides the `known` ones, which are named as in the model (`StreamName`).
/// Members that are absent, and empty lists and maps, ask for nothing and pass.
pub fn only(service: ServiceId, input: &dyn Structure, known: &[&str]) -> Result<(), ServiceError> {
    let Kind::Structure(members) = &input.shape().kind else { return Ok(()) };
    let asks = |view: View<'_>| match view {
        View::Absent => false,
        View::List(items) => items.count() > 0,
        View::Map(entries) => entries.count() > 0,
        _ => true,
    };
    let mut others = members.iter().enumerate().filter(|(_, member)| !known.contains(&member.name));
    match others.find(|(i, _)| asks(input.member(*i))) {
        None => Ok(()),
        Some((_, member)) => {
            Err(ServiceError::not_done(service, &format!("{} in {}", member.name, input.shape().name)))
        }
    }
}
