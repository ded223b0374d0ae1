//! Broken products: each mutant must be caught, by the checker that is meant to catch it.
//!
//! Proves: the checkers see what they claim to see, in the real product. A binary without
//! a mutant must pass the same workloads first, so that nothing is "caught" that is always
//! there.

use tokio::time::Instant;

use crate::checker::findings::Kind;
use crate::process::disk::must_be_possible;
use crate::report::Report;
use crate::workload::kafka::fault::Fault;
use crate::workload::kafka::lab::Lab;
use crate::workload::{Options, clash, crash, forget, kafka, posts, power, sheets, synced, told};

/// A workload short enough to be run once a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Short {
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
}

struct Mutant {
    name: &'static str,
    /// Tried one after the other until one catches it.
    by: &'static [(Short, &'static [Kind])],
}

const ALL: [Mutant; 25] = [
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
];
/// Two requests in one moment do not see each other.
const MERGING: Option<&str> = Some(r#"{"overlap": "both"}"#);
/// One of the log, one of the state, one of the sheet.
const THREE: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Three,
    /// But those of Kafka and of Google Sheets.
    All,
    Kafka,
    Sheets,
    One(String),
}

pub(crate) async fn run(options: &Options, which: &Which) -> anyhow::Result<Report> {
    let chosen = ALL
        .iter()
        .enumerate()
        .filter(|(place, mutant)| match which {
            Which::Three => *place < THREE,
            Which::All => !mutant.needs_kafka() && !mutant.needs_sheets(),
            Which::Sheets => mutant.needs_sheets(),
            Which::Kafka => mutant.needs_kafka(),
            Which::One(name) => mutant.name == name,
        });
    let mut chosen = chosen.map(|(_, mutant)| mutant).collect::<Vec<_>>();
    if let Err(why) = must_be_possible(&options.parent) {
        options
            .say
            .progress(&format!("mutants: none is tried in power: {why:#}"));
        chosen.retain(|mutant| !mutant.needs_a_disk());
    }
    anyhow::ensure!(!chosen.is_empty(), "no such mutant; there are: {}", names());
    let mut report = Report::new("mutants", options.seed);
    let mut control = Vec::new();
    for (short, _) in chosen.iter().flat_map(|mutant| mutant.by) {
        if !control.contains(short) {
            control.push(*short);
        }
    }
    let mut lab = None;
    for short in control {
        let sound = Options {
            mutant: None,
            ..options.clone()
        };
        let sound = Box::pin(short.run(&sound, &mut lab)).await?;
        anyhow::ensure!(
            sound.is_pass(),
            "without a mutant it fails too:\n{}",
            sound.words()
        );
    }
    let mut caught = 0;
    for mutant in &chosen {
        let started = Instant::now();
        let by = Box::pin(hunt(options, mutant, &mut lab)).await;
        let seconds = started.elapsed().as_secs();
        let words = match &by {
            Ok(by) => {
                caught += 1;
                format!("mutants: {} is caught: {by} after {seconds} s", mutant.name)
            }
            Err(why) => format!(
                "mutants: {} SURVIVES after {seconds} s: {why:#}",
                mutant.name
            ),
        };
        options.say.progress(&words);
        if let Err(why) = by {
            report
                .vacuous
                .push(format!("mutant {} survives: {why:#}", mutant.name));
        } else {
            let by = words.split_once("caught: ").map_or("", |(_, by)| by);
            report.fact(mutant.title(), by);
        }
    }
    report.demand("mutants caught", caught, u64::try_from(chosen.len())?);
    Ok(report)
}

