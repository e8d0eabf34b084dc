//! A failure in one line, with its causes, each said once.

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
