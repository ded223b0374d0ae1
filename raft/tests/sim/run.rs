//! One seed, many seeds, and seeds against broken builds.

use std::cell::RefCell;
use std::fmt;
use std::io::Write as _;
use std::ops::Range;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use storage::simulation::simulate;
use tokio::runtime::Builder;

use crate::dice::Dice;
use crate::driver::{Paces, drive};
use crate::faults;
use crate::trace::Trace;
use crate::world::{PLACES, World};

/// Seeds that run twice.
const TWICE_EVERY: u64 = 10;
/// No seed takes so long, in virtual time.
const PLAY_MAX: Duration = Duration::from_mins(30);
/// Nor in real time: it hangs.
const REAL_MAX: Duration = Duration::from_mins(3);
/// Every way to be wrong is found within so many seeds.
const MUTANT_SEEDS: u64 = 50;

pub struct Report {
    sum: u64,
    wrong: Vec<String>,
    last_lines: Vec<String>,
    virtual_time: Duration,
    acked: usize,
}

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// A panic in a task is the end of that task alone; here it is the end of the seed.
pub fn note_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
        let _ = &before;
    }));
}

fn say(what: fmt::Arguments<'_>) {
    drop(writeln!(std::io::stdout(), "{what}"));
}

/// One seed, on a thread of its own.
fn run(seed: u64, is_loud: bool, repacks: bool) -> Report {
    let (told, heard) = sync_channel(1);
    let thread = std::thread::Builder::new().name(format!("seed-{seed}"));
    let work = move || drop(told.send(simulation(seed, is_loud, repacks)));
    let thread = thread.spawn(work).unwrap();
    let Ok(report) = heard.recv_timeout(REAL_MAX) else {
        return Report {
            sum: 0,
            wrong: vec!["it hangs, or panicked".to_owned()],
            last_lines: Vec::new(),
            virtual_time: Duration::ZERO,
            acked: 0,
        };
    };
    thread.join().unwrap();
    report
}

fn simulation(seed: u64, is_loud: bool, repacks: bool) -> Report {
    let mut dice = Dice::new(seed);
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let entered = runtime.enter();
    let trace = Trace::new(is_loud);
    let paces = Paces::new(&mut dice, PLACES);
    let tasks = tokio_util::task::TaskTracker::new();
    let simulation = {
        let (trace, paces) = (trace.clone(), paces.clone());
        let drive = move |stepper| drop(tasks.spawn(drive(stepper, paces.clone(), trace.clone())));
        simulate(dice.next(), Box::new(drive))
    };
    let world = World::new(dice.fork(), trace.clone(), paces, repacks);
    let ledger = world.ledger.clone();
    runtime.block_on(async {
        let play = faults::play(&world, dice.fork());
        if tokio::time::timeout(PLAY_MAX, play).await.is_err() {
            ledger.wrong("it does not end".to_owned());
        }
    });
    let (sum, virtual_time) = (trace.sum(), trace.elapsed());
    drop((world, entered));
    drop(runtime);
    drop(simulation);
    let mut wrong = ledger.all_wrong();
    wrong.extend(PANICS.take());
    let acked = ledger.lock().acked.len();
    Report {
        sum,
        wrong,
        last_lines: trace.last_lines(),
        virtual_time,
        acked,
    }
}

/// What the nodes themselves say, too.
pub fn log(filter: &str) {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .without_time()
        .with_ansi(false)
        .init();
}

/// One, told line by line.
pub fn show(seed: u64, mutant: Option<&str>) -> bool {
    let is_wrong = mutant.is_none_or(pick);
    assert!(is_wrong, "no such mutant in this build");
    let report = run(seed, true, mutant == Some(REPACK));
    say(format_args!(
        "seed {seed}: trace {:016x}, {:.1} s, {} acknowledged",
        report.sum,
        report.virtual_time.as_secs_f64(),
        report.acked
    ));
    for what in &report.wrong {
        say(format_args!("seed {seed}: {what}"));
    }
    report.wrong.is_empty()
}

