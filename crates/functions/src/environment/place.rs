//! Where an environment's things are: its folders as the function sees them, the way to the server, and the orders by
//! which all of it is built.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use base::Fs;
use http::Uri;

use super::entry::Entry;
use crate::sandbox::{Ground, Group, Limits, Orders, Start, View, Walls};
use crate::{Config, FunctionError, MemorySize, Network, Strictness};

/// As on AWS Lambda ("Lambda quotas": 1,024), with the launcher, the init and its thread.
const MAX_PROCESSES: u64 = 1_024 + 3;
/// What the walls themselves and the kernel's book-keeping may take of an environment's control group.
const OVERHEAD_BYTES: u64 = 64 << 20;
/// The port of the Runtime API, as on AWS Lambda; the other one when the server's endpoint has it.
const RUNTIME_API_PORTS: [u16; 2] = [9_001, 9_002];

/// Why functions are not run with these settings on a machine with these walls, and what would help.
pub fn refusal(config: &Config, walls: &Walls) -> Option<String> {
    if config.strictness == Strictness::Reduced {
        return None;
    }
    if let Some(reason) = walls.refusal() {
        return Some(format!("functions are not run: {reason}"));
    }
    (config.network == Network::Host && walls.ground == Some(Ground::User)).then(|| {
        "functions are not run: on the machine's network (network = \"host\" in section functions) environments of one \
         user could call each other's Runtime API; run the server as root, leave the network to be none, or let \
         functions run with less by sandbox = \"reduced\" (TIDEGATE_FUNCTIONS_SANDBOX=reduced)"
            .to_owned()
    })
}

/// The folders, as the function sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inside {
    pub task_root: PathBuf,
    pub opt: PathBuf,
    pub runtime: PathBuf,
    pub temporary: PathBuf,
}

impl Inside {
    /// Those of AWS Lambda.
    pub fn walled() -> Self {
        let [task_root, opt, runtime, temporary] = ["/var/task", "/opt", "/var/runtime", "/tmp"].map(PathBuf::from);
        Self { task_root, opt, runtime, temporary }
    }

    /// Where a path leads that was written for AWS Lambda's folders; what is relative begins in the package's.
    pub fn place(&self, path: &Path) -> PathBuf {
        let service = Self::walled();
        for (there, here) in [(&service.task_root, &self.task_root), (&service.opt, &self.opt)] {
            if let Ok(below) = path.strip_prefix(there)
                && !here.as_os_str().is_empty()
            {
                return here.join(below);
            }
        }
        self.task_root.join(path)
    }
}

/// How the server's endpoint is reached from a network that is not the machine's: at the same port, and by the same URL
/// wherever that is possible, since the server's answers have URLs that begin with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Way {
    /// What the function is told.
    pub url: String,
    /// Where a listener inside is opened.
    pub inside: SocketAddr,
    /// Where its connections are carried to.
    pub to: String,
    /// A name that is the loopback inside.
    pub host: Option<String>,
    pub runtime_api: SocketAddr,
}

impl Way {
    pub fn of(url: &str) -> Result<Self, FunctionError> {
        let refused = || FunctionError::Unavailable(format!("functions cannot reach the server at '{url}'"));
        let uri: Uri = url.parse().map_err(|_| refused())?;
        let host = uri.host().ok_or_else(refused)?;
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        let loopback = address.filter(IpAddr::is_loopback);
        let inside = SocketAddr::new(loopback.unwrap_or(Ipv4Addr::LOCALHOST.into()), port);
        let url = match (address, loopback) {
            (Some(_), None) => format!("{}://{inside}", uri.scheme_str().unwrap_or("http")),
            _ => url.to_owned(),
        };
        let api_port = RUNTIME_API_PORTS.into_iter().find(|free| *free != port).unwrap_or_default();
        let runtime_api = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), api_port);
        let name = address.is_none().then(|| host.to_owned());
        Ok(Self { url, inside, to: format!("{host}:{port}"), host: name, runtime_api })
    }
}

/// What a function of this memory size may take.
pub(crate) fn limits(config: &Config, memory: MemorySize, temporary_bytes: u64) -> Limits {
    Limits {
        memory_bytes: memory.bytes() + temporary_bytes + OVERHEAD_BYTES,
        memory_mb: memory.mb(),
        processes: MAX_PROCESSES,
        cap_processor: config.cap_processor,
    }
}

