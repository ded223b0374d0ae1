//! `hardstate.0` and `hardstate.1`: what the log's stream alone must not be trusted with.
//!
//! ```text
//! 0       8         10      12       16     32           40        56          64          72
//! ├ magic ┼ version ┼ flags ┼ policy ┼ uuid ┼ generation ┼ boot id ┼ vote term ┼ vote node ┤
//! 72           80            88           92      96            104      4092
//! ├ floor term ┼ floor index ┼ floor node ┼ zero ┼ end of log ┼ zeros ┼ crc ┤   4096 bytes, LE
//! ```
//! Holds: the two are written in turn, each synced before anybody acts on it, so one whole copy is
//! always there and the greater generation counts. A vote stands here too before anybody is told that
//! it is saved: the last batch, which a crash may leave in doubt, never takes a vote with it.
//!
//! It also says what tells a crash from damage: whether the last end was orderly and at which batch
//! (then nothing before may be missing), which life of the machine wrote last and under which
//! policy, and that there is a log at all (then files that are gone are never taken for a new log).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bytes::{count_at, put, take, u16_at, u32_at, u64_at};
use super::damage::Floor;
use super::entry::Vote;
use super::format::BLOCK_LEN;
use crate::command::Policy;
use crate::disk::{Disk, File, Open};
use crate::error::Error;
use crate::ids::{Index, LogId, NodeId, Term};

const MAGIC: [u8; 8] = *b"formspHS";
const VERSION: u16 = 1;
const CRC_AT: usize = BLOCK_LEN - 4;

const HAS_LOG: u16 = 1;
const HAS_VOTE: u16 = 1 << 1;
const IS_VOTE_COMMITTED: u16 = 1 << 2;
const HAS_FLOOR: u16 = 1 << 3;
const IS_FLOOR_UNKNOWN: u16 = 1 << 4;
const IS_CLEAN: u16 = 1 << 5;

const POLICY_ALWAYS: u32 = 0;
const POLICY_NEVER: u32 = u32::MAX;

/// What both files say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HardState {
    pub(super) uuid: [u8; 16],
    pub(super) generation: u64,
    /// There is a log: its first segment was made.
    pub(super) has_log: bool,
    pub(super) vote: Option<Vote>,
    pub(super) floor: Option<Floor>,
    /// The weakest policy that this life of the log has written under.
    pub(super) policy: Policy,
    pub(super) boot_id: [u8; 16],
    /// An orderly end: this batch was the last one, and everything up to it is durable.
    pub(super) clean_end: Option<u64>,
}

impl HardState {
    /// Of a log that is made just now.
    pub(super) fn new(uuid: [u8; 16]) -> Self {
        Self {
            uuid,
            generation: 0,
            has_log: false,
            vote: None,
            floor: None,
            policy: Policy::Always,
            boot_id: [0; 16],
            clean_end: None,
        }
    }

    pub(super) fn encode(&self) -> [u8; BLOCK_LEN] {
        let mut bytes = [0; BLOCK_LEN];
        let mut flags = 0;
        let mut flag = |is_set: bool, bit: u16| flags |= if is_set { bit } else { 0 };
        flag(self.has_log, HAS_LOG);
        flag(self.vote.is_some(), HAS_VOTE);
        flag(
            self.vote.is_some_and(|vote| vote.is_committed),
            IS_VOTE_COMMITTED,
        );
        flag(self.floor.is_some(), HAS_FLOOR);
        flag(self.floor == Some(Floor::Unknown), IS_FLOOR_UNKNOWN);
        flag(self.clean_end.is_some(), IS_CLEAN);
        let policy = match self.policy {
            Policy::Always => POLICY_ALWAYS,
            Policy::IntervalMs(ms) => ms,
            Policy::Never => POLICY_NEVER,
        };
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        put(&mut bytes, 10, &flags.to_le_bytes());
        put(&mut bytes, 12, &policy.to_le_bytes());
        put(&mut bytes, 16, &self.uuid);
        put(&mut bytes, 32, &self.generation.to_le_bytes());
        put(&mut bytes, 40, &self.boot_id);
        if let Some(vote) = self.vote {
            put(&mut bytes, 56, &vote.term.0.to_le_bytes());
            put(&mut bytes, 64, &u64::from(vote.node.0).to_le_bytes());
        }
        if let Some(Floor::Upto(id)) = self.floor {
            put(&mut bytes, 72, &id.term.0.to_le_bytes());
            put(&mut bytes, 80, &id.index.0.to_le_bytes());
            put(&mut bytes, 88, &id.node.0.to_le_bytes());
        }
        put(
            &mut bytes,
            96,
            &self.clean_end.unwrap_or_default().to_le_bytes(),
        );
        let crc = crc32fast::hash(bytes.get(..CRC_AT).unwrap_or_default());
        put(&mut bytes, CRC_AT, &crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let crc = crc32fast::hash(bytes.get(..CRC_AT)?);
        if take(bytes, 0)? != MAGIC || u16_at(bytes, 8)? != VERSION || u32_at(bytes, CRC_AT)? != crc
        {
            return None;
        }
        let flags = u16_at(bytes, 10)?;
        let has = |bit| flags & bit != 0;
        let vote = Vote {
            term: Term(count_at(bytes, 56)?),
            node: NodeId(u64_at(bytes, 64)?.try_into().ok()?),
            is_committed: has(IS_VOTE_COMMITTED),
        };
        let upto = Floor::Upto(LogId {
            term: Term(count_at(bytes, 72)?),
            index: Index(count_at(bytes, 80)?),
            node: NodeId(u32_at(bytes, 88)?),
        });
        let floor = if has(IS_FLOOR_UNKNOWN) {
            Floor::Unknown
        } else {
            upto
        };
        Some(Self {
            uuid: take(bytes, 16)?,
            generation: u64_at(bytes, 32)?,
            has_log: has(HAS_LOG),
            vote: has(HAS_VOTE).then_some(vote),
            floor: has(HAS_FLOOR).then_some(floor),
            policy: match u32_at(bytes, 12)? {
                POLICY_ALWAYS => Policy::Always,
                POLICY_NEVER => Policy::Never,
                ms => Policy::IntervalMs(ms),
            },
            boot_id: take(bytes, 40)?,
            clean_end: if has(IS_CLEAN) {
                Some(count_at(bytes, 96)?)
            } else {
                None
            },
        })
    }
}

/// The two files and what they say.
pub(super) struct HardFiles {
    pub(super) now: HardState,
    files: [Arc<dyn File>; 2],
    paths: [PathBuf; 2],
}

/// What was found of them.
pub(super) enum Found {
    /// Neither is there.
    None,
    /// One whole copy at least.
    Whole(HardState),
    /// They are there, and neither is whole.
    Damaged(PathBuf),
}

fn paths(dir: &Path) -> [PathBuf; 2] {
    [dir.join("hardstate.0"), dir.join("hardstate.1")]
}

/// Of two whole copies the one that was written last.
fn newer(one: Option<HardState>, two: Option<HardState>) -> Option<HardState> {
    one.into_iter()
        .chain(two)
        .max_by_key(|state| state.generation)
}

/// Reads them, from the device where the system lets us, after what a crashed process had written
/// was made durable.
pub(super) fn read(disk: &dyn Disk, dir: &Path) -> Result<Found, Error> {
    let mut best: Option<HardState> = None;
    let mut seen = None;
    for path in paths(dir) {
        let file = match disk.open(&path, Open::Write) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("open", path)(error)),
        };
        file.sync().map_err(Error::io("sync", &path))?;
        file.forget_cached().map_err(Error::io("reread", &path))?;
        let mut bytes = [0; BLOCK_LEN];
        let count =
            crate::disk::read_full(&*file, &mut bytes, 0).map_err(Error::io("read", &path))?;
        // The first write of all goes to the second file. If a power cut tore it, the first one
        // is still empty, and there is no log yet: then nothing was ever promised.
        if count > 0 && path.extension().is_some_and(|number| number == "0") {
            seen = Some(path);
        }
        let state = HardState::decode(bytes.get(..count).unwrap_or_default());
        best = newer(best, state);
    }
    Ok(match (best, seen) {
        (Some(state), _) => Found::Whole(state),
        (None, Some(path)) => Found::Damaged(path),
        (None, None) => Found::None,
    })
}

