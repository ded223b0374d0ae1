//! A site: the directory, the ports and the settings with which one product lives, over all its
//! starts. The directory goes when the site does, unless it is kept for a person to look at.
//!
//! ```text
//! <run>/deploy/forms, deploy/tasks   what is shipped, and the tester's own
//! <run>/data                         the product's data directory; with a disk of its own, there
//! <run>/disk.img                     that disk, where there is one
//! <run>/node.log                     what it said, over all starts
//! <run>/1, <run>/2, …                a cluster: a site a member, as above, within this one
//! ```
//! Holds: nothing of the caller's environment reaches the product.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::net::Space;
use crate::process::Died;
use crate::process::disk::Disk;
use crate::process::ports;

const OWN_FORMS: [(&str, &str); 4] = [
    (
        "jepsen.toml",
        include_str!("../../definitions/forms/jepsen.toml"),
    ),
    (
        "jepsen-retire.toml",
        include_str!("../../definitions/forms/jepsen-retire.toml"),
    ),
    (
        "jepsen-door.toml",
        include_str!("../../definitions/forms/jepsen-door.toml"),
    ),
    (
        "jepsen-quiet.toml",
        include_str!("../../definitions/forms/jepsen-quiet.toml"),
    ),
];
const OWN_TASKS: [(&str, &str); 1] = [(
    "jepsen-sheet.toml",
    include_str!("../../definitions/tasks/jepsen-sheet.toml"),
)];
const LOG_TAIL: usize = 4000;

#[derive(Debug)]
pub(crate) struct Site {
    /// Goes before the directory that it is mounted in.
    disk: Option<Disk>,
    home: Home,
    data: PathBuf,
    binary: PathBuf,
    /// The network in which it lives; else the tester's.
    space: Option<Space>,
    /// Where not in its data directory.
    token_file: Option<PathBuf>,
    pub(crate) http: SocketAddr,
    pub(crate) ops: SocketAddr,
    settings: BTreeMap<String, String>,
    /// It has started here before: then not starting is its fault.
    has_lived: AtomicBool,
}

#[derive(Debug)]
enum Home {
    /// Goes with the site.
    Own(TempDir),
    /// Within another site's.
    Below(PathBuf),
}

impl Site {
    /// A fresh one under `parent`. `deploy` holds the shipped `forms` and `tasks`.
    pub(crate) fn new(binary: &Path, deploy: &Path, parent: &Path) -> anyhow::Result<Self> {
        let binary = std::path::absolute(binary)?;
        ensure!(
            binary.is_file(),
            "no binary at {}: build it first",
            binary.display()
        );
        let directory = tempfile::Builder::new()
            .prefix("jepsen-")
            .tempdir_in(parent)?;
        let [http, ops] = ports::free()?;
        Self::build(Home::Own(directory), binary, deploy, (http, ops))
    }

    /// One of a cluster's, in a directory of that name within this one.
    pub(crate) fn member(
        &self,
        name: &str,
        deploy: &Path,
        listen: (SocketAddr, SocketAddr),
        space: Option<Space>,
    ) -> anyhow::Result<Self> {
        let home = Home::Below(self.path().join(name));
        let mut site = Self::build(home, self.binary.clone(), deploy, listen)?;
        // All have one token, made by whoever leads first.
        let token = self.path().join("admin.token");
        site.set("ADMIN__TOKEN_FILE", Some(token.display().to_string()));
        (site.token_file, site.space) = (Some(token), space);
        Ok(site)
    }

    fn build(
        home: Home,
        binary: PathBuf,
        deploy: &Path,
        (http, ops): (SocketAddr, SocketAddr),
    ) -> anyhow::Result<Self> {
        for (kind, own) in [("forms", &OWN_FORMS[..]), ("tasks", &OWN_TASKS[..])] {
            let to = home.path().join("deploy").join(kind);
            std::fs::create_dir_all(&to)?;
            copy_all(&deploy.join(kind), &to)?;
            for (name, text) in own {
                std::fs::write(to.join(name), text)?;
            }
        }
        let mut settings = BTreeMap::new();
        let listens = [("HTTP__LISTEN", http), ("OPS__LISTEN", ops)];
        for (name, address) in listens {
            settings.insert(format!("FORMSPOOL_{name}"), address.to_string());
        }
        let data = home.path().join("data");
        let text = data.display().to_string();
        settings.insert("FORMSPOOL_DATA_DIR".to_owned(), text);
        Ok(Self {
            disk: None,
            home,
            data,
            binary,
            space: None,
            token_file: None,
            http,
            ops,
            settings,
            has_lived: AtomicBool::new(false),
        })
    }

