//! Bytes that stay: the write-ahead log, and the state that is derived from it.
#![doc = include_str!("../FORMAT.md")]

mod codec;
mod command;
mod config;
pub mod disk;
mod error;
mod ids;
mod metrics;
pub mod mutants;
mod outcome;
mod poison;
mod records;
mod rows;
pub mod simulation;
mod state;
mod wal;

pub use codec::{decode_command, encode_command};
pub use command::*;
pub use config::{Config, Scan, Verify, WalConfig};
pub use disk::{Disk, File, Mapped, Open, OsDisk, create_dir_durably};
#[cfg(feature = "testing")]
pub use disk::{Fault, FaultDisk};
pub use error::{Error, Reaction};
pub use ids::{FormId, Index, LogId, NodeId, Position, Seq, Slot, Term};
pub use metrics::{StateMetrics, WalMetrics};
pub use outcome::{Outcome, PackOutcome, Placed, SlotOutcome, Terms, Voters};
pub use records::{Record, Records};
pub use state::{
    Checkpoint, Checkpoints, CursorRow, Digests, Engine, FormRow, Incoming, KeyReader, LEVEL_MAX,
    OnDoubt, Opened, ParkedMark, ParkedRow, Phase, Progress, State, StateConfig, StateParts,
    StateView, TaskRow, VotersOf,
};
pub use wal::{
    Damage, Done, Entry, EntryKind, Floor, HardInfo, Health, Marks, Recovered, RepairError,
    ScrubReport, SegmentId, SegmentInfo, Shortage, SyncLatency, Vote, Wal, WalItem, WriteMode,
    inspect as inspect_wal, probe_sync,
};
#[cfg(feature = "testing")]
pub use wal::{Stepper, count_wal_records};
