//! Facts of the cluster as a whole: level, policy, tokens, members.
//!
//! Holds: the level only grows. A level that this build cannot run is an error, which stops
//! the node before it could answer by other rules than its peers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::overlay::get_pieces;
use super::rules::LEVEL_MAX;
use super::{Apply, forms, keys};
use crate::command::{Policy, SetLevel, SetToken};
use crate::error::Error;
use crate::ids::LogId;
use crate::outcome::Outcome;
use crate::rows::Read;

/// The head of the membership's rows.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Members {
    id: LogId,
    len: u64,
}

impl Apply<'_> {
    pub(super) fn set_level(&mut self, command: &SetLevel) -> Result<Outcome, Error> {
        if command.level > LEVEL_MAX {
            return Err(Error::UnknownLevel {
                level: command.level,
                known: LEVEL_MAX,
            });
        }
        let level: u32 = self
            .over
            .load(&keys::fact_level(), "the level")?
            .unwrap_or(1);
        if command.level > level {
            self.over.store(keys::fact_level(), &command.level)?;
        }
        Ok(Outcome::Done)
    }

    pub(super) fn set_policy(&mut self, policy: Policy) -> Result<Outcome, Error> {
        self.over.store(keys::fact_policy(), &policy)?;
        Ok(Outcome::Done)
    }

    pub(super) fn set_token(&mut self, command: &SetToken) -> Result<Outcome, Error> {
        if command.name.is_empty() || command.name.len() > forms::NAME_BYTES_MAX {
            return Ok(Outcome::Missing);
        }
        let key = keys::token(&command.name);
        let present = self.over.load::<[u8; 32]>(&key, "a token")?;
        if command.only_if_absent && present.is_some_and(|hash| hash != command.hash) {
            return Ok(Outcome::Conflict { version: 1 });
        }
        self.over.store(key, &command.hash)?;
        Ok(Outcome::Done)
    }

    pub(super) fn set_members(&mut self, id: LogId, payload: &[u8]) -> Result<(), Error> {
        let old = self
            .over
            .load::<Members>(&keys::membership_head(), "the members")?;
        let old_len = old.map_or(0, |old| usize::try_from(old.len).unwrap_or(usize::MAX));
        self.over
            .put_pieces(&keys::membership_pieces(), payload, old_len)?;
        self.over.store(
            keys::membership_head(),
            &Members {
                id,
                len: payload.len() as u64,
            },
        )
    }
}

/// The last membership applied, as the room above wrote it.
pub(crate) fn members(rows: &dyn Read) -> Result<Option<(LogId, Bytes)>, Error> {
    let Some(head) = super::view::load::<Members>(rows, &keys::membership_head(), "the members")?
    else {
        return Ok(None);
    };
    let len = usize::try_from(head.len).unwrap_or(usize::MAX);
    let bytes = get_pieces(|key| rows.get(key), &keys::membership_pieces(), len)?;
    Ok(Some((head.id, bytes)))
}
