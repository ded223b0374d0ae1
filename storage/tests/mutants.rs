//! The tests of the crash test: a log that is wrong on purpose must be caught by it.
//!
//! One test, since a mutant is picked for the whole process: `cargo test -p storage --features
//! mutants --test mutants`.
#![cfg(feature = "mutants")]
#![expect(clippy::unwrap_used, reason = "a test")]

mod play;
mod script;

use play::Script;
use script::{open, small_config};
use storage::{Fault, FaultDisk, mutants};

/// How many of the runs lose something that was acknowledged.
fn losses() -> usize {
    let config = small_config();
    let mut losses = 0;
    for seed in 0..60 {
        let disk = FaultDisk::new();
        let (wal, _) = open(&disk, &config).unwrap();
        disk.inject(Fault::DieAfter(disk.changes() + 10 + seed));
        let mut script = Script::new(seed);
        script.play(&wal, 80);
        drop(wal);
        let kept = script.answers.kept();
        disk.power_cut(seed);
        let is_kept = open(&disk, &config).is_ok_and(|(wal, _)| script.is_kept(&wal, kept));
        losses += usize::from(!is_kept);
    }
    losses
}

#[test]
fn a_log_that_does_not_sync_or_answers_too_early_is_caught() {
    assert_eq!(0, losses());
    for mutant in ["skip-sync", "ack-before-write"] {
        mutants::pick(mutant).unwrap();
        let losses = losses();
        assert!(losses > 0, "{mutant} was not caught");
    }
}
