//! Sessions: one a sender, so that a pack that is sent again is not taken again.
//!
//! Holds: the packs of one boot are taken in the order of their numbers, each once; the outcomes
//! of the last [`OUTCOMES_KEPT`] are kept and given again. A newer boot ends the older one for
//! good. A sender has fewer packs under way than are kept, so an honest one always finds its own.

use serde::{Deserialize, Serialize};

use super::overlay::get_pieces;
use super::{Apply, State, keys, view};
use crate::codec;
use crate::command::Sender;
use crate::error::Error;
use crate::ids::{Index, NodeId, Seq};
use crate::outcome::{Outcome, PackOutcome, SlotOutcome, Terms};
use crate::rows::Read;
use crate::wal::{EntryKind, Wal};

/// Twice what a sender has under way.
const OUTCOMES_KEPT: usize = 8;
/// How much of the log a look for boots holds in memory.
const READ_BYTES_MAX: usize = 4 << 20;

/// A session's row.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Session {
    boot: u64,
    /// The last pack that was taken.
    last: u64,
    /// How long each kept outcome is, by number modulo [`OUTCOMES_KEPT`]; 0: none.
    lens: [u32; OUTCOMES_KEPT],
}

/// A pack's outcome as it is kept: neighbours that are alike share an item.
#[derive(Serialize, Deserialize)]
struct Kept {
    index: Index,
    terms: Terms,
    items: Vec<Item>,
}

#[derive(Serialize, Deserialize)]
enum Item {
    /// So many accepted, with seqs one after the other.
    Accepted { first: Seq, count: u32 },
    /// The same answer to so many.
    Same { answer: SlotOutcome, count: u32 },
}

/// Whose turn it is.
pub(super) enum Turn {
    /// The pack is the sender's next.
    Next,
    /// It was taken before, or comes out of turn: this is the answer.
    Answered(Outcome),
}

impl Apply<'_> {
    /// Whether this pack is to be taken now.
    pub(super) fn turn(&mut self, sender: Sender, number: u64) -> Result<Turn, Error> {
        let session = self.session(sender.node)?;
        if sender.boot < session.boot {
            return Ok(Turn::Answered(Outcome::OutOfTurn { expected: None }));
        }
        let last = if sender.boot == session.boot {
            session.last
        } else {
            0
        };
        if number == last + 1 {
            return Ok(Turn::Next);
        }
        let is_kept = number > 0 && number <= last && last - number < OUTCOMES_KEPT as u64;
        let len = if is_kept {
            session.lens.get(ring(number)).copied().unwrap_or(0)
        } else {
            0
        };
        if len == 0 {
            return Ok(Turn::Answered(Outcome::OutOfTurn {
                expected: Some(last + 1),
            }));
        }
        let prefix = keys::outcome(sender.node, ring_byte(number));
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let bytes = get_pieces(|key| self.over.get(key), &prefix, len)?;
        let kept: Kept = codec::decode_row("an outcome", &bytes)?;
        Ok(Turn::Answered(Outcome::Pack(kept.unfold())))
    }

    /// The pack was taken: keeps its outcome in place of the oldest one.
    pub(super) fn taken(
        &mut self,
        sender: Sender,
        number: u64,
        outcome: &PackOutcome,
    ) -> Result<(), Error> {
        let mut session = self.session(sender.node)?;
        if session.boot < sender.boot {
            self.forget_outcomes(sender.node, &session)?;
            session = Session {
                boot: sender.boot,
                ..Session::default()
            };
        }
        let bytes = codec::encode_row(&Kept::fold(outcome));
        let prefix = keys::outcome(sender.node, ring_byte(number));
        if let Some(len) = session.lens.get_mut(ring(number)) {
            self.over
                .put_pieces(&prefix, &bytes, usize::try_from(*len).unwrap_or(usize::MAX))?;
            *len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        }
        session.last = number;
        self.over.store(keys::session(sender.node), &session)
    }

    /// Forgets all of a node's packs.
    pub(super) fn end_session(&mut self, node: NodeId) -> Result<Outcome, Error> {
        let session = self.session(node)?;
        self.forget_outcomes(node, &session)?;
        let was_there = self.over.remove(keys::session(node))?;
        Ok(if was_there {
            Outcome::Done
        } else {
            Outcome::Missing
        })
    }

    fn session(&mut self, node: NodeId) -> Result<Session, Error> {
        Ok(self
            .over
            .load(&keys::session(node), "a session")?
            .unwrap_or_default())
    }

    fn forget_outcomes(&mut self, node: NodeId, session: &Session) -> Result<(), Error> {
        for (ring, len) in (0..).zip(session.lens) {
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            self.over.put_pieces(&keys::outcome(node, ring), &[], len)?;
        }
        Ok(())
    }
}

