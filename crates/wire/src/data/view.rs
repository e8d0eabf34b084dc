//! Reading a structure without knowing its type.

use std::collections::BTreeMap;
use std::fmt;

use base::Timestamp;
use bytes::Bytes;

use crate::data::Missing;
use crate::model::{Kind, Shape};

/// A value of some shape.
#[derive(Clone, Copy)]
pub enum View<'a> {
    /// Nothing.
    Absent,
    /// Text.
    Str(&'a str),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Bytes.
    Blob(&'a Bytes),
    /// A time.
    Time(Timestamp),
    /// A sequence.
    List(&'a dyn Items),
    /// Text to values.
    Map(&'a dyn Entries),
    /// Named members.
    Structure(&'a dyn Structure),
}

/// A generated structure, for reading.
pub trait Structure: Send + Sync {
    /// Its table.
    fn shape(&self) -> &'static Shape;

    /// Its member at this place in the table.
    fn member(&self, index: usize) -> View<'_>;

    /// The required members that its request lacked.
    fn missing(&self) -> Missing {
        Missing::default()
    }
}

/// A sequence, for reading.
pub trait Items {
    /// How many it holds.
    fn count(&self) -> usize;

    /// The one at this place, which must be below `count`.
    fn at(&self, index: usize) -> View<'_>;
}

/// A map, for reading.
pub trait Entries {
    /// How many it holds.
    fn count(&self) -> usize;

    /// Shows every entry, by key.
    fn each(&self, show: &mut dyn FnMut(&str, View<'_>));
}

/// A type that a member can have.
pub trait Viewed {
    /// Its value.
    fn view(&self) -> View<'_>;
}

impl Viewed for String {
    fn view(&self) -> View<'_> {
        View::Str(self)
    }
}

impl Viewed for i32 {
    fn view(&self) -> View<'_> {
        View::Int(i64::from(*self))
    }
}

impl Viewed for i64 {
    fn view(&self) -> View<'_> {
        View::Int(*self)
    }
}

impl Viewed for f64 {
    fn view(&self) -> View<'_> {
        View::Float(*self)
    }
}

impl Viewed for bool {
    fn view(&self) -> View<'_> {
        View::Bool(*self)
    }
}

impl Viewed for Bytes {
    fn view(&self) -> View<'_> {
        View::Blob(self)
    }
}

impl Viewed for Timestamp {
    fn view(&self) -> View<'_> {
        View::Time(*self)
    }
}

impl<T: Viewed> Viewed for Option<T> {
    fn view(&self) -> View<'_> {
        self.as_ref().map_or(View::Absent, Viewed::view)
    }
}

impl<T: Viewed> Viewed for Vec<T> {
    fn view(&self) -> View<'_> {
        View::List(self)
    }
}

impl<T: Viewed> Items for Vec<T> {
    fn count(&self) -> usize {
        self.len()
    }

    fn at(&self, index: usize) -> View<'_> {
        self[index].view()
    }
}

impl<T: Viewed> Viewed for BTreeMap<String, T> {
    fn view(&self) -> View<'_> {
        View::Map(self)
    }
}

impl<T: Viewed> Entries for BTreeMap<String, T> {
    fn count(&self) -> usize {
        self.len()
    }

    fn each(&self, show: &mut dyn FnMut(&str, View<'_>)) {
        for (key, value) in self {
            show(key, value.view());
        }
    }
}

/// The input or output of an operation that has none.
#[derive(Clone, Default, PartialEq)]
pub struct Empty {}

static EMPTY: Shape = Shape {
    name: "Empty",
    kind: Kind::Structure(&[]),
    min: None,
    max: None,
    pattern: None,
    values: &[],
    sensitive: false,
};

impl Structure for Empty {
    fn shape(&self) -> &'static Shape {
        &EMPTY
    }

    fn member(&self, _: usize) -> View<'_> {
        View::Absent
    }
}

impl crate::data::Build for Empty {
    const SHAPE: &'static Shape = &EMPTY;

    fn set<'de, A: serde::de::MapAccess<'de>>(&mut self, _: usize, map: &mut A) -> Result<bool, A::Error> {
        crate::data::skip(map)
    }
}

crate::data::structure!(Empty);

impl fmt::Debug for View<'_> {
    /// Shows the members that are there; sensitive ones and bytes are not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("absent"),
            Self::Str(v) => v.fmt(f),
            Self::Int(v) => v.fmt(f),
            Self::Float(v) => v.fmt(f),
            Self::Bool(v) => v.fmt(f),
            Self::Blob(v) => write!(f, "{} bytes", v.len()),
            Self::Time(v) => write!(f, "{v}"),
            Self::List(items) => f.debug_list().entries((0..items.count()).map(|i| items.at(i))).finish(),
            Self::Map(entries) => {
                let mut map = f.debug_map();
                entries.each(&mut |key, value| {
                    map.entry(&key, &value);
                });
                map.finish()
            }
            Self::Structure(structure) => {
                let shape = structure.shape();
                let mut out = f.debug_struct(shape.name);
                let Kind::Structure(members) = &shape.kind else { return out.finish() };
                for (i, member) in members.iter().enumerate() {
                    match structure.member(i) {
                        Self::Absent => {}
                        _ if hidden(member.shape) => {
                            out.field(member.name, &format_args!("***"));
                        }
                        view => {
                            out.field(member.name, &view);
                        }
                    }
                }
                out.finish()
            }
        }
    }
}

/// Whether a shape, or what a list or map of it holds, is never shown.
fn hidden(shape: &Shape) -> bool {
    shape.sensitive
        || match &shape.kind {
            Kind::List { member, .. } => hidden(member.shape),
            Kind::Map { key, value, .. } => hidden(key.shape) || hidden(value.shape),
            _ => false,
        }
}