/// All of a range; every so manieth twice.
pub fn all(seeds: Range<u64>) -> bool {
    let start = Instant::now();
    let mut failed = Vec::new();
    let (mut count, mut acked, mut virtual_time) = (0, 0, Duration::ZERO);
    let once = |seed: u64| {
        let mut report = run(seed, false, false);
        if seed.is_multiple_of(TWICE_EVERY) {
            let again = run(seed, false, false).sum;
            if again != report.sum {
                let sum = report.sum;
                report
                    .wrong
                    .push(format!("twice the same seed: {sum:016x} and {again:016x}"));
            }
        }
        report
    };
    each(seeds, once, |seed, report| {
        count += 1;
        acked += report.acked;
        virtual_time += report.virtual_time;
        if !report.wrong.is_empty() {
            failed.push(seed);
            tell(seed, &report);
        }
        true
    });
    failed.sort_unstable();
    say(format_args!(
        "sim: {count} seeds, {acked} submissions acknowledged, {:.0} s of virtual time in {:.1} s; failed: {failed:?}",
        virtual_time.as_secs_f64(),
        start.elapsed().as_secs_f64(),
    ));
    failed.is_empty()
}

fn tell(seed: u64, report: &Report) {
    say(format_args!("seed {seed} failed:"));
    for line in &report.last_lines {
        say(format_args!("    {line}"));
    }
    for what in &report.wrong {
        say(format_args!("  {what}"));
    }
}

/// Runs all on as many threads as there are; `heard` says whether to go on.
fn each(
    seeds: Range<u64>,
    once: impl Fn(u64) -> Report + Sync,
    mut heard: impl FnMut(u64, Report) -> bool,
) {
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(8));
    let (told, reports) = sync_channel(64);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (next, told, once, end) = (&next, told.clone(), &once, seeds.end);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if end <= seed || told.send((seed, once(seed))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(told);
        for (seed, report) in reports {
            if !heard(seed, report) {
                next.store(seeds.end, Ordering::Relaxed);
            }
        }
    });
}

/// Of the client here: what is unknown is packed anew, under a new number.
const REPACK: &str = "repack";
/// Of the log: nothing is synced; and "durable" is answered before anything is written.
const OF_STORAGE: [&str; 2] = ["skip-sync", "ack-before-write"];

/// Every way to be wrong, each in a process of its own; or one: which seed finds it.
pub fn mutants(name: Option<&str>) -> bool {
    let Some(name) = name else {
        let of_raft = raft::mutants::Mutant::ALL.map(raft::mutants::Mutant::name);
        let names = of_raft.into_iter().chain(OF_STORAGE).chain([REPACK]);
        let missed: Vec<_> = names.filter(|name| !is_found(name)).collect();
        say(format_args!("sim: mutants not found: {missed:?}"));
        return missed.is_empty();
    };
    if !pick(name) {
        say(format_args!(
            "sim: no mutant {name} in this build: --features mutants?"
        ));
        return false;
    }
    let mut found: Option<(u64, String)> = None;
    let once = |seed| run(seed, false, name == REPACK);
    each(1..MUTANT_SEEDS + 1, once, |seed, report| {
        if let Some(what) = report.wrong.first()
            && found.as_ref().is_none_or(|(before, _)| seed < *before)
        {
            found = Some((seed, what.clone()));
        }
        found.is_none()
    });
    match &found {
        Some((seed, what)) => say(format_args!("{name}: found by seed {seed}: {what}")),
        None => say(format_args!("{name}: NOT found by {MUTANT_SEEDS} seeds")),
    }
    found.is_some()
}

/// From here on this process is wrong in that way; false: this build knows none of that name.
fn pick(name: &str) -> bool {
    name == REPACK || raft::mutants::pick(name) || storage::mutants::pick(name).is_ok()
}

fn is_found(name: &str) -> bool {
    let own = std::env::current_exe().unwrap();
    let status = Command::new(own).args(["--mutants", name]).status();
    status.unwrap().success()
}
