//! Every key of the state, in one table. The numbers are on disk and in exports: frozen.
//!
//! | table | key behind the number | value |
//! |---|---|---|
//! | `META` 0x01 | kind | what is not state but about it: applied, digests; never digested |
//! | `FACTS` 0x02 | kind | time and key bytes, level, policy, horizon, next form, pruned |
//! | `MEMBERSHIP` 0x03 | piece | head: log id and length; then the bytes |
//! | `FORM_NAME` 0x04 | name | form |
//! | `FORM` 0x05 | form | name, version, retired |
//! | `DEFINITION` 0x06 | form, version, piece | the definition |
//! | `HEAD` 0x07 | form | the last seq |
//! | `PLACE` 0x08 | form, first seq | a run: count, position, source |
//! | `AT` 0x09 | index, slot | the same run: form, first seq, count |
//! | `WITHHELD` 0x0a | form, index, slot | nothing |
//! | `OWN_KEY` 0x0b | form, key | digest and receipt |
//! | `LINE_KEYS` 0x0c | form, header length, header, first line | digests and receipts of a run |
//! | `EXPIRY` 0x0d | state time, index, number | keys of rows that go then |
//! | `SESSION` 0x0e | node | boot, last number, pieces of its outcomes |
//! | `OUTCOME` 0x0f | node, number mod 8, piece | a pack's outcome |
//! | `TASK` 0x10 | name | version, incarnation, state |
//! | `TASK_DEFINITION` 0x11 | task, piece | the definition |
//! | `CURSOR` 0x12 | task, form (0: all) | incarnation, position, send under way |
//! | `PARKED` 0x13 | task, index, slot | why, the answer, the form |
//! | `PARKED_BODY` 0x14 | task, index, slot, piece | the body |
//! | `UNPARKED` 0x15 | task, index of the unpark | which record is delivered again there |
//! | `TOKEN` 0x16 | name | hash |
//! | `SWEEP` 0x17 | prefix | nothing: rows that begin so go, a few a command |
//! | `TIME` 0x18 | state time in steps | the entry that brought it, and when exactly |
//! | `RELEASED` 0x19 | index, slot of the payload | where the run is delivered |
//!
//! Holds: numbers are big-endian, so the store's order is theirs; `task` is the index of the entry
//! that made the name a task, so a task deleted and made again shares no row with the old one.
//! Values stay below [`VALUE_BYTES_MAX`]: what may be larger lies in pieces.

use crate::ids::{FormId, Index, NodeId, Position, Seq};
use crate::rows::KeyRange;

pub(crate) const META: u8 = 0x01;
pub(crate) const FACTS: u8 = 0x02;
pub(crate) const MEMBERSHIP: u8 = 0x03;
pub(crate) const FORM_NAME: u8 = 0x04;
pub(crate) const FORM: u8 = 0x05;
pub(crate) const DEFINITION: u8 = 0x06;
pub(crate) const HEAD: u8 = 0x07;
pub(crate) const PLACE: u8 = 0x08;
pub(crate) const AT: u8 = 0x09;
pub(crate) const WITHHELD: u8 = 0x0a;
pub(crate) const OWN_KEY: u8 = 0x0b;
pub(crate) const LINE_KEYS: u8 = 0x0c;
pub(crate) const EXPIRY: u8 = 0x0d;
pub(crate) const SESSION: u8 = 0x0e;
pub(crate) const OUTCOME: u8 = 0x0f;
pub(crate) const TASK: u8 = 0x10;
pub(crate) const TASK_DEFINITION: u8 = 0x11;
pub(crate) const CURSOR: u8 = 0x12;
pub(crate) const PARKED: u8 = 0x13;
pub(crate) const PARKED_BODY: u8 = 0x14;
pub(crate) const UNPARKED: u8 = 0x15;
pub(crate) const TOKEN: u8 = 0x16;
pub(crate) const SWEEP: u8 = 0x17;
pub(crate) const TIME: u8 = 0x18;
pub(crate) const RELEASED: u8 = 0x19;

/// Below fjall's unit of damage: a hole in its journal then never lies inside one value.
pub(crate) const VALUE_BYTES_MAX: usize = 4096;
/// A piece of something large; leaves room for a row's own head.
pub(crate) const PIECE_BYTES: usize = 4000;

/// Rows that are read by nearly every command and are few: kept in memory as well.
pub(crate) const fn is_hot(table: u8) -> bool {
    matches!(table, FACTS | FORM | HEAD | SESSION | TASK)
}

