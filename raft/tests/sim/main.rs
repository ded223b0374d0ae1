//! A cluster in one thread: time, disks, network and dice are one seed's.
//!
//! ```text
//! cargo test -p raft --test sim                     200 seeds, and some of them twice
//! cargo test -p raft --test sim -- --seed 7         one, told line by line
//! cargo test -p raft --test sim -- --seeds 100-300  others
//! cargo test -p raft --test sim --features mutants -- --mutants
//!                                                   all ways to be wrong: which seed finds each
//! ```
//! Holds: the same seed does the same, to the byte, on every machine.

#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test: nothing of it is anybody's API"
)]

mod client;
mod dice;
mod disk;
mod driver;
mod faults;
mod judge;
mod ledger;
mod net;
mod run;
mod trace;
mod world;

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    run::note_panics();
    let is_good = match args.as_slice() {
        ["--seed", seed] => run::show(seed.parse().unwrap(), None),
        ["--seed", seed, "--mutant", name] => run::show(seed.parse().unwrap(), Some(name)),
        ["--seed", seed, "--log", filter] => {
            run::log(filter);
            run::show(seed.parse().unwrap(), None)
        }
        ["--seeds", range] => {
            let (from, to) = range.split_once('-').unwrap();
            run::all(from.parse().unwrap()..to.parse().unwrap())
        }
        ["--mutants"] => run::mutants(None),
        ["--mutants", name] => run::mutants(Some(name)),
        [] | ["seeds"] => run::all(1..201),
        // A filter that means other tests, or a list of those here.
        _ => true,
    };
    if is_good {
        ExitCode::SUCCESS
    } else {
        drop(writeln!(std::io::stdout(), "sim: failed"));
        ExitCode::FAILURE
    }
}
