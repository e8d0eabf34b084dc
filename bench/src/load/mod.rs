//! The load generator: the same for every contender that speaks the same protocol.
//!
//! It shares the machine with what it measures, so it is lean: requests are rendered and signed before the clock
//! starts, a connection is one socket and one buffer, and answers are scanned, not parsed.

mod connection;
mod drive;
mod fill;
mod h2;
mod reading;
mod records;
mod scan;
mod signing;

pub use connection::Connection;
pub use drive::{Driven, Load, drive};
pub use fill::fill;
pub use h2::Http2Stream;
pub use reading::{Reading, Until, read};
pub use records::Records;
pub use scan::Page;
pub use signing::{Keys, REGION, Request, render};