/// The tables that answers rest on and that do not grow with traffic: a start reads them whole.
pub(crate) const fn is_core(table: u8) -> bool {
    matches!(
        table,
        FACTS
            | MEMBERSHIP
            | FORM_NAME
            | FORM
            | DEFINITION
            | HEAD
            | SESSION
            | TASK
            | TASK_DEFINITION
            | CURSOR
            | TOKEN
            | SWEEP
    )
}

/// A key under construction.
pub(crate) struct KeyBuilder(Vec<u8>);

impl KeyBuilder {
    pub(crate) fn new(table: u8) -> Self {
        let mut key = Vec::with_capacity(32);
        key.push(table);
        Self(key)
    }

    pub(crate) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn bytes(mut self, value: &[u8]) -> Self {
        self.0.extend_from_slice(value);
        self
    }

    pub(crate) fn position(self, position: Position) -> Self {
        self.u64(position.index.0).u32(position.slot.0)
    }

    pub(crate) fn key(self) -> Vec<u8> {
        self.0
    }
}

/// Applied id, row count, digests.
pub(crate) fn meta_applied() -> Vec<u8> {
    KeyBuilder::new(META).u8(1).key()
}

/// One of the digests kept for comparison.
pub(crate) fn meta_ring(slot: u8) -> Vec<u8> {
    KeyBuilder::new(META).u8(2).u8(slot).key()
}

/// Present while an import has begun and not ended.
pub(crate) fn meta_importing() -> Vec<u8> {
    KeyBuilder::new(META).u8(3).key()
}

/// State time and the bytes of keys.
pub(crate) fn fact_clock() -> Vec<u8> {
    KeyBuilder::new(FACTS).u8(1).key()
}

pub(crate) fn fact_level() -> Vec<u8> {
    KeyBuilder::new(FACTS).u8(2).key()
}

pub(crate) fn fact_policy() -> Vec<u8> {
    KeyBuilder::new(FACTS).u8(3).key()
}

pub(crate) fn fact_horizon() -> Vec<u8> {
    KeyBuilder::new(FACTS).u8(4).key()
}

/// The number that the next new form gets.
pub(crate) fn fact_next_form() -> Vec<u8> {
    KeyBuilder::new(FACTS).u8(5).key()
}

/// How far the rows below the horizon are removed.
pub(crate) fn fact_pruned() -> Vec<u8> {
    KeyBuilder::new(FACTS).u8(6).key()
}

pub(crate) fn membership_head() -> Vec<u8> {
    KeyBuilder::new(MEMBERSHIP).key()
}

pub(crate) fn membership_pieces() -> Vec<u8> {
    KeyBuilder::new(MEMBERSHIP).u8(1).key()
}

pub(crate) fn form_name(name: &str) -> Vec<u8> {
    KeyBuilder::new(FORM_NAME).bytes(name.as_bytes()).key()
}

pub(crate) fn form(form: FormId) -> Vec<u8> {
    KeyBuilder::new(FORM).u32(form.0).key()
}

pub(crate) fn definition(form: FormId, version: u32) -> Vec<u8> {
    KeyBuilder::new(DEFINITION).u32(form.0).u32(version).key()
}

pub(crate) fn head(form: FormId) -> Vec<u8> {
    KeyBuilder::new(HEAD).u32(form.0).key()
}

pub(crate) fn place(form: FormId, first: Seq) -> Vec<u8> {
    KeyBuilder::new(PLACE).u32(form.0).u64(first.0).key()
}

/// The runs of `form` that begin at or before `seq`.
pub(crate) fn places_through(form: FormId, seq: Seq) -> KeyRange {
    KeyRange {
        start: place(form, Seq(0)),
        end: super::overlay::successor(&place(form, seq)),
    }
}

/// The runs of `form` that begin at or after `seq`.
pub(crate) fn places_from(form: FormId, seq: Seq) -> KeyRange {
    let end = crate::rows::after_prefix(&KeyBuilder::new(PLACE).u32(form.0).key());
    KeyRange {
        start: place(form, seq),
        end,
    }
}

pub(crate) fn at(position: Position) -> Vec<u8> {
    KeyBuilder::new(AT).position(position).key()
}

pub(crate) fn withheld(form: FormId, position: Position) -> Vec<u8> {
    KeyBuilder::new(WITHHELD)
        .u32(form.0)
        .position(position)
        .key()
}

