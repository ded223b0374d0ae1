//! The harness proved whole, before and without the real product: this test starts the `jepsen`
//! binary against a small fake that keeps the promises, and against the same fake broken in
//! each way that a mutant can be. The sound one must pass, each broken one must be caught.
//!
//! The test binary is the fake as well: called with a subcommand of the product it serves.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test; the fake is the whole world of its settings"
)]

mod brokers;
mod cluster;
mod clusters;
mod disks;
mod queue;
mod serve;

use std::path::Path;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let args = std::env::args().skip(1).collect::<Vec<_>>();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve"] => serve::run(),
        ["submissions", "export", form, ..] | ["tail", form, ..] => serve::print_all(form),
        ["--list", ..] => println!("trials: test"),
        _ => return trials(),
    }
    ExitCode::SUCCESS
}

/// Arguments, exit code, and what the last words must hold.
const TRIALS: &[(&[&str], i32, &str)] = &[
    (
        &[
            "crash",
            "--kills",
            "3",
            "--up-ms-max",
            "200",
            "--connections",
            "16",
        ],
        0,
        "lost 0",
    ),
    (
        &["once", "--count", "100"],
        0,
        "acked 100  found 100  lost 0  doubled 0",
    ),
    (&["clash", "--count", "40"], 0, "acked 40  found 40"),
    (&["retire", "--before", "50"], 0, "phantom 0"),
    (&["lines", "--count", "300"], 0, "lost 0  doubled 0"),
    (&["clock", "--count", "20"], 0, "acked 80  found 80"),
    (&["synced", "--count", "50"], 0, "acked 82  found 82"),
    (
        &["load", "--count", "500", "--connections", "8"],
        0,
        "acked 500  found 500",
    ),
    (
        &["mutants", "--all"],
        0,
        "skip-idempotency: doubled in once",
    ),
    // A product that takes everything is found out.
    (
        &["hostile", "--idle", "50", "--set", "HASTY=1"],
        1,
        "answers",
    ),
    (
        &[
            "load",
            "--count",
            "500",
            "--connections",
            "8",
            "--rss-max-mib",
            "1",
        ],
        1,
        "memory 1",
    ),
    (
        &["restart", "--warm", "--mib", "1", "--within-s", "20"],
        0,
        "acked 16000  found 16000",
    ),
    (
        &[
            "restart",
            "--warm",
            "--mib",
            "1",
            "--within-s",
            "1",
            "--set",
            "SLOW=1",
        ],
        1,
        "slow 2",
    ),
    (
        &[
            "restart",
            "--warm",
            "--mib",
            "1",
            "--mutant",
            "ack-before-write",
        ],
        1,
        "lost: 8000 were",
    ),
    (&["once", "--count", "100", "--set", "DIE=1"], 1, "died 1"),
    // A run that cannot show anything does not pass.
    (
        &["crash", "--kills", "1", "--connections", "0"],
        1,
        "proves nothing",
    ),
    // A mutant that the product does not have survives, and that is said.
    (&["mutants", "--three", "--set", "DEAF=1"], 1, "survives"),
    (&["mutants", "--name", "no-such"], 3, "no such mutant"),
    (&["once", "--binary", "/no/such/binary"], 3, "no binary"),
];

fn trials() -> ExitCode {
    let me = std::env::current_exe().unwrap();
    let deploy = tempfile::tempdir().unwrap();
    for kind in ["forms", "tasks"] {
        std::fs::create_dir_all(deploy.path().join(kind)).unwrap();
    }
    // All mostly wait, and none sees another's sites.
    let lanes: [fn(&Trial<'_>) -> u32; 4] = [several, clusters::trials, disks::power, disks::full];
    let failed: u32 = std::thread::scope(|scope| {
        let (me, deploy) = (&me, deploy.path());
        let lanes = lanes.map(|trials| scope.spawn(move || lane(me, deploy, trials)));
        lanes.into_iter().map(|lane| lane.join().unwrap()).sum()
    });
    ExitCode::from(u8::from(failed > 0))
}

fn several(trial: &Trial<'_>) -> u32 {
    let mut failed = 0;
    for (args, code, words) in TRIALS {
        failed += u32::from(!trial.run(args, *code, words));
    }
    failed + brokers::trials(trial)
}

/// Trials one after the other, in a directory of their own.
fn lane(me: &Path, deploy: &Path, trials: fn(&Trial<'_>) -> u32) -> u32 {
    // On the disk that the build is on: a temporary directory may be on none.
    let sites = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    trials(&Trial {
        me,
        deploy,
        sites: sites.path(),
    })
}

/// How `jepsen` is started against the fake.
struct Trial<'a> {
    me: &'a Path,
    deploy: &'a Path,
    sites: &'a Path,
}

impl Trial<'_> {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jepsen"));
        if !args.contains(&"--binary") {
            command.arg("--binary").arg(self.me);
        }
        command.arg("--deploy").arg(self.deploy);
        command.arg("--dir").arg(self.sites).args(args);
        command
    }

    /// Whether it ends with `code` and says `words`.
    fn run(&self, args: &[&str], code: i32, words: &str) -> bool {
        let started = std::time::Instant::now();
        let output = self.command(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let is_fit = output.status.code() == Some(code) && said.contains(words);
        let verdict = if is_fit { "ok" } else { "FAILED" };
        println!(
            "jepsen {} ... {verdict} ({:.1?})",
            args.join(" "),
            started.elapsed()
        );
        if !is_fit {
            println!(
                "expected exit code {code} and {words:?}, got {}:\n{said}",
                output.status
            );
        }
        clean(self.sites);
        is_fit
    }
}

/// Sites of runs that failed as they should.
fn clean(sites: &Path) {
    for entry in std::fs::read_dir(sites).unwrap() {
        std::fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
}
