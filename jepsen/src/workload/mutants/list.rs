//! The mutants: what each is called in the product, and which workload must catch it by which checker.

use crate::checker::findings::Kind;
use crate::workload::kafka::fault::Fault;

/// A workload short enough to be run once a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Short {
    Crash,
    Once,
    Clash,
    Synced,
    /// Where disks can be made.
    Power,
    /// At a real broker.
    Kafka(Fault),
    /// At the Google Sheets of the tests, with its switches.
    Sheets(&'static str, Option<&'static str>),
    /// Many forms on one credential.
    Crowd,
    /// Kafka and the Google Sheets of the tests at once, in one round.
    Mirrors(&'static str),
}

pub(super) struct Mutant {
    pub(super) name: &'static str,
    /// Tried one after the other until one catches it.
    pub(super) by: &'static [(Short, &'static [Kind])],
}

pub(super) const ALL: [Mutant; 31] = [
    Mutant {
        name: "skip-idempotency",
        by: &[(Short::Once, &[Kind::Doubled])],
    },
    Mutant {
        name: "skip-sync",
        by: &[(Short::Synced, &[Kind::Unsynced])],
    },
    Mutant {
        name: "csv-skip-cut",
        by: &[(
            Short::Crash,
            &[Kind::Phantom, Kind::Doubled, Kind::Altered, Kind::Lost],
        )],
    },
    Mutant {
        name: "ack-before-write",
        by: &[
            (Short::Crash, &[Kind::Lost]),
            (Short::Synced, &[Kind::Unsynced]),
        ],
    },
    Mutant {
        name: "seq-hole",
        by: &[(Short::Once, &[Kind::Hole])],
    },
    Mutant {
        name: "alter-body",
        by: &[(Short::Once, &[Kind::Altered])],
    },
    Mutant {
        name: "drop-slot",
        by: &[(Short::Once, &[Kind::Lost])],
    },
    Mutant {
        name: "show-refused",
        by: &[(Short::Clash, &[Kind::Phantom])],
    },
    Mutant {
        name: "csv-double",
        by: &[(Short::Once, &[Kind::Doubled])],
    },
    Mutant {
        name: "csv-drop-row",
        by: &[(Short::Once, &[Kind::Lost])],
    },
    Mutant {
        name: "csv-reorder",
        by: &[(Short::Once, &[Kind::Reordered])],
    },
    // Again, by what it does: the first shows only that the disk is not told.
    Mutant {
        name: "skip-sync",
        by: &[(Short::Power, &[Kind::Lost])],
    },
    Mutant {
        name: "cursor-not-reread",
        by: &[
            (Short::Kafka(Fault::ReplyLost), &[Kind::Doubled]),
            (Short::Kafka(Fault::NameGone), &[Kind::Doubled]),
        ],
    },
    Mutant {
        name: "cursor-before-fence",
        by: &[(Short::Kafka(Fault::Twin), &[Kind::Doubled])],
    },
    Mutant {
        name: "cursor-outside",
        by: &[(Short::Kafka(Fault::KillUnseen), &[Kind::Doubled])],
    },
    Mutant {
        name: "own-cursor",
        by: &[(Short::Kafka(Fault::KillUnseen), &[Kind::Doubled])],
    },
    Mutant {
        name: "shared-control",
        by: &[(
            Short::Kafka(Fault::TwoTasks),
            &[Kind::Doubled, Kind::Outage],
        )],
    },
    Mutant {
        name: "park-late",
        by: &[(Short::Kafka(Fault::Poison), &[Kind::Lost])],
    },
    Mutant {
        name: "seek-same-life",
        by: &[(Short::Kafka(Fault::Seek), &[Kind::Lost])],
    },
    Mutant {
        name: "task-reborn",
        by: &[(Short::Kafka(Fault::Reborn), &[Kind::Lost])],
    },
    Mutant {
        name: "sheets-no-cas",
        by: &[(Short::Sheets("overdue", None), &[Kind::Doubled])],
    },
    Mutant {
        name: "sheets-two-calls",
        by: &[(Short::Sheets("reply-lost", None), &[Kind::Doubled])],
    },
    Mutant {
        name: "sheets-blind-retry",
        by: &[(Short::Sheets("reply-lost", None), &[Kind::Doubled])],
    },
    Mutant {
        name: "sheets-no-wait",
        by: &[(Short::Sheets("under-way", MERGING), &[Kind::Doubled])],
    },
    Mutant {
        name: "sheets-no-guard",
        by: &[(Short::Sheets("people", None), &[Kind::Altered])],
    },
    Mutant {
        name: "sheets-unfair",
        by: &[(Short::Crowd, &[Kind::Unfair])],
    },
    Mutant {
        name: "sheets-over-quota",
        by: &[(Short::Crowd, &[Kind::Quota])],
    },
    // Again, while everything is hurt at once.
    Mutant {
        name: "own-cursor",
        by: &[(Short::Mirrors("leader-killed"), &[Kind::Doubled])],
    },
    Mutant {
        name: "cursor-outside",
        by: &[(Short::Mirrors("leader-killed"), &[Kind::Doubled])],
    },
    Mutant {
        name: "sheets-two-calls",
        by: &[(Short::Mirrors("leader-killed"), &[Kind::Doubled])],
    },
    Mutant {
        name: "sheets-blind-retry",
        by: &[(Short::Mirrors("leader-killed"), &[Kind::Doubled])],
    },
];
/// Two requests in one moment do not see each other.
const MERGING: Option<&str> = Some(r#"{"overlap": "both"}"#);

impl Mutant {
    pub(super) fn needs_a_disk(&self) -> bool {
        self.by.iter().all(|(short, _)| *short == Short::Power)
    }

    pub(super) fn needs_kafka(&self) -> bool {
        let mut by = self.by.iter();
        by.all(|(short, _)| matches!(short, Short::Kafka(_)))
    }

    pub(super) fn needs_sheets(&self) -> bool {
        let mut by = self.by.iter();
        by.all(|(short, _)| matches!(short, Short::Sheets(..) | Short::Crowd))
    }

    pub(super) fn needs_mirrors(&self) -> bool {
        let mut by = self.by.iter();
        by.all(|(short, _)| matches!(short, Short::Mirrors(_)))
    }

    /// Neither brokers nor a Google Sheets.
    pub(super) fn needs_no_other(&self) -> bool {
        !self.needs_kafka() && !self.needs_sheets() && !self.needs_mirrors()
    }

    /// Some are tried twice.
    pub(super) fn title(&self) -> &'static str {
        if self.needs_a_disk() {
            "skip-sync by a power cut"
        } else {
            self.name
        }
    }
}

impl Short {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Once => "once",
            Self::Clash => "clash",
            Self::Synced => "synced",
            Self::Power => "power",
            Self::Kafka(fault) => fault.name(),
            Self::Sheets(fault, _) => fault,
            Self::Crowd => "crowd",
            Self::Mirrors(round) => round,
        }
    }
}
