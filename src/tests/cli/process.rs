//! A real node in a directory of its own, driven as a user drives it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Everything that is waited for here happens in far less.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory to run in, empty at first: no settings file, no definitions.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// The program, told to listen on free ports, with nothing of this test's environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_formspool"));
        command
            .args(args)
            .current_dir(self.0.path())
            .env_clear()
            .env("FORMSPOOL_HTTP__LISTEN", "127.0.0.1:0")
            .env("FORMSPOOL_OPS__LISTEN", "127.0.0.1:0")
            .env("FORMSPOOL_LOG__LEVEL", "warn");
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Starts a node and waits for its banner.
    pub fn serve(&self) -> Running {
        let mut child = self
            .command(&["--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let Ok(banner) = serde_json::from_str(&line) else {
            let mut told = String::new();
            child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut told)
                .unwrap();
            panic!("no banner: {line:?}\n{told}");
        };
        Running { child, banner }
    }
}

/// A node that runs; killed when it is dropped.
pub struct Running {
    child: Child,
    pub banner: Value,
}

impl Running {
    pub fn url(&self) -> &str {
        self.banner["url"].as_str().unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// As `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As `kill`: returns the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }

    /// One request on a connection of its own: status and body.
    pub fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        ask(self.url(), method, path, headers, body)
    }

    /// Submits a JSON document.
    pub fn submit(&self, form: &str, document: &str) -> (u16, Value) {
        let headers = "Content-Type: application/json\r\n";
        let (status, body) = self.request("POST", &format!("/f/{form}"), headers, document);
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    /// Asks the operators' listener.
    pub fn operators(&self, path: &str) -> (u16, String) {
        ask(
            self.banner["ops_url"].as_str().unwrap(),
            "GET",
            path,
            "",
            "",
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub fn ask(url: &str, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let authority = url.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(authority).unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n{headers}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    (status, body)
}

/// Looks again until there is something, or until it has taken far too long.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "never came: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Waits until a file has this many lines; returns its text.
pub fn text_with_lines(path: &Path, count: usize) -> String {
    eventually(&format!("{count} lines in {}", path.display()), || {
        let text = fs::read_to_string(path).ok()?;
        (text.lines().count() == count && text.ends_with('\n')).then_some(text)
    })
}
