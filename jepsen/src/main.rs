//! `jepsen`: breaks the product on purpose and checks what it promised.
//!
//! It knows the product as a user does: a process, HTTP, files. It shares no code with it, so
//! that it cannot share a bug. The rooms, in the order in which a run passes them: `process`
//! starts and kills, `client` talks, `workload` drives, `history` remembers, `reader`
//! looks, `checker` judges, `report` tells.

mod args;
mod checker;
mod client;
mod dice;
mod form;
mod history;
mod nemesis;
mod net;
mod process;
mod reader;
mod report;
mod say;
mod workload;

use std::process::ExitCode;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use args::{Cli, Command, Common};
use report::Report;
use workload::mutants::Which;
use workload::{
    Options, clash, clock, cluster, crash, crowd, full, hostile, kafka, lines, load, mirrors,
    mutants, posts, power, restart, retire, rows, sheets, synced,
};

const BROKEN: u8 = 1;
const NOT_DONE: u8 = 3;

fn main() -> ExitCode {
    let Cli { command, common } = Cli::parse();
    // Before there are threads: each is in the network of the one that starts it.
    let left = if command.needs_net() {
        net::leave()
    } else {
        Ok(())
    };
    let made = left.and_then(|()| Ok(tokio::runtime::Runtime::new()?));
    match made {
        Ok(runtime) => runtime.block_on(whole(command, common)),
        Err(error) => {
            common
                .say()
                .progress(&format!("the test could not be done: {error:#}"));
            ExitCode::from(NOT_DONE)
        }
    }
}

async fn whole(command: Command, common: Common) -> ExitCode {
    let say = common.say();
    // What is dropped unfinished ends its products and unmounts its disks.
    let result = tokio::select! {
        result = Box::pin(run(command, &common)) => result,
        signal = interrupted() => signal,
    };
    match result {
        Ok(report) => {
            let words = if say.is_json {
                report.json().to_string()
            } else {
                report.words()
            };
            say::Say::last(&words);
            if report.is_pass() {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(BROKEN)
            }
        }
        Err(error) => {
            say.progress(&format!("the test could not be done: {error:#}"));
            ExitCode::from(NOT_DONE)
        }
    }
}

/// Ctrl-C, or `SIGTERM`.
async fn interrupted() -> anyhow::Result<Report> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    anyhow::bail!("interrupted")
}

async fn run(command: Command, common: &Common) -> anyhow::Result<Report> {
    let options = common.options()?;
    let result = Box::pin(drive(command, &options)).await;
    workload::told("the run", options.seed, result)
}

async fn drive(command: Command, options: &Options) -> anyhow::Result<Report> {
    match command {
        Command::Crash {
            kills,
            connections,
            up_ms_max,
            posts_max,
        } => {
            let plan = crash::Plan {
                kills,
                connections,
                up_ms_max,
                posts_max,
            };
            crash::run(options, plan).await
        }
        Command::Cluster(plan) => Box::pin(cluster::run(options, &plan)).await,
        Command::Sheets(plan) => Box::pin(sheets::run(options, &plan)).await,
        Command::Mirrors(plan) => Box::pin(mirrors::run(options, &plan)).await,
        Command::Crowd(plan) => Box::pin(crowd::run(options, &plan)).await,
        Command::Rows(plan) => Box::pin(rows::run(options, &plan)).await,
        Command::Kafka(plan) => Box::pin(kafka::run(options, &plan)).await,
        Command::Power(plan) => power::run(options, plan).await,
        Command::Full(plan) => full::run(options, plan).await,
        Command::Restart(plan) => restart::run(options, plan).await,
        Command::Once { count } => posts::run(options, count).await,
        Command::Clash { count } => clash::run(options, count).await,
        Command::Retire { before } => retire::run(options, before).await,
        Command::Lines { count } => lines::run(options, count).await,
        Command::Clock { count } => clock::run(options, count).await,
        Command::Hostile { idle, rss_max_mib } => {
            hostile::run(options, hostile::Plan { idle, rss_max_mib }).await
        }
        Command::Synced { count } => synced::run(options, count).await,
        Command::Load {
            connections,
            count,
            rss_max_mib,
        } => {
            load::run(
                options,
                load::Plan {
                    connections,
                    count,
                    rss_max_mib,
                },
            )
            .await
        }
        Command::Mutants {
            three: _,
            all,
            kafka,
            sheets,
            mirrors,
            name,
        } => {
            let chosen = [
                (all, Which::All),
                (kafka, Which::Kafka),
                (sheets, Which::Sheets),
                (mirrors, Which::Mirrors),
            ];
            let which = Command::which(chosen, name);
            mutants::run(options, &which).await
        }
    }
}
