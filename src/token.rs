//! The admin token: made once, kept in a file of the node's owner, known to the cluster by its hash.
//!
//! Holds: the token is on disk, synced and readable by its owner only, before its hash is in the
//! log and before it is shown; so a crash in between never leaves a cluster whose token nobody
//! has. The log and the state carry the hash alone.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use sha2::{Digest, Sha256};
use storage::Disk;

/// The name of the admin token in the state.
pub const ADMIN: &str = "admin";

/// A fresh one: 192 random bits, so guessing is out of the question.
pub fn make() -> io::Result<String> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes
        .iter()
        .fold("fsp_".to_owned(), |text, byte| format!("{text}{byte:02x}")))
}

/// What the state keeps of it.
pub fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// The token in a file; `None` if there is no file or nothing in it.
pub fn read(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|token| !token.is_empty())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes it for its owner's eyes only; durable on return, the old one or the new after a crash.
pub fn write(disk: &dyn Disk, path: &Path, token: &str) -> io::Result<()> {
    let temporary = path.with_extension("token.tmp");
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(format!("{token}\n").as_bytes())?;
    file.sync_all()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(dir_of(path))
}

/// Where a file lies: a bare name lies here.
fn dir_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        Some(_) | None => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_kept_for_its_owner_only_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.token");
        assert_eq!(read(&path).unwrap(), None);
        let token = make().unwrap();
        assert_ne!(token, make().unwrap());
        write(&storage::OsDisk, &path, &token).unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some(token.as_str()));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_bare_name_lies_in_the_present_directory() {
        for (path, dir) in [("x", "."), ("./x", "."), ("a/x", "a"), ("/x", "/")] {
            assert_eq!(dir_of(Path::new(path)), Path::new(dir), "{path}");
            assert!(Path::new(dir).exists() || dir == "a");
        }
    }
}
