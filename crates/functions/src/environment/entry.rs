//! What is started for a function: the program, its arguments, and what it needs beside the documented variables.
//!
//! Promises that a package which could never start is told apart, with the reason and the remedy, from one that the
//! machine cannot run at this moment. Must not know processes.
//! Sources: "Modifying the runtime environment" (wrapper scripts) and "Working with layers", AWS Lambda developer guide.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use base::Fs;

use super::place::Inside;
use super::report::Failure;
use crate::interpreter::Interpreters;
use crate::runtime::Family;
use crate::{FunctionError, Settings};

/// The files of the built-in bootstraps and their contents.
pub(super) const BOOTSTRAPS: [(&str, &[u8]); 2] =
    [("bootstrap.py", include_bytes!("bootstrap.py")), ("bootstrap.mjs", include_bytes!("bootstrap.mjs"))];

/// The runtime interface client of Java: its jar's name begins so, and this class is its main one.
const JAVA_CLIENT_JAR: &str = "aws-lambda-java-runtime-interface-client";
const JAVA_CLIENT_CLASS: &str = "com.amazonaws.services.lambda.runtime.api.client.AWSLambda";
/// Parts in a hundred of a function's memory that Java's and JavaScript's heaps may take; the rest is the process's own.
const JAVA_HEAP: u32 = 60;
const NODE_HEAP: u32 = 90;
/// Names a script that starts the runtime: it is given the whole command line. Not for `provided` runtimes, as on AWS.
const WRAPPER: &str = "AWS_LAMBDA_EXEC_WRAPPER";

/// Where an environment's files are, as absolute paths.
pub(crate) struct Folders<'a> {
    /// Of the package.
    pub task_root: &'a Path,
    /// Of the layers, laid together.
    pub opt: Option<&'a Path>,
    /// The same, and that of the built-in bootstraps, as the function sees them.
    pub inside: &'a Inside,
}

impl Folders<'_> {
    /// A path of the package or of the layers as the function sees it.
    fn seen(&self, path: &Path) -> PathBuf {
        let places = [Some((self.task_root, &self.inside.task_root)), self.opt.map(|opt| (opt, &self.inside.opt))];
        let mut places = places.into_iter().flatten();
        let seen = places.find_map(|(from, to)| Some(to.join(path.strip_prefix(from).ok()?)));
        seen.unwrap_or_else(|| path.to_owned())
    }
}

/// A process to start.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// Whether the program's folder leads the path: what it installed is beside it.
    pub leads_path: bool,
    /// What this family needs beside what every function has; the function's own variables hold over them.
    pub variables: Vec<(String, String)>,
    /// What of this machine has to be seen for it, beside the system's programs and libraries.
    pub needs: Vec<PathBuf>,
}

impl Entry {
    fn of(program: &Path, arguments: Vec<OsString>, needs: &[PathBuf]) -> Self {
        let (program, needs) = (program.to_owned(), needs.to_vec());
        Self { program, arguments, leads_path: true, variables: Vec::new(), needs }
    }

    /// The same started by the script that the function's variables name, if they name one. Whether it is there shows
    /// when it is started, as on AWS Lambda: the runtime exits with status 127, or 126 where it cannot be executed.
    pub fn wrapped(self, settings: &Settings, inside: &Inside) -> Self {
        let named = settings.variables.iter().find(|(name, value)| *name == WRAPPER && !value.is_empty());
        let Some((_, script)) = named.filter(|_| settings.runtime.family() != Family::Provided) else { return self };
        let mut arguments = vec![self.program.into_os_string()];
        arguments.extend(self.arguments);
        Self { program: inside.place(Path::new(script)), arguments, ..self }
    }
}

/// Why there is nothing to start.
#[derive(Debug)]
pub(crate) enum NoEntry {
    /// The package lacks something.
    Package(Failure),
    /// The machine lacks something, or cannot tell now.
    Machine(FunctionError),
}

impl From<FunctionError> for NoEntry {
    fn from(error: FunctionError) -> Self {
        Self::Machine(error)
    }
}

