//! A failure in one line, with its causes, each said once; and how a subcommand that asks something ends.

use std::io::{self, Write};
use std::process::ExitCode;

/// How a subcommand ends whose exit status answers a question: its answer, or 2 with the reason on standard error when
/// there is none.
pub fn answered(name: &str, ended: anyhow::Result<ExitCode>) -> ExitCode {
    match ended {
        Ok(code) => code,
        // The reader of our output has seen enough.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // With standard error closed there is nobody left to tell.
            let _ = writeln!(io::stderr(), "tidegate {name}: {}", in_words(&error));
            ExitCode::from(2)
        }
    }
}

/// What printing came to; that the reader has seen enough is no failure.
pub fn printed(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// The message and those of its causes that it does not already hold: many messages name their cause themselves.
pub fn in_words(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| match said {
        said if said.is_empty() => cause,
        said if said.contains(&cause) => said,
        said => format!("{said}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let cause = || anyhow::anyhow!("disk full");
        assert_eq!(
            in_words(&cause().context("cannot write").context("cannot start")),
            "cannot start: cannot write: disk full"
        );
        assert_eq!(
            in_words(&cause().context("cannot write: disk full; make room")),
            "cannot write: disk full; make room"
        );
    }
}
