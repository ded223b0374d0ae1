//! The Kafka sink against a real broker, which this test starts and ends.
//!
//! `make kafka-test` runs it; `cargo test -p bridge --features brokers --test kafka NAME` runs those
//! whose name contains NAME.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test"
)]

mod broker;
mod cases;
mod world;

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use self::world::World;

/// They mostly wait for the broker.
const AT_ONCE: usize = 4;

fn main() -> ExitCode {
    let filters: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let cases: Vec<_> = cases::ALL
        .iter()
        .filter(|(name, _)| {
            filters.is_empty() || filters.iter().any(|filter| name.contains(filter))
        })
        .collect();
    if std::env::args().any(|word| word == "--list") || cases.is_empty() {
        for (name, _) in &cases {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    println!("running {} tests against a real broker", cases.len());
    let world = Arc::new(World::start());
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((name, case)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let world = Arc::clone(&world);
                    let done = std::thread::Builder::new()
                        .name((*name).to_owned())
                        .spawn(move || run(case(world)))
                        .expect("a thread")
                        .join();
                    let word = if done.is_ok() { "ok" } else { "FAILED" };
                    println!("test {name} ... {word}");
                    if done.is_err() {
                        failed.lock().expect("a list").push(*name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("a list");
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {}", failed.join(", "));
    ExitCode::FAILURE
}

fn run(case: futures::future::BoxFuture<'static, ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(case);
}
