//! Trials that need disks of their own. Where none can be made (no root, no loop devices), that
//! is what must be said, with exit code 3, and nothing else is tried.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::Trial;

const POWER: [&str; 7] = [
    "power",
    "--connections",
    "8",
    "--up-ms-max",
    "200",
    "--mib",
    "64",
];
const FULL: [&str; 9] = [
    "full",
    "--connections",
    "8",
    "--mib",
    "64",
    "--left-mib",
    "2",
    "--well-s",
    "3",
];

/// A command's arguments, those after them, exit code, and what must be said.
type Case = (
    &'static [&'static str],
    &'static [&'static str],
    i32,
    &'static str,
);

const POWER_AND_HELD: &[Case] = &[
    (&POWER, &["--cuts", "2"], 0, "lost 0"),
    (&POWER, &["--mutant", "skip-sync"], 1, "lost: cut 1"),
    (&POWER, &["--mutant", "ack-before-write"], 1, "lost: cut 1"),
    (&POWER, &["--connections", "0"], 1, "proves nothing"),
    (&FULL, &["--held"], 0, "507 names a task: 3"),
    (&FULL, &["--held", "--set", "FULL=mute"], 1, "no 507 names"),
    (
        &FULL,
        &["--held", "--set", "FULL=forgets"],
        1,
        "jepsen: 410 behind 0",
    ),
];

const SPELLS: &[Case] = &[
    (&FULL, &[], 0, "spells without room: 3"),
    (&FULL, &["--set", "FULL=dies"], 1, "died 1"),
    (&FULL, &["--set", "FULL=lies"], 1, "lost: GET"),
    (&FULL, &["--set", "FULL=sticks"], 1, "and nothing is taken"),
    (
        &FULL,
        &["--set", "FULL=mute"],
        1,
        "neither /readyz nor a metric",
    ),
    (&FULL, &["--set", "FULL=forgets"], 0, ", by 410"),
    (&FULL, &["--set", "FULL=oversteps"], 1, "lost: GET"),
    (&FULL, &["--set", "FULL=drops"], 1, "lost: sheet"),
];

/// How many failed.
pub(crate) fn power(trial: &Trial<'_>) -> u32 {
    if !are_possible(trial) {
        return 0;
    }
    all(trial, POWER_AND_HELD) + interrupted(trial)
}

/// The same, where the disk fills up.
pub(crate) fn full(trial: &Trial<'_>) -> u32 {
    if !are_possible(trial) {
        return 0;
    }
    all(trial, SPELLS)
}

fn are_possible(trial: &Trial<'_>) -> bool {
    let output = trial.command(&["power", "--cuts", "0"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let is_refused = said.contains("disks cannot be made here") && output.status.code() == Some(3);
    if is_refused {
        println!("jepsen power, full ... ok, as far as can be seen here: {said}");
    }
    !is_refused
}

fn all(trial: &Trial<'_>, cases: &[Case]) -> u32 {
    let mut failed = 0;
    for (command, more, code, words) in cases {
        // Said twice it would be an error.
        let mut args = command.to_vec();
        if let Some(place) = args.iter().position(|arg| more.first() == Some(arg)) {
            args.drain(place..place + 2);
        }
        args.extend(*more);
        failed += u32::from(!trial.run(&args, *code, words));
        failed += left(trial);
    }
    failed
}

/// Ctrl-C in the middle of a cut: it ends soon, and nothing is left behind.
fn interrupted(trial: &Trial<'_>) -> u32 {
    let mut args = POWER.to_vec();
    args.extend(["--cuts", "1000"]);
    let mut child = trial.command(&args).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.find(|line| line.as_ref().unwrap().contains("cut 2/"));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let rest = lines.map(Result::unwrap).collect::<Vec<_>>().join("\n");
    let status = child.wait().unwrap();
    let is_fit = status.code() == Some(3) && rest.contains("interrupted");
    let verdict = if is_fit { "ok" } else { "FAILED" };
    println!("jepsen power, interrupted ... {verdict} ({status}: {rest})");
    u32::from(!is_fit) + left(trial)
}

/// Mounts, loop devices and directories that should have gone.
fn left(trial: &Trial<'_>) -> u32 {
    let sites = trial.sites.to_str().unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let mounts = mounts.lines().filter(|line| line.contains(sites));
    let loops = Command::new("losetup").arg("-a").output().unwrap().stdout;
    let loops = String::from_utf8_lossy(&loops).into_owned();
    let loops = loops.lines().filter(|line| line.contains(sites));
    let sites = std::fs::read_dir(trial.sites).unwrap();
    let sites = sites.map(|site| site.unwrap().path().display().to_string());
    let sites = sites.collect::<Vec<_>>();
    let sites = sites.iter().map(String::as_str);
    let left = mounts.chain(loops).chain(sites).collect::<Vec<_>>();
    if !left.is_empty() {
        println!("left behind: {left:?}");
    }
    u32::from(!left.is_empty())
}
