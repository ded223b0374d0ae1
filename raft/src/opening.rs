//! What lies in a data directory: whose it is, and its log and state, open.
//!
//! Holds:
//! - An empty log is taken for a new one only at genesis. Where `node.meta` says that this node had
//!   entries and they are gone, or where there is a log or a state without a `node.meta`, the past of
//!   this node is broken: one of several sets it aside, a single one refuses to start.
//! - What must be there is looked for before anything is written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::{Disk, State, StateParts, Wal};

use crate::codec;
use crate::error::Error;
use crate::identity::Identity;

/// What lies in a data directory, open.
pub(crate) struct Opened {
    pub(crate) identity: Identity,
    pub(crate) wal: Wal,
    pub(crate) recovered: storage::Recovered,
    pub(crate) state: State,
    /// What became of the state.
    pub(crate) verdict: storage::Opened,
}

/// Where it lies, and how it is kept.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) data_dir: PathBuf,
    pub(crate) config: storage::Config,
}

/// Whose a data directory is.
pub(crate) enum Past {
    /// Nobody's.
    None,
    /// A node's.
    Of(Identity),
    /// A node's that has lost what made it that node.
    Broken(Option<Identity>, Error),
}

impl Past {
    pub(crate) fn identity(&self) -> Option<&Identity> {
        match self {
            Self::None => None,
            Self::Of(identity) => Some(identity),
            Self::Broken(identity, _) => identity.as_ref(),
        }
    }
}

/// Locks the directory and reads whose it is.
pub(crate) fn look(
    disk: &dyn Disk,
    data_dir: &Path,
) -> Result<(Box<dyn Send + Sync>, Past), Error> {
    let failed = |op, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { op, path, source }
    };
    storage::create_dir_durably(disk, data_dir).map_err(failed("create", data_dir))?;
    let lock_path = data_dir.join("LOCK");
    let lock = match disk.lock(&lock_path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(storage::Error::Locked { path: lock_path }.into());
        }
        Err(error) => return Err(failed("lock", &lock_path)(error)),
    };
    let identity = match Identity::load(disk, data_dir) {
        Ok(identity) => identity,
        Err(error @ Error::Identity { .. }) => return Ok((lock, Past::Broken(None, error))),
        Err(error) => return Err(error),
    };
    let [wal, state, checkpoints] = ["wal", "state", "checkpoints"].map(|name| data_dir.join(name));
    let fits = match identity {
        Some(identity) if !identity.is_provisional => require_log(disk, &wal),
        Some(_) => Ok(()),
        None => refuse_orphans(
            disk,
            [
                ("log", &wal),
                ("state", &state),
                ("checkpoint", &checkpoints),
            ],
        ),
    };
    let past = match (fits, identity) {
        (Ok(()), None) => Past::None,
        (Ok(()), Some(identity)) => Past::Of(identity),
        (Err(error @ Error::Identity { .. }), _) => Past::Broken(identity, error),
        (Err(error), _) => return Err(error),
    };
    Ok((lock, past))
}

/// Opens the log. One of several opens a damaged one with its holes: peers may fill them.
pub(crate) fn open_log(
    place: &Place,
    identity: &Identity,
) -> Result<(Wal, storage::Recovered), Error> {
    let dir = place.data_dir.join("wal");
    let disk = Arc::clone(&place.disk);
    let (wal, recovered) = if identity.ever_had_peers {
        Wal::open_damaged(disk, &dir, &place.config.wal)?
    } else {
        Wal::open(disk, &dir, &place.config.wal)?
    };
    if !identity.is_provisional && recovered.last.is_none() {
        return Err(lost(&dir));
    }
    Ok((wal, recovered))
}

/// Opens the state over a whole log, and begins this life: the last that a start does to the disk
/// before openraft runs.
pub(crate) fn open_state(
    place: &Place,
    (wal, recovered): (Wal, storage::Recovered),
    mut identity: Identity,
    mut progress: impl FnMut(storage::Progress),
) -> Result<Opened, Error> {
    let parts = StateParts {
        disk: Arc::clone(&place.disk),
        dir: &place.data_dir.join("state"),
        config: &place.config.state,
        wal: &wal,
        voters_of: codec::voters_of,
        had_peers: identity.ever_had_peers,
    };
    let (state, verdict) = State::open(&parts, &mut progress)?;
    // A `node.meta` from a backup counts fewer lives than the log has seen: no number comes twice.
    let last_boot = state.last_boot(&wal, identity.node)?;
    identity.boot = identity.boot.max(last_boot) + 1;
    identity.save(&*place.disk, &place.data_dir)?;
    Ok(Opened {
        identity,
        wal,
        recovered,
        state,
        verdict,
    })
}

/// A node that had entries has a log. Asked before anything is written, so that the directory stays
/// as it was found.
fn require_log(disk: &dyn Disk, wal_dir: &Path) -> Result<(), Error> {
    let is_there = content(disk, wal_dir)?
        .iter()
        .any(|path| path.extension().is_some_and(|extension| extension == "seg"));
    if is_there { Ok(()) } else { Err(lost(wal_dir)) }
}

fn lost(wal_dir: &Path) -> Error {
    Error::Identity {
        path: wal_dir.to_owned(),
        what: "node.meta says that this node had entries, and its log has none".to_owned(),
    }
}

/// A log or a state without a `node.meta` belongs to a node whose number is not known.
fn refuse_orphans(disk: &dyn Disk, dirs: [(&str, &PathBuf); 3]) -> Result<(), Error> {
    for (name, dir) in dirs {
        if !content(disk, dir)?.is_empty() {
            return Err(Error::Identity {
                path: dir.clone(),
                what: format!("there is a {name}, but no node.meta says whose it is"),
            });
        }
    }
    Ok(())
}

/// What lies in `dir`; nothing where it is not there.
fn content(disk: &dyn Disk, dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let io = |source| Error::Io {
        op: "look into",
        path: dir.to_owned(),
        source,
    };
    if disk.exists(dir).map_err(io)? {
        disk.list(dir).map_err(io)
    } else {
        Ok(Vec::new())
    }
}