/// What an environment is built of.
pub(crate) struct Building<'a> {
    pub fs: &'a dyn Fs,
    pub config: &'a Config,
    pub ground: Ground,
    pub user: u32,
    pub group: Option<&'a Group>,
    pub counts_processes: bool,
    /// The folder over which the file system is built, the package, and the bootstraps.
    pub root: &'a Path,
    pub package: &'a Path,
    pub opt: Option<&'a Path>,
    pub runtime: &'a Path,
    pub temporary_bytes: u64,
    /// Absent on the machine's network.
    pub way: Option<&'a Way>,
    pub inside: &'a Inside,
}

impl Building<'_> {
    /// As one folder or, where an interpreter is installed below it too, one by one beside that.
    fn show_layers(&self, views: &mut Vec<View>) {
        let Some(opt) = self.opt else { return };
        let to = &self.inside.opt;
        if !views.iter().any(|view| view.to.starts_with(to)) {
            views.push(View { from: opt.to_owned(), to: to.clone() });
            return;
        }
        // What cannot be listed is missing where the function looks for it, and said so there.
        for entry in self.fs.read_dir(opt).unwrap_or_default() {
            views.push(View { from: opt.join(&entry.name), to: to.join(&entry.name) });
        }
    }

    pub fn orders(&self, entry: Entry, variables: Vec<(String, String)>) -> Orders {
        let config = self.config;
        let mut views = vec![
            View { from: self.package.to_owned(), to: self.inside.task_root.clone() },
            View { from: self.runtime.to_owned(), to: self.inside.runtime.clone() },
        ];
        for path in entry.needs.iter().chain(&config.readable) {
            show(&mut views, path);
        }
        self.show_layers(&mut views);
        let start = Start {
            program: entry.program,
            arguments: entry.arguments,
            folder: self.inside.task_root.clone(),
            variables,
        };
        Orders {
            ground: self.ground,
            user: self.user,
            groups: self.group.map(Group::seats).unwrap_or_default(),
            root: self.root.to_owned(),
            views,
            hidden: config.hidden.iter().chain([&config.dir]).map(|path| absolute(path)).collect(),
            temporary_bytes: self.temporary_bytes,
            own_network: self.way.is_some(),
            listen: self.way.map(|way| vec![way.runtime_api, way.inside]).unwrap_or_default(),
            host: self.way.and_then(|way| way.host.clone()),
            max_processes: (!self.counts_processes).then_some(MAX_PROCESSES),
            start: Some(start),
        }
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Shows a path at its own place, and where its links lead. What is in `/usr` is seen by everybody; the root of the
/// machine by nobody.
fn show(views: &mut Vec<View>, path: &Path) {
    let mut at = vec![absolute(path)];
    // What is not there needs not be shown.
    at.extend(std::fs::canonicalize(path));
    for path in at {
        let seen = |view: &View| path.starts_with(&view.to) && view.from == view.to;
        if !path.starts_with("/usr") && path.parent().is_some() && !views.iter().any(seen) {
            views.push(View { from: path.clone(), to: path });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_aws_lambda_lead_into_package_and_layers_without_walls_too() {
        let temporary = PathBuf::from("/t");
        let inside = Inside { task_root: "/p".into(), opt: "/o".into(), runtime: "/r".into(), temporary };
        let placed = |path: &str| inside.place(Path::new(path)).display().to_string();
        assert_eq!(
            ["/var/task/a/b", "/opt/c", "d", "/usr/bin/env"].map(placed),
            ["/p/a/b", "/o/c", "/p/d", "/usr/bin/env"]
        );
        assert_eq!(Inside::walled().place(Path::new("/opt/c")), PathBuf::from("/opt/c"));
    }

    #[test]
    fn the_endpoint_is_found_inside_by_its_own_url() {
        let way = Way::of("http://127.0.0.1:4566").unwrap();
        assert_eq!((way.url.as_str(), way.inside.to_string().as_str()), ("http://127.0.0.1:4566", "127.0.0.1:4566"));
        assert_eq!((way.to.as_str(), way.host), ("127.0.0.1:4566", None));
        let way = Way::of("https://tidegate.example.com").unwrap();
        assert_eq!((way.url.as_str(), way.inside.port()), ("https://tidegate.example.com", 443));
        assert_eq!((way.to.as_str(), way.host.as_deref()), ("tidegate.example.com:443", Some("tidegate.example.com")));
        let way = Way::of("http://10.1.2.3:9001").unwrap();
        assert_eq!((way.url.as_str(), way.to.as_str()), ("http://127.0.0.1:9001", "10.1.2.3:9001"));
        assert_eq!(way.runtime_api.port(), 9_002);
        assert_eq!(Way::of("http://[::1]:4566").unwrap().inside.to_string(), "[::1]:4566");
        assert!(Way::of("/nowhere").is_err());
    }
}