/// Answers which checker caught it, in which workload.
async fn hunt(options: &Options, mutant: &Mutant, lab: &mut Option<Lab>) -> anyhow::Result<String> {
    let name = Some(mutant.name.to_owned());
    let options = Options {
        mutant: name,
        ..options.clone()
    };
    let mut seen = Vec::new();
    for (short, kinds) in mutant.by {
        let result = Box::pin(short.run(&options, lab)).await;
        let report = told(short.name(), options.seed, result)?;
        let found = report
            .findings
            .kinds()
            .map(|(kind, count)| format!("{} {count}", kind.name()));
        let found = found.collect::<Vec<_>>().join(", ");
        forget(&report)?;
        if let Some(kind) = kinds.iter().find(|kind| report.findings.count(**kind) > 0) {
            return Ok(format!("{} in {} ({found})", kind.name(), short.name()));
        }
        seen.push(format!("{}: [{found}]", short.name()));
    }
    anyhow::bail!("found only {}", seen.join("; "))
}

impl Mutant {
    fn needs_a_disk(&self) -> bool {
        self.by.iter().all(|(short, _)| *short == Short::Power)
    }

    fn needs_kafka(&self) -> bool {
        let mut by = self.by.iter();
        by.all(|(short, _)| matches!(short, Short::Kafka(_)))
    }

    fn needs_sheets(&self) -> bool {
        let mut by = self.by.iter();
        by.all(|(short, _)| matches!(short, Short::Sheets(..)))
    }

    /// One is tried twice.
    fn title(&self) -> &'static str {
        if self.needs_a_disk() {
            "skip-sync by a power cut"
        } else {
            self.name
        }
    }
}

pub(crate) fn names() -> String {
    ALL.iter()
        .filter(|mutant| !mutant.needs_a_disk())
        .map(|mutant| mutant.name)
        .collect::<Vec<_>>()
        .join(", ")
}

impl Short {
    fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Once => "once",
            Self::Clash => "clash",
            Self::Synced => "synced",
            Self::Power => "power",
            Self::Kafka(fault) => fault.name(),
            Self::Sheets(fault, _) => fault,
        }
    }

    /// Brokers that were started for one are there for the next.
    async fn run(self, options: &Options, lab: &mut Option<Lab>) -> anyhow::Result<Report> {
        match self {
            Self::Kafka(fault) => {
                let plan = kafka::Plan::short(fault);
                let lab = match lab {
                    Some(lab) => lab,
                    None => lab.insert(Lab::start(options, plan.lab(), None).await?),
                };
                Box::pin(kafka::drive(options, &plan, lab, None)).await
            }
            Self::Sheets(fault, switches) => {
                let plan = sheets::Plan::short(fault, switches);
                Box::pin(sheets::run(options, &plan)).await
            }
            Self::Crash => {
                let plan = crash::Plan {
                    kills: 5,
                    connections: 64,
                    up_ms_max: 400,
                    posts_max: 500,
                };
                Box::pin(crash::run(options, plan)).await
            }
            Self::Once => Box::pin(posts::run(options, 300)).await,
            Self::Clash => Box::pin(clash::run(options, 100)).await,
            Self::Synced => Box::pin(synced::run(options, 200)).await,
            Self::Power => {
                let plan = power::Plan {
                    cuts: 2,
                    connections: 32,
                    up_ms_max: 400,
                    mib: 512,
                };
                Box::pin(power::run(options, plan)).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, THREE};

    #[test]
    fn three_mutants_stand_for_the_log_the_state_and_the_sheet() {
        let names = ALL
            .iter()
            .take(THREE)
            .map(|mutant| mutant.name)
            .collect::<Vec<_>>();
        assert_eq!(names, ["skip-idempotency", "skip-sync", "csv-skip-cut"]);
    }

    #[test]
    fn the_readme_names_every_mutant_and_every_checker() {
        let readme = include_str!("../../README.md");
        for mutant in &ALL {
            assert!(
                readme.contains(&format!("`{}`", mutant.name)),
                "{}",
                mutant.name
            );
            for kind in mutant.by.iter().flat_map(|(_, kinds)| *kinds) {
                assert!(
                    readme.contains(&format!("`{}`", kind.name())),
                    "{}",
                    kind.name()
                );
            }
        }
    }
}
