//! One table: all rows at one window, round by round.
//!
//! Holds: the order of a round is log, raw device, the same from huge pages, growing file, peers. The raw
//! device follows the log at once, since it repeats what the log has just done.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::counters::{Device, DeviceCounts, forget_peak, peak_rss};
use super::ours::Ours;
use super::producer::{Log, Producer};
use super::raw::{Memory, Method, Raw, whole_blocks};
use super::table::{Round, Row, Table};

/// Before each measurement: what the one before left to do in the background is done then.
const PAUSE: Duration = Duration::from_millis(200);

/// How to measure.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) device: Option<Device>,
    pub(crate) rounds: u32,
    pub(crate) duration: Duration,
}

/// A log with its row and its own producer, whose records go on from round to round.
struct LogRow {
    row: Row,
    log: Box<dyn Log>,
    producer: Producer,
}

impl LogRow {
    fn new(row: Row, log: Box<dyn Log>) -> Self {
        let producer = Producer::new();
        Self { row, log, producer }
    }
}

impl Bench {
    /// Measures all rows; their files are in `folder`.
    pub(crate) fn table(&self, folder: &Path, window: u64) -> Result<Table> {
        let ours = Ours::open(folder)?;
        let method = ours.method()?;
        let mut ours = LogRow::new(Row::new("formspool", method.to_string()), Box::new(ours));
        let raw = |name, method: Method, memory| {
            let row = Row::new(name, method.to_string());
            Raw::prepare(folder, method, memory).map(|raw| (row, raw))
        };
        let mut raws = vec![
            raw("raw device", method, Memory::Plain)?,
            raw("raw, huge pages", method, Memory::Huge)?,
        ];
        if method != Method::Growing {
            raws.push(raw("growing file", Method::Growing, Memory::Plain)?);
        }
        let mut peers = peers(folder, window)?;
        for _ in 0..self.rounds {
            let like = self.log(&mut ours, window)?;
            for (row, raw) in &mut raws {
                self.raw(row, raw, &like)?;
            }
            for peer in &mut peers {
                self.log(peer, window)?;
            }
        }
        let mut rows = vec![ours.row];
        rows.extend(raws.into_iter().map(|(row, _)| row));
        rows.extend(peers.into_iter().map(|peer| peer.row));
        Ok(Table::new(window, rows))
    }

    fn log(&self, of: &mut LogRow, window: u64) -> Result<Round> {
        std::thread::sleep(PAUSE);
        let warm_up = PAUSE.min(self.duration / 5);
        let is_peak_its_own = forget_peak();
        let (before, device) = (of.log.work()?, self.counts());
        let seen = of
            .producer
            .run(of.log.as_mut(), window, warm_up, self.duration)
            .with_context(|| of.row.name)?;
        let (after, device) = (of.log.work()?, Counted::since(device, self.counts()));
        let round = Round {
            records_per_second: seen.rate,
            p50_ns: seen.latencies.value_at_quantile(0.5),
            p99_ns: seen.latencies.value_at_quantile(0.99),
            records: seen.records as f64,
            syncs: after.syncs - before.syncs,
            bytes: after.bytes - before.bytes,
            device_flushes: device.flushes,
            device_written_bytes: device.written_bytes,
            peak_rss_bytes: is_peak_its_own.then(peak_rss).transpose()?,
        };
        of.row.rounds.push(round.clone());
        Ok(round)
    }

    /// As many bytes a sync as `like` had; each of its syncs stands for as many records.
    fn raw(&self, row: &mut Row, raw: &mut Raw, like: &Round) -> Result<()> {
        std::thread::sleep(PAUSE);
        let bytes = whole_blocks(like.bytes_a_sync());
        let device = self.counts();
        let synced = raw.measure(bytes, self.duration).context(row.name)?;
        let device = Counted::since(device, self.counts());
        row.rounds.push(Round {
            records_per_second: synced.rate * like.records_a_sync(),
            p50_ns: synced.latencies.value_at_quantile(0.5),
            p99_ns: synced.latencies.value_at_quantile(0.99),
            records: synced.syncs as f64 * like.records_a_sync(),
            syncs: synced.syncs,
            bytes: synced.syncs * bytes,
            device_flushes: device.flushes,
            device_written_bytes: device.written_bytes,
            peak_rss_bytes: None,
        });
        Ok(())
    }

    fn counts(&self) -> Option<DeviceCounts> {
        self.device.as_ref()?.counts()
    }
}

/// What the kernel counted between two looks.
#[derive(Default)]
struct Counted {
    flushes: Option<u64>,
    written_bytes: Option<u64>,
}

impl Counted {
    fn since(before: Option<DeviceCounts>, after: Option<DeviceCounts>) -> Self {
        before
            .zip(after)
            .map_or_else(Self::default, |(before, after)| Self {
                flushes: Some(after.flushes - before.flushes),
                written_bytes: Some(after.written_bytes - before.written_bytes),
            })
    }
}

#[cfg(feature = "peers")]
fn peers(folder: &Path, window: u64) -> Result<Vec<LogRow>> {
    let peers = super::peers::open(folder, window)?;
    let rows = peers.into_iter();
    Ok(rows
        .map(|(name, method, log)| LogRow::new(Row::new(name, method.to_owned()), log))
        .collect())
}

#[cfg(not(feature = "peers"))]
#[expect(clippy::unnecessary_wraps, reason = "the one with peers opens files")]
fn peers(_: &Path, _: u64) -> Result<Vec<LogRow>> {
    Ok(Vec::new())
}
