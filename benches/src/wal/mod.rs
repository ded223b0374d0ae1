//! The log beside the bare device, and beside other logs: records made durable a second.
//!
//! Holds: in each round every row is measured once, one after the other, so that a noisy minute hits
//! all; the raw device writes the bytes a sync that the log had in that very round, by the log's own
//! method. `benches/README.md` tells how to read it.

mod counters;
mod measure;
mod ours;
#[cfg(feature = "peers")]
mod peers;
mod producer;
mod raw;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::{Value, json};

use self::counters::Device;
use self::measure::Bench;
use self::ours::Ours;
use self::producer::RECORD_BYTES;
use self::table::{Round, Table};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Rounds; medians are told.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(5..))]
    rounds: u32,
    /// Seconds a measurement.
    #[arg(long, default_value = "2", value_parser = seconds)]
    seconds: Duration,
    /// Where the files go: it must be the disk that you want to know about.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// Records under way at once; several by comma.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 512, 4096],
        value_parser = clap::value_parser!(u64).range(1..=100_000))]
    windows: Vec<u64>,
    /// Every round as one JSON document, instead of the medians as text.
    #[arg(long)]
    json: bool,
}

pub(crate) fn seconds(text: &str) -> Result<Duration> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

/// Measures and tells.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("bench-wal-")
        .tempdir_in(&arguments.dir)
        .with_context(|| format!("make a folder in {}", arguments.dir.display()))?;
    let bench = Bench {
        device: Device::of(folder.path()),
        rounds: arguments.rounds,
        duration: arguments.seconds,
    };
    let setting = setting(&bench, folder.path())?;
    if !arguments.json {
        print_setting(&setting);
    }
    let mut tables = Vec::new();
    for window in &arguments.windows {
        let folder = folder.path().join(format!("window-{window}"));
        std::fs::create_dir(&folder)?;
        let table = bench.table(&folder, *window)?;
        std::fs::remove_dir_all(&folder)?;
        if !arguments.json {
            println!("{}", table.text());
        }
        tables.push(table);
    }
    if arguments.json {
        println!("{}", json!({ "setting": setting, "tables": tables }));
    } else {
        print_cost(&tables);
    }
    Ok(())
}

/// What does not change from row to row.
fn setting(bench: &Bench, folder: &Path) -> Result<Value> {
    let ours = Ours::open(&folder.join("setting"))?;
    Ok(json!({
        "durability": ours.policy(),
        "write_mode": ours.method()?.to_string(),
        "record_bytes": RECORD_BYTES,
        "rounds": bench.rounds,
        "seconds": bench.duration.as_secs_f64(),
        "device": bench.device.as_ref().map(Device::name),
        "device_cache": bench.device.as_ref().map(Device::cache),
        "bounds_bytes": ours.bounds().into_iter().collect::<BTreeMap<_, _>>(),
    }))
}

fn print_setting(setting: &Value) {
    let text = |name: &str| match setting.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "not counted".to_owned(),
        Some(other) => other.to_string(),
    };
    println!(
        "durability {}   write mode {}\n{} rounds of {} s each; medians. Records of {} bytes, one an append.",
        text("durability"),
        text("write_mode"),
        text("rounds"),
        text("seconds"),
        text("record_bytes"),
    );
    println!(
        "flushes counted by the kernel on: {} (its cache: {}), for everybody on it",
        text("device"),
        text("device_cache"),
    );
    println!("bounds of memory and files: {}", text("bounds_bytes"));
}

/// Memory and writing, over all windows.
fn print_cost(tables: &[Table]) {
    let rounds = || {
        tables
            .iter()
            .flat_map(|table| &table.rows)
            .flat_map(|row| &row.rounds)
    };
    let ours = || {
        let rows = tables.iter().filter_map(|table| table.rows.first());
        rows.flat_map(|row| &row.rounds)
    };
    let mib = |bytes: u64| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20));
    let counted = |bytes: Option<u64>| bytes.map_or_else(|| "not counted".to_owned(), mib);
    println!(
        "peak memory of this process while ours ran, what else it holds included: {}",
        counted(ours().filter_map(|round| round.peak_rss_bytes).max())
    );
    let written: u64 = ours().map(|round| round.bytes).sum();
    let device: Option<u64> = rounds()
        .map(|round: &Round| round.device_written_bytes)
        .sum();
    println!(
        "written by ours: {} in {} syncs; by the device meanwhile, all rows: {}",
        mib(written),
        ours().map(|round| round.syncs).sum::<u64>(),
        counted(device)
    );
}
