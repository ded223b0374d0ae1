//! One entry being applied: the parts that its command may touch.
//!
//! Holds: this is all that a rule sees. The rules themselves stand in the file of their idea, each
//! as a method here.

use super::digests::Tally;
use super::expiry::{Clock, Oldest};
use super::overlay::{Changes, Overlay};
use super::rules::Rules;
use super::{State, keys};
use crate::codec::{self, Decoded};
use crate::command::Command;
use crate::error::Error;
use crate::ids::{Index, LogId};
use crate::outcome::{Outcome, Terms};
use crate::rows::Read;
use crate::wal::{Entry, EntryKind};

/// What a rule works with.
pub(crate) struct Apply<'a> {
    pub(super) over: Overlay<'a>,
    pub(super) index: Index,
    /// What a receipt of this entry says.
    pub(super) terms: Terms,
    pub(super) rules: Rules,
    pub(super) clock: Clock,
    pub(super) oldest: &'a mut Oldest,
    pub(super) has_new_definitions: bool,
    clock_before: Clock,
}

/// What is to be written.
pub(crate) struct Done {
    pub(super) changes: Changes,
    pub(super) tally: Tally,
    pub(super) has_new_definitions: bool,
    pub(super) clock: Clock,
}

impl<'a> Apply<'a> {
    pub(super) fn begin(
        state: &'a mut State,
        rows: &'a dyn Read,
        id: LogId,
    ) -> Result<Self, Error> {
        let applied = state.applied;
        let mut over = Overlay::new(rows, &mut state.hot, applied.tally);
        let clock: Clock = over
            .load(&keys::fact_clock(), "the clock")?
            .unwrap_or_default();
        let policy = over
            .load(&keys::fact_policy(), "the policy")?
            .unwrap_or_default();
        Ok(Self {
            over,
            index: id.index,
            terms: Terms {
                policy,
                voters: state.voters,
            },
            rules: state.rules,
            clock,
            oldest: &mut state.oldest,
            has_new_definitions: false,
            clock_before: clock,
        })
    }

    pub(super) fn entry(&mut self, entry: &Entry) -> Result<Outcome, Error> {
        match entry.kind {
            EntryKind::Blank => Ok(Outcome::Done),
            EntryKind::Membership => {
                self.set_members(entry.id, &entry.payload)?;
                Ok(Outcome::Done)
            }
            EntryKind::Command => match codec::decode_borrowed(&entry.payload)? {
                Decoded::Pack(pack) => self.submit(&pack),
                Decoded::Other(command) => self.command(&command),
            },
        }
    }

    fn command(&mut self, command: &Command) -> Result<Outcome, Error> {
        match command {
            Command::Submit(_) => unreachable!("a pack is decoded as one"),
            Command::DefineForm(command) => self.define_form(command),
            Command::RetireForm(command) => self.retire_form(command),
            Command::DefineTask(command) => self.define_task(command),
            Command::RetireTask(command) => self.retire_task(command),
            Command::Advance(command) => self.advance(command),
            Command::SendStarted(command) => self.send_started(command),
            Command::Park(command) => self.park(command),
            Command::Unpark(command) => self.unpark(command),
            Command::Release(command) => self.release(command),
            Command::SetTaskState(command) => self.set_task_state(command),
            Command::Tick(command) => self.tick(command.elapsed_ms).map(|()| Outcome::Done),
            Command::Horizon(command) => self.set_horizon(command),
            Command::SetLevel(command) => self.set_level(command),
            Command::SetPolicy(command) => self.set_policy(command.policy),
            Command::SetToken(command) => self.set_token(command),
            Command::EndSession(command) => self.end_session(command.node),
            Command::SeekTask(command) => self.seek_task(command),
        }
    }

    pub(super) fn end(mut self) -> Result<Done, Error> {
        if self.clock != self.clock_before {
            self.over.store(keys::fact_clock(), &self.clock)?;
        }
        let Self {
            over,
            clock,
            has_new_definitions,
            ..
        } = self;
        let (changes, tally) = over.into_parts();
        Ok(Done {
            changes,
            tally,
            has_new_definitions,
            clock,
        })
    }
}
