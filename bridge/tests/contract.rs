//! The suite that every sink passes, run on each sink of this room and on the tests' own.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bridge::testing::{Destination, MemFiles, Place, Step, contract, sink_of};
use bridge::{Cause, CsvConfig, Files, Lane, Life, OsFiles, Sink, SinkSpec, Sinks};
use futures::FutureExt;
use futures::future::BoxFuture;

struct Flaky(Place);

impl Destination for Flaky {
    fn sink(&self, incarnation: u64) -> Box<dyn Sink> {
        Box::new(self.0.sink(incarnation))
    }

    fn rows(&self) -> BoxFuture<'_, Vec<(u64, String)>> {
        async {
            self.0
                .rows()
                .into_iter()
                .map(|row| (row.seq, row.id))
                .collect()
        }
        .boxed()
    }
}

struct Csv<R> {
    sinks: Sinks,
    read: R,
}

impl<R: Fn() -> Vec<u8> + Sync> Destination for Csv<R> {
    fn sink(&self, incarnation: u64) -> Box<dyn Sink> {
        let life = Life {
            lane: Lane::new("t", "f"),
            incarnation,
        };
        sink_of(&self.sinks, &SinkSpec::csv("{form}.csv"), &life)
    }

    fn rows(&self) -> BoxFuture<'_, Vec<(u64, String)>> {
        async {
            let bytes = (self.read)();
            let mut sheet = csv::Reader::from_reader(&*bytes);
            sheet
                .records()
                .map(|row| row.expect("a whole row"))
                .map(|row| (row[0].parse().expect("a seq"), row[1].to_owned()))
                .collect()
        }
        .boxed()
    }
}

fn sinks(dir: &Path, files: Arc<dyn Files>) -> Sinks {
    Sinks::new(
        &CsvConfig {
            dir: dir.to_path_buf(),
            ..CsvConfig::default()
        },
        files,
        "cluster",
    )
}

#[tokio::test]
async fn the_csv_sink_keeps_the_contract_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sheets/f.csv");
    let sinks = sinks(&dir.path().join("sheets"), Arc::new(OsFiles));
    contract(&Csv {
        sinks,
        read: move || std::fs::read(&path).unwrap(),
    })
    .await;
}

#[tokio::test]
async fn the_csv_sink_keeps_the_contract_in_memory() {
    let files = MemFiles::new();
    let sinks = sinks(Path::new("sheets"), Arc::new(files.clone()));
    let path = PathBuf::from("sheets/f.csv");
    contract(&Csv {
        sinks,
        read: move || files.read(&path).unwrap(),
    })
    .await;
}

#[tokio::test]
async fn a_destination_that_does_what_destinations_do_keeps_the_contract() {
    let place = Place::new(false);
    place.script(&[
        Step::Take,
        Step::Fail(Cause::Away),
        Step::LoseReply,
        Step::Take,
        Step::LoseReply,
        Step::LoseReply,
        Step::Fail(Cause::Quota),
    ]);
    contract(&Flaky(place)).await;
}

#[tokio::test]
async fn a_destination_that_takes_batches_in_parts_keeps_the_contract() {
    let place = Place::new(false);
    let takes = [Step::Take; 26];
    place.script(&takes);
    place.script(&[
        Step::TakeFirst(3),
        Step::TakeFirst(1),
        Step::TakeFirst(0),
        Step::LoseReply,
    ]);
    contract(&Flaky(place)).await;
}
