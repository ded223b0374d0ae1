//! Setting a node's whole past aside where it is damaged beyond repair, so that it joins anew.
//!
//! Holds:
//! - Nothing is removed: log, state, checkpoints and `node.meta` move to `quarantine/<n>-damaged/` as
//!   they were found. `node.meta` goes last, so a cut between any two steps leaves what is set aside
//!   again at the next start, never a log that looks like a new one.
//! - The old number is never used again, so neither is any vote or acknowledgement that was given under
//!   it: the fresh node has the whole log before it votes.
//! - Only while the others lead without this node. Before that its vote, and what is left of its log,
//!   may be what a person needs to bring the cluster back.

use std::io;
use std::path::{Path, PathBuf};

use storage::Disk;

use crate::error::Error;

/// Moves everything that makes the node who it is; says where it is now.
pub(crate) fn set_aside(disk: &dyn Disk, data_dir: &Path) -> Result<PathBuf, Error> {
    let failed = |op, path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| Error::Io { op, path, source }
    };
    let quarantine = data_dir.join("quarantine");
    let mut number = 1_u32;
    let to = loop {
        let to = quarantine.join(format!("{number}-damaged"));
        if !disk.exists(&to).map_err(failed("look for", &to))? {
            break to;
        }
        number += 1;
    };
    storage::create_dir_durably(disk, &to).map_err(failed("create", &to))?;
    for name in ["wal", "state", "checkpoints", "node.meta"] {
        let from = data_dir.join(name);
        if !disk.exists(&from).map_err(failed("look for", &from))? {
            continue;
        }
        disk.rename(&from, &to.join(name))
            .map_err(failed("set aside", &from))?;
        // First the new name, then the loss of the old one.
        disk.sync_dir(&to).map_err(failed("sync", &to))?;
        disk.sync_dir(data_dir).map_err(failed("sync", data_dir))?;
    }
    Ok(to)
}

/// Whether this says that what was durable here is gone, and that no later start will find it.
pub(crate) fn is_loss(error: &Error) -> bool {
    matches!(error, Error::Storage(error) if error.is_loss())
}

#[cfg(test)]
mod tests {
    use storage::{FaultDisk, Open};

    use super::*;

    /// Files, where a node has directories: a name is a name.
    const NAMES: [&str; 4] = ["wal", "state", "checkpoints", "node.meta"];

    #[test]
    fn after_a_cut_anywhere_node_meta_is_there_as_long_as_anything_is() {
        let data = Path::new("/data");
        let full = FaultDisk::new();
        storage::create_dir_durably(&full, data).unwrap();
        for name in NAMES {
            let file = full.open(&data.join(name), Open::Create).unwrap();
            file.sync().unwrap();
        }
        full.sync_dir(data).unwrap();
        let before = full.changes();
        set_aside(&full.copy(), data).unwrap();
        for cut in 0..16 {
            let disk = full.copy();
            disk.inject(storage::Fault::DieAfter(before + cut));
            let is_done = set_aside(&disk, data).is_ok();
            disk.power_cut(cut);
            let is_left = |name| disk.exists(&data.join(name)).unwrap();
            assert!(is_left("node.meta") || !is_left("wal"), "cut {cut}");
            let aside = data.join("quarantine/1-damaged");
            let is_all_aside = NAMES
                .iter()
                .all(|name| !is_left(name) && disk.exists(&aside.join(name)).unwrap());
            assert!(is_all_aside || !is_done, "cut {cut}");
            // The rest follows at the next start, beside it.
            set_aside(&disk, data).unwrap();
            assert!(NAMES.iter().all(|name| !is_left(name)), "cut {cut}");
        }
    }
}
