//! Descriptors that this process was started with, and that nothing it starts may have.
//!
//! Whoever started the server may have left files open, and what is not marked goes on to every child. The one module with
//! unsafe code: a descriptor that is only known by its number can be used in no other way, and closing or marking it is the only
//! remedy. It is sound because the launcher has one thread, which lists what is open and closes none of it meanwhile.

use std::io;
use std::path::Path;

use base::{Fs, RealFs};
use rustix::fd::BorrowedFd;
use rustix::io::{FdFlags, fcntl_setfd};

use super::enter::step;

/// Standard input, output and error are given on.
const GIVEN_ON: i32 = 2;

/// Marks every descriptor but the first three as not to be inherited.
pub(super) fn keep_from_children() -> io::Result<()> {
    let open = step("cannot list open files", RealFs.read_dir(Path::new("/proc/self/fd")))?;
    for number in open.iter().filter_map(|entry| entry.name.parse::<i32>().ok()).filter(|number| *number > GIVEN_ON) {
        match mark(number) {
            // It was that of the list.
            Err(rustix::io::Errno::BADF) => {}
            marked => step("cannot keep an open file from functions", marked)?,
        }
    }
    Ok(())
}

#[expect(unsafe_code, reason = "an inherited descriptor is known by its number only")]
fn mark(number: i32) -> rustix::io::Result<()> {
    // SAFETY: the number is not -1, and the descriptor is used for one call, which fails when it is not open.
    let inherited = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_setfd(inherited, FdFlags::CLOEXEC)
}
