//! Functions: code packages, their configuration, and the processes that run them.
//!
//! Owns the registry of functions, the unpacked code on disk, the pool of warm environments and the Lambda Runtime API
//! (version 2018-06-01) that each environment's process speaks.
//! Promises that a function runs behind walls (`sandbox`) or not at all, unless the operator lets it; that it sees nothing of
//! the server's own environment, that it and its children are gone when its time is over or the server dies, that its output is bounded in memory and lands in its log in order,
//! and that every call ends with an answer: the function's, or an error document as AWS Lambda words it.
//! Must not know who calls functions, nor any HTTP service beside the Runtime API.

mod aliases;
mod concurrency;
mod config;
mod environment;
mod error;
mod function;
mod functions;
mod interpreter;
mod invoke;
mod keyring;
mod layer;
mod layers;
mod metrics;
mod opts;
mod package;
mod packages;
mod permissions;
mod pool;
mod publish;
mod registry;
mod rows;
mod runtime;
mod sandbox;
mod settings;
mod version;

pub use aliases::{Alias, AliasChange, Weighted};
pub use concurrency::Capacity;
pub use config::{Config, Network, Strictness};
pub use environment::refusal;
pub use error::FunctionError;
pub use function::{Code, Function};
pub use functions::{CodeChange, Functions, NewFunction, Ports};
pub use layer::{LayerName, LayerUse, LayerVersion};
pub use layers::NewLayer;
pub use package::PackageError;
pub use permissions::Permission;
pub use publish::Publication;
pub use runtime::Runtime;
pub use sandbox::{Missing, Walls, enter_environment, survey};
pub use settings::{Handler, MemorySize, Settings, SettingsChange, TemporarySize, Timeout, Variables};
pub use version::{AliasName, Qualifier, Version};
