//! What starts environments in the tests of this crate, as the `tidegate` binary does for itself.

fn main() -> std::process::ExitCode {
    functions::enter_environment(std::env::args().skip(2))
}
