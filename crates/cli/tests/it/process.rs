//! A `tidegate serve` process on a folder of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

/// A command with none of the caller's settings.
pub fn tidegate(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    for (name, _) in std::env::vars() {
        if name.starts_with("TIDEGATE_") || name.starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command.args(args);
    command
}

/// Runs it to its end.
pub fn run(args: &[&str]) -> Output {
    tidegate(args).output().unwrap()
}

/// A running server; killed when dropped.
pub struct Serve {
    pub child: Child,
    pub greeting: String,
    stderr: BufReader<ChildStderr>,
}

impl Serve {
    /// Starts one on a new folder or a used one and reads until its greeting is complete.
    pub fn start(dir: &Path) -> Self {
        let dir = dir.display().to_string();
        let mut command = tidegate(&["serve", "--data-dir", &dir, "--listen", "127.0.0.1:0"]);
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut greeting = String::new();
        while !greeting.contains("\"ready\"") {
            assert_ne!(stderr.read_line(&mut greeting).unwrap(), 0, "ended early: {greeting}");
        }
        Self { child, greeting, stderr }
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits for its end: the exit code and what it still said.
    pub fn wait(&mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // Gone already in most tests.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
