//! What this machine can and cannot give: told at start, and by `tidegate doctor`.
//!
//! Must not know how it is printed.

use std::path::Path;

use base::Env;
use functions::{Functions, Missing, Strictness, Walls};

use crate::config::Config;
use crate::rooms::functions_config;

/// What was found out about the walls around functions.
#[derive(Debug, Clone)]
pub struct Findings {
    /// What stands, in words.
    pub standing: Vec<&'static str>,
    /// What is missing.
    pub missing: Vec<Missing>,
    /// Why functions are refused, and what would help; absent when they are run.
    pub refusal: Option<String>,
    /// Whether functions may run with less than the required walls.
    pub reduced: bool,
}

/// Finds out by building an environment that runs nothing, in `folder`, which must be nobody else's. Blocks for some
/// milliseconds.
pub fn examine(env: &Env, config: &Config, folder: &Path) -> Findings {
    let settings = functions_config(config, folder, "http://127.0.0.1:4566");
    let walls: Walls = functions::survey(env, &settings);
    Findings {
        standing: walls.standing(),
        missing: walls.missing().to_vec(),
        refusal: functions::refusal(&settings, &walls),
        reduced: settings.strictness == Strictness::Reduced,
    }
}

/// One line a missing wall, and one when functions are refused for it.
pub(crate) fn report(functions: &Functions) {
    for missing in functions.walls().missing() {
        let (reason, remedy) = (&missing.reason, missing.remedy);
        tracing::warn!(
            wall = missing.wall,
            reason,
            remedy,
            "functions run without a wall that this machine cannot build"
        );
    }
    if let Some(refusal) = functions.refusal() {
        tracing::error!("{refusal}");
    }
}
