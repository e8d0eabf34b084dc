//! The environment variables that a function's process sees: those that AWS Lambda documents ("Defined runtime
//! environment variables"), then the function's own. Nothing of the server's environment is among them.

use std::path::Path;

use base::SessionKeys;

use super::entry::Entry;
use crate::Function;

/// What the variables are made from.
pub(crate) struct Surroundings<'a> {
    pub function: &'a Function,
    pub endpoint_url: &'a str,
    pub runtime_api: &'a str,
    /// The folders are those that the function sees.
    pub task_root: &'a Path,
    pub runtime_dir: &'a Path,
    pub temporary: &'a Path,
    /// Of the layers.
    pub opt: Option<&'a Path>,
    /// What is started.
    pub entry: &'a Entry,
    pub log_stream: &'a str,
    pub keys: &'a SessionKeys,
}

/// Names and values; of two with the same name the later one holds.
pub(crate) fn variables(s: &Surroundings<'_>) -> Vec<(String, String)> {
    let f = s.function;
    let folder = |path: &Path| path.to_string_lossy().into_owned();
    let region = f.scope.region.as_str();
    let own_bin = s.entry.program.parent().filter(|_| s.entry.leads_path);
    let layers_bin = s.opt.map(|opt| opt.join("bin"));
    let first: String =
        own_bin.into_iter().chain(layers_bin.as_deref()).map(|dir| format!("{}:", dir.display())).collect();
    let (settings, temporary) = (&f.settings, folder(s.temporary));
    let mut all: Vec<(String, String)> = [
        ("AWS_DEFAULT_REGION", region.to_owned()),
        ("AWS_REGION", region.to_owned()),
        ("AWS_ENDPOINT_URL", s.endpoint_url.to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("PATH", format!("{first}/usr/local/bin:/usr/bin:/bin")),
        ("TZ", ":UTC".to_owned()),
        ("HOME", temporary.clone()),
        ("TMPDIR", temporary),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let libraries = [Some(s.task_root.to_owned()), Some(s.task_root.join("lib")), s.opt.map(|opt| opt.join("lib"))];
    let libraries: Vec<String> = libraries.into_iter().flatten().map(|path| folder(&path)).collect();
    all.push(("LD_LIBRARY_PATH".to_owned(), libraries.join(":")));
    all.extend(s.entry.variables.iter().cloned());
    all.extend(settings.variables.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    // After the function's own: these are reserved.
    let reserved = [
        ("_HANDLER", settings.handler.as_str().to_owned()),
        ("AWS_ACCESS_KEY_ID", s.keys.access_key_id.clone()),
        ("AWS_SECRET_ACCESS_KEY", s.keys.secret_access_key.clone()),
        ("AWS_SESSION_TOKEN", s.keys.session_token.clone()),
        ("AWS_EXECUTION_ENV", format!("AWS_Lambda_{}", settings.runtime)),
        ("AWS_LAMBDA_FUNCTION_NAME", f.name.to_string()),
        ("AWS_LAMBDA_FUNCTION_VERSION", f.version.to_string()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", settings.memory.mb().to_string()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", f.name)),
        ("AWS_LAMBDA_LOG_STREAM_NAME", s.log_stream.to_owned()),
        ("AWS_LAMBDA_RUNTIME_API", s.runtime_api.to_owned()),
        ("LAMBDA_RUNTIME_DIR", folder(s.runtime_dir)),
        ("LAMBDA_TASK_ROOT", folder(s.task_root)),
    ];
    all.extend(reserved.map(|(name, value)| (name.to_owned(), value)));
    all
}
