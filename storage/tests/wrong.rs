//! Mutants of the state: each one breaks, for those who only read, the promise that it is named
//! after. One test, since a mutant is picked for the whole process.
#![cfg(feature = "mutants")]
#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests stop at the first surprise"
)]

#[expect(unreachable_pub, dead_code, reason = "shared by the test files")]
mod world;

use storage::mutants;
use world::*;

/// What a reader of the form sees after sixty submissions, ten of them twice and one clash.
fn seen() -> Vec<(u64, String)> {
    let mut world = World::new();
    let form = world.form("a");
    let body = |n: u32| format!("{{\"n\":\"{n}\"}}");
    world.submit(
        (0..60)
            .map(|n| keyed(form, &n.to_string(), &body(n)))
            .collect(),
    );
    world.submit(
        (0..10)
            .map(|n| keyed(form, &n.to_string(), &body(n)))
            .collect(),
    );
    world.submit(vec![keyed(form, "1", "another body")]);
    world.bodies(form, 100)
}

#[test]
fn every_mutant_shows() {
    let honest = seen();
    assert_eq!(60, honest.len());
    for name in [
        "skip-idempotency",
        "seq-hole",
        "alter-body",
        "drop-slot",
        "show-refused",
    ] {
        mutants::pick(name).unwrap();
        assert_ne!(honest, seen(), "{name}");
    }
}