impl NoEntry {
    /// As the answer to whoever creates or changes a function.
    pub fn refusal(self, settings: &Settings) -> FunctionError {
        let runtime = &settings.runtime;
        match self {
            Self::Package(Failure::NoBootstrap { remedy }) => {
                FunctionError::Invalid(format!("the package cannot run as {runtime}: {remedy}"))
            }
            Self::Package(failure) => {
                FunctionError::Invalid(format!("the package cannot run as {runtime}: {failure:?}"))
            }
            Self::Machine(FunctionError::Unavailable(reason)) => {
                FunctionError::Invalid(format!("the runtime {runtime} is not available: {reason}"))
            }
            Self::Machine(error) => error,
        }
    }
}

/// What is started for a function with these settings.
pub(crate) async fn entry(
    fs: &dyn Fs,
    interpreters: &Interpreters,
    settings: &Settings,
    folders: &Folders<'_>,
) -> Result<Entry, NoEntry> {
    let handler = OsString::from(settings.handler.as_str());
    let bootstrap = bootstrap(fs, folders)?;
    match settings.runtime.family() {
        Family::Python => {
            let python = interpreters.python().await?;
            let arguments = vec![folders.inside.runtime.join("bootstrap.py").into()];
            let entry = Entry::of(&python.executable, arguments, &python.needs);
            let user_base = python.user_base.to_string_lossy().into_owned();
            let mut variables = vec![("PYTHONUSERBASE".to_owned(), user_base)];
            variables.extend(layered(fs, "PYTHONPATH", folders, &["python"], "python/lib", "site-packages")?);
            Ok(Entry { variables, ..entry })
        }
        Family::Node => {
            let heap = format!("--max-old-space-size={}", settings.memory.mb() * NODE_HEAP / 100);
            let arguments = vec![heap.into(), folders.inside.runtime.join("bootstrap.mjs").into()];
            let variables = layered(fs, "NODE_PATH", folders, &["nodejs/node_modules"], "nodejs", "node_modules")?;
            let (node, variables) = (interpreters.node().await?, variables.into_iter().collect());
            Ok(Entry { variables, ..Entry::of(node, arguments, &[prefix(node)]) })
        }
        Family::Java => java(fs, interpreters, settings, folders).await,
        Family::Provided | Family::Ruby | Family::Dotnet if bootstrap.is_some() => {
            let program = folders.seen(&bootstrap.unwrap_or_default());
            Ok(Entry { leads_path: false, ..Entry::of(&program, Vec::new(), &[]) })
        }
        Family::Provided => {
            let remedy = "it has no executable named bootstrap at its root".to_owned();
            Err(NoEntry::Package(Failure::NoBootstrap { remedy }))
        }
        Family::Ruby => {
            let entry = client(interpreters.ruby(), handler)?;
            let variables = layered(fs, "RUBYLIB", folders, &["ruby/lib"], "", "")?.into_iter();
            let gems = layered(fs, "GEM_PATH", folders, &[], "ruby/gems", "")?;
            Ok(Entry { variables: variables.chain(gems).collect(), ..entry })
        }
        Family::Dotnet => client(interpreters.dotnet(), handler),
    }
}

fn client(program: Result<&Path, String>, handler: OsString) -> Result<Entry, NoEntry> {
    match program {
        Ok(program) => Ok(Entry::of(program, vec![handler], &[prefix(program)])),
        Err(remedy) => Err(NoEntry::Package(Failure::NoBootstrap { remedy })),
    }
}

