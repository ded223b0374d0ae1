//! What people are told of a lane's spreadsheet.

use serde_json::{Value, json};

use super::queue::Told;
use super::verdict::{State, remedy};
use crate::status::Notes;

/// The share of the workbook's cells at which people are warned, in percent.
const WARN_PERCENT: u64 = 70;
/// The share at which a sheet with a spare behind it is sealed.
pub(super) const ROLL_PERCENT: u64 = 90;

/// How full the workbook is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) cells: u64,
    pub(super) cells_max: u64,
    /// Columns of our tab: cells of one more row.
    pub(super) columns: u64,
}

impl Room {
    pub(super) fn percent(self) -> u64 {
        self.cells.saturating_mul(100) / self.cells_max.max(1)
    }

    fn told(self) -> Value {
        let left = self.cells_max.saturating_sub(self.cells) / self.columns.max(1);
        json!({
            "cells": self.cells,
            "cells_max": self.cells_max,
            "percent": self.percent(),
            "rows_left": left,
            "is_nearly_full": self.percent() >= WARN_PERCENT,
        })
    }
}

/// What is told at any time.
#[derive(Debug)]
pub(super) struct Board {
    notes: Notes,
    state: State,
    spreadsheet: String,
    room: Option<Room>,
    first_seq: Option<u64>,
    /// What went wrong and is not mended by going on.
    alarm: Option<String>,
}

impl Board {
    pub(super) fn new(notes: Notes, spreadsheet: &str) -> Self {
        Self {
            notes,
            state: State::Ok,
            spreadsheet: spreadsheet.to_owned(),
            room: None,
            first_seq: None,
            alarm: None,
        }
    }

    pub(super) fn state(&mut self, state: State) {
        self.state = state;
    }

    pub(super) fn place(&mut self, spreadsheet: &str) {
        spreadsheet.clone_into(&mut self.spreadsheet);
    }

    pub(super) fn room(&mut self, room: Room) {
        self.room = Some(room);
    }

    pub(super) fn first_seq(&mut self, seq: u64) {
        self.first_seq.get_or_insert(seq);
    }

    pub(super) fn alarm(&mut self, alarm: String) {
        self.alarm = Some(alarm);
    }

    /// Shows it.
    pub(super) fn show(&self, mail: &str, quota: Told) {
        let mut told = json!({
            "state": self.state.word(),
            "spreadsheet": self.spreadsheet,
            "url": format!("https://docs.google.com/spreadsheets/d/{}/edit", self.spreadsheet),
            "share_with": mail,
            "quota": {
                "writes_per_minute": quota.per_minute,
                "lanes_waiting": quota.waiting,
                "paused_ms": u64::try_from(quota.paused.as_millis()).unwrap_or(u64::MAX),
            },
        });
        let more = [
            ("what_to_do", Some(Value::from(remedy(self.state, mail)))),
            ("room", self.room.map(Room::told)),
            ("first_seq", self.first_seq.map(Value::from)),
            ("alarm", self.alarm.clone().map(Value::from)),
        ];
        if let Some(members) = told.as_object_mut() {
            for (name, value) in more {
                let is_empty = value.as_ref().is_none_or(|value| *value == "");
                if let (Some(value), false) = (value, is_empty) {
                    members.insert(name.to_owned(), value);
                }
            }
        }
        self.notes.set(told);
    }
}
