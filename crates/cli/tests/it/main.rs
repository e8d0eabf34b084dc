//! The binary as a process: start, signals, keys, exports.

mod process;
mod serve;
