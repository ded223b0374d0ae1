//! A server as a process of its own, with whatever it starts itself.
//!
//! Holds: it ends with its `Process`, by the id of a group that was made here; its words are in a
//! file beside its data, of which the end is told if it fails.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::usage::{is_alive, with_children};

/// A cluster must be ready within this.
const PATIENCE: Duration = Duration::from_mins(1);
/// What was killed is gone within this.
const END_PATIENCE: Duration = Duration::from_secs(5);
const TOLD_BYTES: usize = 800;

/// Ended, with its group, when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    words: PathBuf,
}

impl Process {
    /// Starts `command` with its folder as the working directory and the place of its words.
    pub(crate) fn start(mut command: Command, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let words = folder.join("words");
        #[expect(clippy::disallowed_methods, reason = "not a disk that tests break")]
        let file = std::fs::File::create(&words)?;
        let child = command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", command.get_program().display()))?;
        Ok(Self { child, words })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error with its last words, if it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else {
            return Ok(());
        };
        bail!("the server ended, {status}: {}", self.last_words())
    }

    /// Waits for one that ends by itself; an error with its last words, if it did not go well.
    pub(crate) async fn finish(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(_) => return self.check(),
                None if Instant::now() > deadline => {
                    bail!("it does not end: {}", self.last_words())
                }
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    fn last_words(&self) -> String {
        let words = std::fs::read(&self.words).unwrap_or_default();
        let from = words.len().saturating_sub(TOLD_BYTES);
        String::from_utf8_lossy(words.get(from..).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let all = with_children(&[self.child.id()]);
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            // It may have ended by itself; there is nobody to tell.
            kill_process_group(group, Signal::KILL).unwrap_or_default();
        }
        drop(self.child.wait());
        // Those that it had started are not ours to wait for, and must not write any more.
        let deadline = Instant::now() + END_PATIENCE;
        while all.iter().any(|pid| is_alive(*pid)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A command that sees nothing of this process's environment but where programs are.
pub(crate) fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    let kept = std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "LANG");
    command.env_clear().envs(kept.collect::<Vec<_>>());
    command
}

/// Where a program is: in this folder, on the path, or among the system's own.
pub(crate) fn find(program: &str, folder: Option<&Path>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = folder
        .map(Path::to_path_buf)
        .into_iter()
        .chain(std::env::split_paths(&path))
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/bin")]);
    let mut places = folders.map(|folder| folder.join(program));
    let found = places.find(|place| place.is_file())?;
    std::path::absolute(found).ok()
}

/// Loopback addresses that nobody has, all at once so that no two are the same.
pub(crate) fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    let bound: Vec<TcpListener> = (0..N)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()?;
    let addresses: Vec<SocketAddr> = bound
        .iter()
        .map(TcpListener::local_addr)
        .collect::<Result<_, _>>()?;
    addresses.try_into().ok().context("so many were bound")
}

/// Asks again and again until it goes well; the last error is told when patience ends, and at once
/// if a server has ended.
pub(crate) async fn wait_for<T>(
    what: &str,
    nodes: &mut [Process],
    mut ask: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let error = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        nodes.iter_mut().try_for_each(Process::check)?;
        if Instant::now() > deadline {
            let words: Vec<String> = nodes.iter().map(Process::last_words).collect();
            return Err(error).with_context(|| format!("wait for {what}: {}", words.join("\n")));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_ends_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = command("sh");
        shell.arg("-c").arg("sleep 60 & echo $!; wait");
        let mut process = Process::start(shell, folder.path()).unwrap();
        let began = Instant::now();
        let child: u32 = loop {
            process.check().unwrap();
            assert!(began.elapsed() < PATIENCE);
            if let Ok(pid) = process.last_words().trim().parse() {
                break pid;
            }
        };
        let family = with_children(&[process.id()]);
        assert_eq!(vec![process.id(), child], family);
        drop(process);
        assert!(!is_alive(child));
    }

    #[test]
    fn an_ended_server_tells_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = command("sh");
        shell.arg("-c").arg("echo no such port; exit 3");
        let mut process = Process::start(shell, folder.path()).unwrap();
        let began = Instant::now();
        let error = loop {
            assert!(began.elapsed() < PATIENCE);
            if let Err(error) = process.check() {
                break error.to_string();
            }
        };
        assert!(error.contains("no such port"), "{error}");
    }

    #[test]
    fn free_addresses_differ() {
        let [a, b, c] = free_addresses::<3>().unwrap();
        assert!(a != b && b != c && a != c);
    }
}
