//! The audit trail: calls to this server as CloudTrail records.
//!
//! Owns which operations are recorded and as what, what a record says of a call, what is never said in one, where records
//! go, and how they are looked up. A record goes to the default bus of the call's region and to the data stream
//! `tidegate-audit` of the home region, in one append.
//! Promises that a call which is to be recorded is not answered before its record is durable: one whose record cannot be
//! written is answered with an error. No secret of a request or an answer is in a record.
//! Must not know what an operation does: a call is seen as the generic structures of `wire`.
//!
//! The audit's own appends, and what this server does by itself (deliveries, retries, redrives), are no calls and make no
//! records; so a rule on records whose target is called by them cannot feed itself.

mod identity;
mod kinds;
mod lookup;
mod record;
mod render;
mod resources;
mod secrets;
mod selectors;
mod trail;

#[cfg(test)]
mod tests;

pub(crate) use lookup::{Attribute, Found, Query};
pub use selectors::Selectors;
pub(crate) use trail::Audit;
