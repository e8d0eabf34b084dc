//! Which data events are recorded.

use super::kinds::with_data;

/// The services whose data events are recorded; of the others only management events are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selectors(Vec<&'static str>);

impl Selectors {
    /// What a list may be.
    pub const SHAPE: &'static str = "services, separated by commas";

    /// Reads a list of services, separated by commas.
    ///
    /// # Errors
    /// A name that is no service's, or of one without data events.
    pub fn parse(text: &str) -> Result<Self, String> {
        let known = with_data();
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let found = names.map(|name| {
            let found = known.iter().find(|known| **known == name).copied();
            found.ok_or_else(|| format!("'{name}' has no data events; expected some of {}", known.join(", ")))
        });
        found.collect::<Result<_, _>>().map(Self)
    }

    /// Whether the data events of a service are recorded.
    pub(super) fn contain(&self, service: &str) -> bool {
        self.0.contains(&service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_named_or_refused() {
        let some = Selectors::parse("kinesis, sqs").unwrap();
        assert!(some.contain("kinesis") && some.contain("sqs") && !some.contain("sns"));
        assert_eq!(Selectors::parse(""), Ok(Selectors::default()));
        assert!(Selectors::parse("kinesis,sts").unwrap_err().contains("'sts'"));
        assert!(Selectors::parse("all").unwrap_err().contains("kinesis"));
    }
}
