//! The numbers that decide what a command answers.
//!
//! Holds: they follow from the level alone, which is replicated; a setting here would make a node
//! that was restarted with another value, or rebuilt from its log, give other seqs than before.

/// The highest level that this build can run. Level 2 knows `SeekTask` and `Start::Kept`; its numbers
/// are those of level 1.
pub const LEVEL_MAX: u32 = 2;

/// The rules of one level.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// A key is kept for so much state time.
    pub(crate) key_window_ms: u64,
    /// Keys take so much room; then the oldest go first.
    pub(crate) key_bytes_max: u64,
    /// But none that is younger than this: new keys are refused instead.
    pub(crate) key_age_min_ms: u64,
    /// Rows that expire in one command, at the most.
    pub(crate) expiry_rows_max: usize,
    /// Rows below the horizon that go in one command, beside twice as many as it has changed.
    pub(crate) prune_rows_max: usize,
}

impl Rules {
    /// Level 1.
    pub(crate) const FIRST: Self = Self {
        key_window_ms: 24 * 60 * 60 * 1000, // a client may retry for a day
        key_bytes_max: 1 << 30,             // about three million keys
        key_age_min_ms: 10 * 60 * 1000,     // a retry within ten minutes is always recognized
        expiry_rows_max: 256,               // well below a millisecond
        prune_rows_max: 256,                // the same; packs of many runs make room for more
    };
}
