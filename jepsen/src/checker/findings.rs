//! Findings: what a run found wrong, counted by kind, with the first examples in words.

use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// Acknowledged, or shown before, and not there.
    Lost,
    /// One document, seq or id twice.
    Doubled,
    /// Not in the order of seqs, or against real time.
    Reordered,
    /// Not the document that was sent, or two readers differ.
    Altered,
    /// Never sent, refused or withheld, and yet shown.
    Phantom,
    /// A seq is missing between two.
    Hole,
    /// A receipt says something else than the record or than another receipt.
    Receipt,
    /// Acknowledged before the device was told to keep it.
    Unsynced,
    /// An answer that the contract does not allow.
    Answer,
    /// More memory than allowed.
    Memory,
    /// A full disk was not told, not refused with 507, or not got over.
    Full,
    /// Two nodes hold different things, or one does not come up to the others.
    Divergent,
    /// What one node shows went back while it ran.
    Back,
    /// A read that asked for the newest lacks what was acknowledged before.
    Stale,
    /// Nobody was served for longer than allowed.
    Outage,
    /// A fault was not told, not got over, or not borne as the contract says.
    Fault,
    /// It was ready later than allowed.
    Slow,
    /// Somebody was asked more often than is allowed.
    Quota,
    /// One waited for more than twice what is its fair share of waiting.
    Unfair,
    /// It ended by itself, did not start again, or did not stop when told.
    Died,
}

impl Kind {
    /// Those that a summary always shows.
    pub(crate) const SHOWN: [Self; 5] = [
        Self::Lost,
        Self::Doubled,
        Self::Reordered,
        Self::Altered,
        Self::Phantom,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Reordered => "reordered",
            Self::Altered => "altered",
            Self::Phantom => "phantom",
            Self::Hole => "holes",
            Self::Receipt => "receipts",
            Self::Unsynced => "unsynced",
            Self::Answer => "answers",
            Self::Memory => "memory",
            Self::Full => "full",
            Self::Divergent => "divergent",
            Self::Back => "back",
            Self::Stale => "stale",
            Self::Outage => "outage",
            Self::Fault => "fault",
            Self::Slow => "slow",
            Self::Quota => "quota",
            Self::Unfair => "unfair",
            Self::Died => "died",
        }
    }
}

const EXAMPLES_MAX: usize = 8;

#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    counts: BTreeMap<Kind, u64>,
    examples: BTreeMap<Kind, Vec<String>>,
}

impl Findings {
    pub(crate) fn add(&mut self, kind: Kind, words: impl FnOnce() -> String) {
        *self.counts.entry(kind).or_default() += 1;
        let examples = self.examples.entry(kind).or_default();
        if examples.len() < EXAMPLES_MAX {
            examples.push(words());
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (kind, count) in other.counts {
            *self.counts.entry(kind).or_default() += count;
        }
        for (kind, words) in other.examples {
            let examples = self.examples.entry(kind).or_default();
            examples.extend(words);
            examples.truncate(EXAMPLES_MAX);
        }
    }

    /// Each example begins with `label`.
    pub(crate) fn labelled(mut self, label: &str) -> Self {
        for words in self.examples.values_mut().flatten() {
            words.insert_str(0, label);
        }
        self
    }

    pub(crate) fn count(&self, kind: Kind) -> u64 {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    pub(crate) fn kinds(&self) -> impl Iterator<Item = (Kind, u64)> + '_ {
        self.counts.iter().map(|(kind, count)| (*kind, *count))
    }

    pub(crate) fn examples(&self) -> impl Iterator<Item = (Kind, &String)> {
        self.examples
            .iter()
            .flat_map(|(kind, words)| words.iter().map(|words| (*kind, words)))
    }
}
