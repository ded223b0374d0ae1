//! The canary: a block that is written past the page cache and never flushed, in the moment of a
//! cut. It must be lost: else the copy shows more than a power cut leaves, and a product that
//! forgets its syncs would not be found out.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, ensure};

const BLOCK: usize = 4096;
const NAME: &str = "canary";
const MARK: u8 = 0xca;

/// A block for each cut, flushed, so that nothing but their bytes is left to write.
pub(crate) fn lay(root: &Path, cuts: u32) -> anyhow::Result<()> {
    let mut open = OpenOptions::new();
    let file = open.create_new(true).write(true).open(root.join(NAME))?;
    let blocks = usize::try_from(cuts)? + 1;
    file.write_all_at(&vec![0; blocks * BLOCK], 0)?;
    file.sync_all()?;
    directory(root)?.sync_all()?;
    Ok(())
}

pub(crate) fn write(root: &Path, cut: u32) -> anyhow::Result<()> {
    let direct = i32::try_from(rustix::fs::OFlags::DIRECT.bits())?;
    let mut open = OpenOptions::new();
    let file = open
        .write(true)
        .custom_flags(direct)
        .open(root.join(NAME))?;
    let buffer = vec![MARK; 2 * BLOCK];
    // Writing past the page cache needs an aligned piece of memory.
    let start = buffer.as_ptr().align_offset(BLOCK);
    let block = buffer.get(start..).and_then(|rest| rest.get(..BLOCK));
    let block = block.context("no aligned memory")?;
    let wrote = file.write_at(block, offset(cut)?)?;
    ensure!(wrote == BLOCK, "the canary is not written whole");
    Ok(())
}

/// In the copy made at that cut.
pub(crate) fn is_lost(root: &Path, cut: u32) -> anyhow::Result<bool> {
    let mut open = OpenOptions::new();
    let mut bytes = Vec::new();
    open.read(true)
        .open(root.join(NAME))?
        .read_to_end(&mut bytes)?;
    let start = usize::try_from(offset(cut)?)?;
    let block = bytes.get(start..start + BLOCK);
    let block = block.context("the canary's cage is not there")?;
    Ok(block.iter().all(|byte| *byte == 0))
}

fn offset(cut: u32) -> anyhow::Result<u64> {
    Ok(u64::from(cut) * u64::try_from(BLOCK)?)
}

fn directory(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::{is_lost, lay};
    use std::os::unix::fs::FileExt as _;

    #[test]
    fn a_block_that_is_there_is_not_lost() {
        let root = tempfile::tempdir().unwrap();
        lay(root.path(), 2).unwrap();
        assert!(is_lost(root.path(), 2).unwrap());
        let mut open = std::fs::OpenOptions::new();
        let file = open.write(true).open(root.path().join("canary")).unwrap();
        file.write_all_at(&[super::MARK; 4096], 2 * 4096).unwrap();
        assert!(!is_lost(root.path(), 2).unwrap());
        assert!(is_lost(root.path(), 1).unwrap());
        assert!(is_lost(root.path(), 3).is_err());
    }
}
