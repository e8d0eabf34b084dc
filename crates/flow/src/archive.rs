//! Archives of event buses, and their replays.
//!
//! Owns what archives and replays are configured with, one consumer of the bus for each archive, and one task for each
//! replay under way.
//! Promises: an event that was put on a bus after an archive was created is in it once when its pattern matches, for
//! the archive's retention; a replay puts each archived event of its time range on the bus once, whatever ends the
//! process meanwhile; what a replay puts there is archived by nobody, and seen only by the rules that it names.
//! Must not know what rules do with replayed events.
//!
//! An archive is a log of its own. A replayed event is the archived one with a `replay-name`; the service's archives
//! leave those out by the same pattern (`{"replay-name":[{"exists":false}]}`).

mod config;
mod count;
mod filter;
mod keep;
mod minutes;
mod replay;
mod room;

pub use config::{Archive, ArchiveSpec, archive_arn};
pub use count::Tally;
pub use replay::{Replay, ReplaySpec, ReplayState, replay_arn};
pub use room::Archives;

pub(crate) use config::has_archives;
pub(crate) use filter::ReplayFilters;
pub(crate) use room::ArchivePorts;
