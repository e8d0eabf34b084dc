//! What is started for a function: the program, its arguments, and what it needs beside the documented variables.
//!
//! Promises that a package which could never start is told apart, with the reason and the remedy, from one that the
//! machine cannot run at this moment. Must not know processes.
//! Sources: "Modifying the runtime environment" (wrapper scripts) and "Working with layers", AWS Lambda developer guide.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use base::{Env, Fs};

use super::layered::{GEMS, NODE, PYTHON, RUBY, layered};
use super::place::Inside;
use super::report::Failure;
use crate::interpreter::{Interpreters, Node, Python};
use crate::packages::blocking;
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
#[derive(Debug, Clone)]
pub(crate) struct Folders {
    /// Of the package.
    pub task_root: PathBuf,
    /// Of the layers, laid together.
    pub opt: Option<PathBuf>,
    /// The same, and that of the built-in bootstraps, as the function sees them.
    pub inside: Inside,
}

impl Folders {
    /// A path of the package or of the layers as the function sees it.
    pub fn seen(&self, path: &Path) -> PathBuf {
        let (package, layers) = ((&self.task_root, &self.inside.task_root), self.opt.as_ref());
        let mut places = [Some(package), layers.map(|opt| (opt, &self.inside.opt))].into_iter().flatten();
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

/// What a family is run by on this machine.
enum Runner {
    Python(Python),
    Node(Node),
    Java(PathBuf),
    /// A program that is given the handler, or what to do to have one.
    Client(Result<PathBuf, String>),
    /// The package's own, or nothing.
    Own,
}

/// What is started for a function with these settings.
pub(crate) async fn entry(
    env: &Env,
    interpreters: &Interpreters,
    settings: &Settings,
    folders: Folders,
) -> Result<Entry, NoEntry> {
    let client = |program: Result<&Path, String>| Runner::Client(program.map(Path::to_owned));
    let runner = match settings.runtime.family() {
        Family::Python => Runner::Python(interpreters.python().await?.clone()),
        Family::Node => Runner::Node(interpreters.node().await?.clone()),
        Family::Java => Runner::Java(interpreters.java().await?.to_owned()),
        Family::Ruby => client(interpreters.ruby()),
        Family::Dotnet => client(interpreters.dotnet()),
        Family::Provided => Runner::Own,
    };
    let (env, settings) = (env.clone(), settings.clone());
    blocking(move || Ok(entry_of(&*env.fs, runner, &settings, &folders))).await?
}

fn entry_of(fs: &dyn Fs, runner: Runner, settings: &Settings, folders: &Folders) -> Result<Entry, NoEntry> {
    if let (Runner::Client(_) | Runner::Own, Some(own)) = (&runner, bootstrap(fs, folders)?) {
        return Ok(Entry { leads_path: false, ..Entry::of(&folders.seen(&own), Vec::new(), &[]) });
    }
    let asked = settings.runtime.as_str();
    match runner {
        Runner::Python(python) => {
            let arguments = vec![folders.inside.runtime.join("bootstrap.py").into()];
            let entry = Entry::of(&python.executable, arguments, &python.needs);
            let user_base = python.user_base.to_string_lossy().into_owned();
            let mut variables = vec![("PYTHONUSERBASE".to_owned(), user_base)];
            variables.extend(layered(fs, &PYTHON, folders, asked, Some(&python.version))?);
            Ok(Entry { variables, ..entry })
        }
        Runner::Node(node) => {
            let heap = format!("--max-old-space-size={}", settings.memory.mb() * NODE_HEAP / 100);
            let arguments = vec![heap.into(), folders.inside.runtime.join("bootstrap.mjs").into()];
            let variables = layered(fs, &NODE, folders, asked, Some(&node.version))?.into_iter().collect();
            Ok(Entry { variables, ..Entry::of(&node.executable, arguments, &[prefix(&node.executable)]) })
        }
        Runner::Java(java) => self::java(fs, &java, settings, folders),
        Runner::Own => {
            let remedy = "it has no executable named bootstrap at its root".to_owned();
            Err(NoEntry::Package(Failure::NoBootstrap { remedy }))
        }
        Runner::Client(program) => {
            let entry = client(program.as_deref(), OsString::from(settings.handler.as_str()))?;
            if settings.runtime.family() != Family::Ruby {
                return Ok(entry);
            }
            let libraries = layered(fs, &RUBY, folders, asked, None)?.into_iter();
            let gems = layered(fs, &GEMS, folders, asked, None)?;
            Ok(Entry { variables: libraries.chain(gems).collect(), ..entry })
        }
    }
}

fn client(program: Result<&Path, &String>, handler: OsString) -> Result<Entry, NoEntry> {
    match program {
        Ok(program) => Ok(Entry::of(program, vec![handler], &[prefix(program)])),
        Err(remedy) => Err(NoEntry::Package(Failure::NoBootstrap { remedy: remedy.clone() })),
    }
}

fn java(fs: &dyn Fs, java: &Path, settings: &Settings, folders: &Folders) -> Result<Entry, NoEntry> {
    let mut jars = self::jars(fs, &folders.task_root.join("lib"))?;
    if let Some(opt) = &folders.opt {
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
fn bootstrap(fs: &dyn Fs, folders: &Folders) -> Result<Option<PathBuf>, FunctionError> {
    for folder in [Some(&folders.task_root), folders.opt.as_ref()].into_iter().flatten() {
        let path = folder.join("bootstrap");
        if exists(fs, &path)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

pub(super) fn exists(fs: &dyn Fs, path: &Path) -> Result<bool, FunctionError> {
    fs.exists(path).map_err(FunctionError::io(path))
}
