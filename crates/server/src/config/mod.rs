//! Configuration: one struct tree, parsed once from a TOML file, then `TIDEGATE_SECTION_KEY` variables, then flags.
//!
//! Owns the declared keys, the layers and the refusals. Promises that nothing is ignored: an unknown key in any layer
//! is an error that names the place and the nearest known key. Must not know what the rooms do with their sections.

mod error;
mod keys;
mod layers;
mod load;
mod setting;
#[cfg(test)]
mod tests;

pub use error::ConfigError;
pub use keys::{
    Account, Auth, Bus, Config, Functions, Identity, Index, KEYS, Key, Log, Logging, Mail, Master, Outgoing, Root,
    Runtimes, SECTIONS, Server, Streams, Tls,
};
pub use layers::Layers;
pub use load::default_file;
#[cfg(test)]
pub use setting::Setting;
pub use setting::{LogFormat, MailTls, Networks, Secret};
