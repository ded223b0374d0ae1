//! Broken products: each mutant must be caught, by the checker that is meant to catch it.
//!
//! Proves: the checkers see what they claim to see, in the real product. A binary without
//! a mutant must pass the same workloads first, so that nothing is "caught" that is always
//! there.

mod list;

use tokio::time::Instant;

use crate::process::disk::must_be_possible;
use crate::report::Report;
use crate::workload::kafka::lab::Lab;
use crate::workload::{
    Options, clash, crash, crowd, forget, kafka, mirrors, posts, power, sheets, synced, told,
};
use list::{ALL, Mutant, Short};

/// One of the log, one of the state, one of the sheet.
const THREE: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Three,
    /// But those of Kafka, of Google Sheets and of both at once.
    All,
    Kafka,
    Sheets,
    /// Again, where everything is hurt at once.
    Mirrors,
    One(String),
}

pub(crate) async fn run(options: &Options, which: &Which) -> anyhow::Result<Report> {
    let chosen = ALL
        .iter()
        .enumerate()
        .filter(|(place, mutant)| match which {
            Which::Three => *place < THREE,
            Which::All => mutant.needs_no_other(),
            Which::Sheets => mutant.needs_sheets(),
            Which::Mirrors => mutant.needs_mirrors(),
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
            report.also(mutant.title(), by);
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

pub(crate) fn names() -> String {
    ALL.iter()
        .filter(|mutant| !mutant.needs_a_disk() && !mutant.needs_mirrors())
        .map(|mutant| mutant.name)
        .collect::<Vec<_>>()
        .join(", ")
}

impl Short {
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
            Self::Crowd => Box::pin(crowd::run(options, &crowd::Plan::short())).await,
            Self::Mirrors(round) => {
                let plan = mirrors::Plan::short(round);
                Box::pin(mirrors::run(options, &plan)).await
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