async fn java(
    fs: &dyn Fs,
    interpreters: &Interpreters,
    settings: &Settings,
    folders: &Folders<'_>,
) -> Result<Entry, NoEntry> {
    let java = interpreters.java().await?;
    let mut jars = self::jars(fs, &folders.task_root.join("lib"))?;
    if let Some(opt) = folders.opt {
        jars.extend(self::jars(fs, &opt.join("java/lib"))?);
    }
    let class = folders.task_root.join(JAVA_CLIENT_CLASS.replace('.', "/")).with_extension("class");
    let named = |jar: &PathBuf| jar.file_name().is_some_and(|name| name.to_string_lossy().starts_with(JAVA_CLIENT_JAR));
    if !jars.iter().any(named) && !exists(fs, &class)? {
        let remedy = format!(
            "it has no runtime interface client: add the dependency com.amazonaws:{JAVA_CLIENT_JAR}, as a jar in lib/ \
             or among the package's own classes"
        );
        return Err(NoEntry::Package(Failure::NoBootstrap { remedy }));
    }
    let mut path = OsString::from(&folders.inside.task_root);
    for jar in &jars {
        path.push(":");
        path.push(folders.seen(jar));
    }
    let arguments = [
        "-XX:+UseSerialGC".to_owned(),
        "-XX:TieredStopAtLevel=1".to_owned(),
        format!("-Xmx{}m", settings.memory.mb() * JAVA_HEAP / 100),
        "-cp".to_owned(),
    ];
    let mut arguments: Vec<OsString> = arguments.map(OsString::from).into();
    arguments.extend([path, JAVA_CLIENT_CLASS.into(), settings.handler.as_str().into()]);
    Ok(Entry::of(java, arguments, &[prefix(java)]))
}

/// What a program was installed into: the folder above its `bin`, else its own. Never a home folder for the sake of a
/// program in its `bin`.
fn prefix(program: &Path) -> PathBuf {
    let folder = program.parent().unwrap_or(program);
    let above = folder.parent().filter(|_| folder.ends_with("bin"));
    let is_home = |path: &Path| path == Path::new("/root") || path.parent() == Some(Path::new("/home"));
    above.filter(|above| above.parent().is_some() && !is_home(above)).unwrap_or(folder).to_owned()
}

/// The jars of a folder in the order of their names, in which the service loads them.
fn jars(fs: &dyn Fs, folder: &Path) -> Result<Vec<PathBuf>, FunctionError> {
    if !exists(fs, folder)? {
        return Ok(Vec::new());
    }
    let entries = fs.read_dir(folder).map_err(FunctionError::io(folder))?;
    let mut names: Vec<String> = entries.into_iter().map(|e| e.name).filter(|name| name.ends_with(".jar")).collect();
    names.sort();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// The executable of a package or, when it has none, of its layers.
fn bootstrap(fs: &dyn Fs, folders: &Folders<'_>) -> Result<Option<PathBuf>, FunctionError> {
    for folder in [Some(folders.task_root), folders.opt].into_iter().flatten() {
        let path = folder.join("bootstrap");
        if exists(fs, &path)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// A variable with the folders in which a language looks for what layers bring: `plain` ones, and `inner` of each folder
/// in `versions`, for whatever version a layer was made.
fn layered(
    fs: &dyn Fs,
    name: &str,
    of: &Folders<'_>,
    plain: &[&str],
    versions: &str,
    inner: &str,
) -> Result<Option<(String, String)>, FunctionError> {
    let Some(opt) = of.opt else { return Ok(None) };
    let mut folders: Vec<PathBuf> = plain.iter().map(|path| opt.join(path)).collect();
    if !versions.is_empty() && exists(fs, &opt.join(versions))? {
        let versions = opt.join(versions);
        let entries = fs.read_dir(&versions).map_err(FunctionError::io(&versions))?;
        folders.extend(entries.into_iter().filter(|e| e.is_dir).map(|e| versions.join(e.name).join(inner)));
    }
    let mut kept = Vec::new();
    for folder in folders {
        if !kept.contains(&folder) && exists(fs, &folder)? {
            kept.push(folder);
        }
    }
    let text: Vec<String> = kept.iter().map(|folder| of.seen(folder).to_string_lossy().into_owned()).collect();
    Ok((!text.is_empty()).then(|| (name.to_owned(), text.join(":"))))
}

fn exists(fs: &dyn Fs, path: &Path) -> Result<bool, FunctionError> {
    fs.exists(path).map_err(FunctionError::io(path))
}
