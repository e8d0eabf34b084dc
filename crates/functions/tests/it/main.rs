//! Functions as processes: real interpreters, real groups, real pipes.

mod code;
mod failures;
mod logs;
mod packages;
mod provided;
mod support;
mod warm;