pub(crate) fn own_key(form: FormId, key: &str) -> Vec<u8> {
    KeyBuilder::new(OWN_KEY)
        .u32(form.0)
        .bytes(key.as_bytes())
        .key()
}

/// All runs of lines under `header`.
pub(crate) fn line_keys_prefix(form: FormId, header: &str) -> Vec<u8> {
    let length = u32::try_from(header.len()).unwrap_or(u32::MAX);
    KeyBuilder::new(LINE_KEYS)
        .u32(form.0)
        .u32(length)
        .bytes(header.as_bytes())
        .key()
}

pub(crate) fn line_keys(form: FormId, header: &str, first: u32) -> Vec<u8> {
    let mut key = line_keys_prefix(form, header);
    key.extend_from_slice(&first.to_be_bytes());
    key
}

pub(crate) fn expiry(time_ms: u64, index: Index, number: u32) -> Vec<u8> {
    KeyBuilder::new(EXPIRY)
        .u64(time_ms)
        .u64(index.0)
        .u32(number)
        .key()
}

pub(crate) fn session(node: NodeId) -> Vec<u8> {
    KeyBuilder::new(SESSION).u32(node.0).key()
}

pub(crate) fn outcome(node: NodeId, ring: u8) -> Vec<u8> {
    KeyBuilder::new(OUTCOME).u32(node.0).u8(ring).key()
}

pub(crate) fn task(name: &str) -> Vec<u8> {
    KeyBuilder::new(TASK).bytes(name.as_bytes()).key()
}

pub(crate) fn task_definition(task: Index) -> Vec<u8> {
    KeyBuilder::new(TASK_DEFINITION).u64(task.0).key()
}

/// `None`: one cursor for all forms.
pub(crate) fn cursor(task: Index, form: Option<FormId>) -> Vec<u8> {
    KeyBuilder::new(CURSOR)
        .u64(task.0)
        .u32(form.map_or(0, |form| form.0))
        .key()
}

pub(crate) fn parked(task: Index, position: Position) -> Vec<u8> {
    KeyBuilder::new(PARKED).u64(task.0).position(position).key()
}

pub(crate) fn parked_body(task: Index, position: Position) -> Vec<u8> {
    KeyBuilder::new(PARKED_BODY)
        .u64(task.0)
        .position(position)
        .key()
}

pub(crate) fn unparked(task: Index, index: Index) -> Vec<u8> {
    KeyBuilder::new(UNPARKED).u64(task.0).u64(index.0).key()
}

pub(crate) fn token(name: &str) -> Vec<u8> {
    KeyBuilder::new(TOKEN).bytes(name.as_bytes()).key()
}

pub(crate) fn sweep(prefix: &[u8]) -> Vec<u8> {
    KeyBuilder::new(SWEEP).bytes(prefix).key()
}

pub(crate) fn time(step: u64) -> Vec<u8> {
    KeyBuilder::new(TIME).u64(step).key()
}

/// A run that is delivered elsewhere than where its payloads lie, by the latter.
pub(crate) fn released(source: Position) -> Vec<u8> {
    KeyBuilder::new(RELEASED).position(source).key()
}

/// The rows of one table, or of one task's part of it.
pub(crate) fn of_task(table: u8, task: Index) -> Vec<u8> {
    KeyBuilder::new(table).u64(task.0).key()
}

/// The last `count` bytes of `key` as a big-endian number.
fn tail<const N: usize>(key: &[u8], from_end: usize) -> [u8; N] {
    key.len()
        .checked_sub(from_end)
        .and_then(|end| key.get(end.checked_sub(N)?..end))
        .and_then(|bytes| bytes.try_into().ok())
        .unwrap_or([0; N])
}

/// The `u64` that ends `from_end` bytes before the end of `key`.
pub(crate) fn tail_u64(key: &[u8], from_end: usize) -> u64 {
    u64::from_be_bytes(tail(key, from_end))
}

/// The `u32` that ends `from_end` bytes before the end of `key`.
pub(crate) fn tail_u32(key: &[u8], from_end: usize) -> u32 {
    u32::from_be_bytes(tail(key, from_end))
}

/// The position that a key ends with.
pub(crate) fn tail_position(key: &[u8]) -> Position {
    Position {
        index: Index(tail_u64(key, 4)),
        slot: crate::ids::Slot(tail_u32(key, 0)),
    }
}
