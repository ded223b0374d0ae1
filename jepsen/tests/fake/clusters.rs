//! Trials of several nodes: sound ones pass, and each way in which one can be wrong is found.

use crate::Trial;

const SHORT: [&str; 4] = ["--seconds-each", "1", "--connections", "8"];

/// Arguments after those above, exit code, and what must be said.
const TRIALS: &[(&[&str], i32, &str)] = &[
    (
        &[
            "--faults",
            "genesis,kill-leader,pause-follower,kill-all,rolling,wipe,clock",
        ],
        0,
        "lost 0  doubled 0",
    ),
    (
        &["--faults", "kill-follower", "--set", "FAKE=back"],
        1,
        "back: node",
    ),
    (
        &["--faults", "kill-follower", "--set", "FAKE=stale"],
        1,
        "stale: node",
    ),
    (
        &["--faults", "kill-follower", "--set", "FAKE=diverges"],
        1,
        "divergent: node",
    ),
    (
        &["--faults", "kill-follower", "--set", "FAKE=digest"],
        1,
        "digest of the rows",
    ),
    (
        &[
            "--faults",
            "kill-all",
            "--set",
            "FAKE=dawdles",
            "--served-within-s",
            "2",
        ],
        1,
        "outage: kill-all",
    ),
    (
        &["--faults", "kill-all", "--mutant", "ack-before-write"],
        1,
        "lost: node",
    ),
    (
        &["--faults", "kill-leader", "--connections", "0"],
        1,
        "proves nothing",
    ),
    (&["--faults", "isolate-leader"], 3, "need --net"),
];

/// The fake's nodes meet in a directory: what is cut between them cuts nothing.
const NET: (&[&str], i32, &str) = (
    &["--net", "--faults", "mute-follower"],
    1,
    "0 frames dropped by mute-follower",
);

/// How many failed.
pub(crate) fn trials(trial: &Trial<'_>) -> u32 {
    let mut failed = 0;
    for (more, code, words) in TRIALS {
        failed += u32::from(!trial.run(&args(more), *code, words));
    }
    let (more, code, words) = NET;
    let none = trial
        .command(&["cluster", "--net", "--nodes", "9"])
        .output();
    let said = String::from_utf8_lossy(&none.unwrap().stdout).into_owned();
    if said.contains("networks cannot be made here") {
        println!("jepsen cluster --net ... ok, as far as can be seen here: {said}");
        return failed;
    }
    failed + u32::from(!trial.run(&args(more), code, words))
}

/// Said twice it would be an error.
fn args<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["cluster"];
    for pair in SHORT.chunks(2) {
        if !more.contains(&pair[0]) {
            args.extend(pair);
        }
    }
    args.extend(more);
    args
}