/// The newer whole copy, read without changing anything.
pub(super) fn peek(disk: &dyn Disk, dir: &Path) -> Result<Option<HardState>, Error> {
    let mut best: Option<HardState> = None;
    for path in paths(dir) {
        if disk.exists(&path).map_err(Error::io("look for", &path))? {
            let bytes = disk.read(&path).map_err(Error::io("read", &path))?;
            best = newer(best, HardState::decode(&bytes));
        }
    }
    Ok(best)
}

impl HardFiles {
    /// Opens both to be written; makes those that are not there.
    pub(super) fn open(disk: &dyn Disk, dir: &Path, now: HardState) -> Result<Self, Error> {
        let open = |path: &PathBuf| {
            let file = match disk.open(path, Open::Write) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    disk.open(path, Open::Create)
                }
                other => other,
            };
            file.map(Arc::<dyn File>::from)
                .map_err(Error::io("open", path))
        };
        let paths = paths(dir);
        let [one, two] = &paths;
        let files = [open(one)?, open(two)?];
        disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        let mut hard = Self { now, files, paths };
        // Both copies whole from the beginning: a vote must not need new room on a full disk.
        hard.save(|_| {})?;
        hard.save(|_| {})?;
        Ok(hard)
    }

    /// Changes it: durable on return.
    pub(super) fn save(&mut self, change: impl FnOnce(&mut HardState)) -> Result<(), Error> {
        let mut next = self.now;
        change(&mut next);
        // A forged one may be the largest there is: both copies are written when the log is opened.
        next.generation = next.generation.wrapping_add(1);
        let [one, two] = &self.files;
        let [path_one, path_two] = &self.paths;
        let (file, path) = if next.generation.is_multiple_of(2) {
            (one, path_one)
        } else {
            (two, path_two)
        };
        let bytes = next.encode();
        assert_eq!(
            Some(next),
            HardState::decode(&bytes),
            "what is written reads back"
        );
        file.write_at(&bytes, 0).map_err(Error::io("write", path))?;
        file.sync().map_err(Error::io("sync", path))?;
        self.now = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> HardState {
        HardState {
            uuid: *b"0123456789abcdef",
            generation: 9,
            has_log: true,
            vote: Some(Vote {
                term: Term(5),
                node: NodeId(3),
                is_committed: true,
            }),
            floor: Some(Floor::Upto(LogId {
                term: Term(4),
                node: NodeId(0),
                index: Index(77),
            })),
            policy: Policy::IntervalMs(50),
            boot_id: *b"fedcba9876543210",
            clean_end: Some(1234),
        }
    }

    #[test]
    fn it_comes_back_and_every_flipped_bit_is_noticed() {
        for state in [
            state(),
            HardState::new([7; 16]),
            HardState {
                floor: Some(Floor::Unknown),
                policy: Policy::Never,
                ..state()
            },
        ] {
            let good = state.encode();
            assert_eq!(Some(state), HardState::decode(&good));
            for at in 0..good.len() {
                let mut bytes = good;
                bytes[at] ^= 1 << (at % 8);
                assert_eq!(None, HardState::decode(&bytes), "byte {at}");
            }
        }
    }
}