    /// From the next start on; `None` takes it out.
    pub(crate) fn set(&mut self, name: &str, value: Option<String>) {
        let name = format!("FORMSPOOL_{name}");
        match value {
            Some(value) => self.settings.insert(name, value),
            None => self.settings.remove(&name),
        };
    }

    /// Its data lives there from the next start on.
    pub(crate) fn live_on(&mut self, disk: Disk) {
        self.data = disk.root().join("data");
        self.set("DATA_DIR", Some(self.data.display().to_string()));
        self.disk = Some(disk);
    }

    pub(crate) fn disk(&self) -> anyhow::Result<&Disk> {
        self.disk.as_ref().context("no disk of its own")
    }

    /// The binary with the site's settings, without arguments. Started in the site's directory,
    /// so that relative settings mean the same at every start.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .current_dir(self.path())
            .env_clear()
            .envs(&self.settings);
        command.env("RUST_BACKTRACE", "1");
        command
    }

    pub(crate) fn serve(&self) -> anyhow::Result<Child> {
        let mut open = std::fs::OpenOptions::new();
        let log = open.create(true).append(true).open(self.log())?;
        let mut command = self.command();
        command.arg("serve").stdin(Stdio::null()).kill_on_drop(true);
        command.stdout(log.try_clone()?).stderr(log);
        let Some(space) = &self.space else {
            return Ok(command.spawn()?);
        };
        // The child is in the network of the thread that starts it.
        let runtime = tokio::runtime::Handle::current();
        let child = space.within(|| {
            let _here = runtime.enter();
            command.spawn()
        })?;
        Ok(child?)
    }

    pub(crate) fn path(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Everything that the product has of its own is gone, as with a new volume.
    pub(crate) fn wipe(&self) -> anyhow::Result<()> {
        std::fs::remove_dir_all(&self.data)
            .with_context(|| format!("cannot remove {}", self.data.display()))
    }

    pub(crate) fn sheet(&self, form: &str) -> PathBuf {
        self.sheets().join(format!("{form}.csv"))
    }

    /// Where the product keeps all sheets.
    pub(crate) fn sheets(&self) -> PathBuf {
        self.data.join("sheets")
    }

    /// The admin token, as the product left it.
    pub(crate) fn token(&self) -> anyhow::Result<String> {
        let own = || self.data.join("admin.token");
        let path = self.token_file.clone().unwrap_or_else(own);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    pub(crate) fn log_tail(&self) -> String {
        let text = std::fs::read(self.log()).unwrap_or_default();
        let tail = text
            .get(text.len().saturating_sub(LOG_TAIL)..)
            .unwrap_or_default();
        String::from_utf8_lossy(tail).into_owned()
    }

    /// The directory stays; answers where. A disk stays as its image.
    pub(crate) fn keep(mut self) -> PathBuf {
        if let Home::Own(directory) = &mut self.home {
            directory.disable_cleanup(true);
        }
        self.path().to_owned()
    }

    pub(crate) fn lives(&self) {
        self.has_lived.store(true, Ordering::Relaxed);
    }

    /// Why it does not start: at the very first time that is no finding, nothing was promised.
    pub(crate) fn blame(&self, words: String) -> anyhow::Error {
        if self.has_lived.load(Ordering::Relaxed) {
            Died(words).into()
        } else {
            anyhow::Error::msg(words)
        }
    }

    fn log(&self) -> PathBuf {
        self.path().join("node.log")
    }
}

impl Home {
    fn path(&self) -> &Path {
        match self {
            Self::Own(directory) => directory.path(),
            Self::Below(path) => path,
        }
    }
}

fn copy_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(from);
    let entries = entries.with_context(|| {
        format!(
            "no definitions in {}: name the directory with --deploy",
            from.display()
        )
    })?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
