//! A place in a document, spelled out only when something is wrong there.

use std::fmt;

/// The way from the document's root, as a chain of borrowed steps.
#[derive(Clone, Copy)]
pub(crate) struct Place<'p> {
    parent: Option<&'p Place<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Document,
    Member(&'p str),
    Element(usize),
}

impl<'p> Place<'p> {
    pub(crate) const DOCUMENT: Self = Self { parent: None, step: Step::Document };

    pub(crate) fn member(&'p self, name: &'p str) -> Self {
        Self { parent: Some(self), step: Step::Member(name) }
    }

    pub(crate) fn element(&'p self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Element(index) }
    }

    fn is_document(&self) -> bool {
        matches!(self.step, Step::Document)
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let above = self.parent.filter(|parent| !parent.is_document());
        if let Some(parent) = above {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Document => f.write_str("document"),
            Step::Member("") => f.write_str("\"\""),
            Step::Member(name) if above.is_some() => write!(f, ".{name:.100}"),
            Step::Member(name) => write!(f, "{name:.100}"),
            Step::Element(index) => write!(f, "[{index}]"),
        }
    }
}
