//! Generated structures, seen generically: a view for reading, a builder for decoding.
//!
//! Validation, XML, JSON and REST bindings are written once on these two traits instead of once a structure.

mod build;
mod cbor;
mod scalar;
mod view;

pub(crate) use build::{Accept, decode_cbor, decode_json};
pub use build::{Build, Decode, Missing, optional, required, skip};
pub use view::{Empty, Entries, Items, Structure, View, Viewed};

/// What every generated structure has besides its own members.
macro_rules! structure {
    ($name:ident) => {
        impl crate::data::Viewed for $name {
            fn view(&self) -> crate::data::View<'_> {
                crate::data::View::Structure(self)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(&crate::data::View::Structure(self), f)
            }
        }
    };
}
pub(crate) use structure;