impl State {
    /// The newest boot of `node` that took part in the log: its session's, or that of a pack in the
    /// log that is not applied here yet. 0: none. A new life needs a greater one, or its packs would
    /// be answered with the outcomes of another life's.
    pub fn last_boot(&self, wal: &Wal, node: NodeId) -> Result<u64, Error> {
        let mut last = self.view().session_boot(node)?.unwrap_or(0);
        let end = wal.last().map_or(Index(0), |last| last.index).next();
        let mut next = self.applied().map_or(Index(1), |id| id.index.next());
        next = next.max(wal.first().unwrap_or(end));
        while next < end {
            let entries = wal.read(next..end, READ_BYTES_MAX)?;
            if entries.is_empty() {
                let what = "the log ends before the last entry that it says it holds";
                return Err(Error::Unfit { what });
            }
            for entry in entries {
                next = entry.id.index.next();
                if entry.kind == EntryKind::Command
                    && let Some(sender) = codec::sender(&entry.payload)
                    && sender.node == node
                {
                    last = last.max(sender.boot);
                }
            }
        }
        Ok(last)
    }
}

/// The boot that a node's session belongs to.
pub(super) fn boot(rows: &dyn Read, node: NodeId) -> Result<Option<u64>, Error> {
    let session: Option<Session> = view::load(rows, &keys::session(node), "a session")?;
    Ok(session.map(|session| session.boot))
}

fn ring(number: u64) -> usize {
    usize::from(ring_byte(number))
}

fn ring_byte(number: u64) -> u8 {
    u8::try_from(number % OUTCOMES_KEPT as u64).unwrap_or(0)
}

impl Kept {
    fn fold(outcome: &PackOutcome) -> Self {
        let mut items: Vec<Item> = Vec::new();
        for answer in &outcome.slots {
            let is_folded = match (items.last_mut(), answer) {
                (Some(Item::Accepted { first, count }), SlotOutcome::Accepted { seq })
                    if first.0 + u64::from(*count) == seq.0 =>
                {
                    *count += 1;
                    true
                }
                (
                    Some(Item::Same {
                        answer: last,
                        count,
                    }),
                    answer,
                ) if last == answer => {
                    *count += 1;
                    true
                }
                _ => false,
            };
            if is_folded {
                continue;
            }
            items.push(match answer {
                SlotOutcome::Accepted { seq } => Item::Accepted {
                    first: *seq,
                    count: 1,
                },
                answer @ (SlotOutcome::Withheld
                | SlotOutcome::Duplicate(_)
                | SlotOutcome::KeyReused
                | SlotOutcome::FormRetired
                | SlotOutcome::FormUnknown
                | SlotOutcome::KeysFull) => Item::Same {
                    answer: answer.clone(),
                    count: 1,
                },
            });
        }
        Self {
            index: outcome.index,
            terms: outcome.terms,
            items,
        }
    }

    fn unfold(self) -> PackOutcome {
        let mut slots = Vec::new();
        for item in self.items {
            match item {
                Item::Accepted { first, count } => {
                    let seqs = (0..u64::from(count)).map(|nth| Seq(first.0 + nth));
                    slots.extend(seqs.map(|seq| SlotOutcome::Accepted { seq }));
                }
                Item::Same { answer, count } => slots.extend((0..count).map(|_| answer.clone())),
            }
        }
        PackOutcome {
            index: self.index,
            terms: self.terms,
            slots,
        }
    }
}
