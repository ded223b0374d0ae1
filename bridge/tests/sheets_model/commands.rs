//! What people ask about a spreadsheet by command: whether Google keeps its promises, whether all rows are
//! there, and to write those that are not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bridge::sheets::{Connection, Outcome, SheetReport, SheetTask, doctor, read, repair};
use bridge::testing::record;
use serde_json::json;

use super::calm::{Calm, Fate, refusal};
use super::states::{config, world};

fn task() -> SheetTask {
    SheetTask {
        cluster: "c".to_owned(),
        name: "t".to_owned(),
        form: "f".to_owned(),
        settings: json!({ "spreadsheet": "s", "received_at": "text", "spares": ["s1"] }),
    }
}

async fn report(calm: &Calm) -> SheetReport {
    let connection = Connection::over(Arc::new(calm.clone()));
    read(&connection, &task(), |_| {}).await.unwrap().unwrap()
}

fn seqs(report: &SheetReport) -> Vec<u64> {
    report.rows.iter().map(|row| row.seq).collect()
}

#[tokio::test(start_paused = true)]
async fn the_doctor_finds_the_promises_kept_and_leaves_nothing_behind() {
    for is_strict in [false, true] {
        let calm = Calm::new(&["s"]);
        calm.lock().manners.is_strict = is_strict;
        let connection = Connection::over(Arc::new(calm.clone()));
        let probes = doctor(&connection, "s", 7, &|_| {}).await.unwrap();
        assert_eq!(probes.len(), 7);
        for probe in probes {
            assert_eq!(probe.outcome, Outcome::Holds, "{}", probe.name);
        }
        assert_eq!(calm.lock().books["s"].sheets.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_doctor_finds_a_google_that_keeps_none_of_them() {
    let calm = Calm::new(&["s"]);
    calm.lock().manners.replaces = true;
    let connection = Connection::over(Arc::new(calm.clone()));
    let probes = doctor(&connection, "s", 7, &|_| {}).await.unwrap();
    let failed = probes
        .iter()
        .filter(|probe| matches!(probe.outcome, Outcome::Fails(_)));
    let failed: Vec<_> = failed.map(|probe| probe.name).collect();
    assert_eq!(failed, ["P1", "P2", "P3", "P4", "P6"]);
}

#[tokio::test(start_paused = true)]
async fn the_doctor_waits_where_others_have_used_up_the_quota() {
    let calm = Calm::new(&["s"]);
    let connection = Connection::over(Arc::new(calm.clone()));
    let told = AtomicU32::new(0);
    let tell = |words: &str| {
        assert!(words.contains("quota"), "{words}");
        told.fetch_add(1, Ordering::Relaxed);
    };
    let over = refusal(429, "RATE_LIMIT_EXCEEDED", "Quota exceeded");
    calm.next(Fate::Says(over));
    let probes = doctor(&connection, "s", 7, &tell).await.unwrap();
    assert!(probes.iter().all(|probe| probe.outcome == Outcome::Holds));
    assert_eq!(told.into_inner(), 1);
}

#[tokio::test(start_paused = true)]
async fn all_rows_are_read_wherever_they_stand() {
    let calm = Calm::new(&["s", "s1"]);
    calm.lock().manners.cells_max = 150;
    let connection = Connection::over(Arc::new(calm.clone()));
    assert_eq!(read(&connection, &task(), |_| {}).await.unwrap(), None);
    let world = world(&calm, &config(), &json!({ "spares": ["s1"] }));
    for seq in 1..=20 {
        world.push(seq..=seq);
        world.until_delivered().await;
    }
    let report = report(&calm).await;
    assert_eq!(report.spreadsheets, ["s", "s1"]);
    assert_eq!(seqs(&report), (1..=20).collect::<Vec<u64>>());
    assert_eq!((report.incarnation, report.position.index), (1, 20));
    assert!(
        report
            .rows
            .iter()
            .all(|row| row.id.is_some() && !row.is_replay)
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_written_behind_the_rest() {
    let calm = Calm::new(&["s"]);
    let world = world(&calm, &config(), &json!({}));
    world.push(1..=9);
    world.until_delivered().await;
    {
        let mut place = calm.lock();
        let rows = &mut place.books.get_mut("s").unwrap().sheets[1].rows;
        // A person deletes two, copies one, and writes one.
        let copy = rows.remove(4);
        rows.remove(6);
        rows.insert(1, Arc::clone(&rows[1]));
        rows.push(Arc::default());
        drop(copy);
    }
    let before = report(&calm).await;
    assert_eq!(seqs(&before), [1, 1, 2, 3, 5, 6, 8, 9]);
    let missing = [4, 7].map(|seq| record("f", seq, &super::body_of(seq)));
    let connection = Connection::over(Arc::new(calm.clone()));
    let fields = Arc::from(["a".to_owned(), "b".to_owned()]);
    let written = repair(&connection, &config(), (&task(), fields), missing.to_vec()).await;
    assert_eq!(written, Ok(2));
    let after = report(&calm).await;
    assert_eq!(seqs(&after), [1, 1, 2, 3, 5, 6, 8, 9, 4, 7]);
    assert_eq!(after.position, before.position, "the cursor stays");
    let replays: Vec<bool> = after.rows.iter().map(|row| row.is_replay).collect();
    assert_eq!(replays.iter().filter(|is_replay| **is_replay).count(), 2);
    // And the lane goes on.
    world.push(10..=11);
    world.until_delivered().await;
    assert_eq!(seqs(&report(&calm).await).len(), 12);
}
