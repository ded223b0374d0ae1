//! What a person sees, and what becomes of the lane, for each thing that goes wrong.

use std::sync::Arc;
use std::time::Duration;

use bridge::testing::{Destination, VecFeed, contract, sheets, sink_of};
use bridge::{
    Bridge, Config, Lane, LaneState, LaneStatus, Life, Metrics, OnPoison, Parts, SheetsConfig,
    Sink, SinkSpec, Sinks, TaskSpec,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::calm::{Calm, Fate, refusal};
use super::google::Book;
use bridge::testing::sheets::{Api, Cell, Fault};

/// Longer than any wait between two tries: what has not happened by then never does.
const EVER: Duration = Duration::from_mins(30);

/// One form, one task, one Google.
pub(crate) struct World {
    calm: Calm,
    feed: VecFeed,
    bridge: Bridge,
    _token: tokio_util::sync::DropGuard,
}

pub(crate) fn config() -> SheetsConfig {
    SheetsConfig {
        writes_per_minute: 6000,
        reads_per_minute: 6000,
        ..SheetsConfig::default()
    }
}

pub(crate) fn world(calm: &Calm, config: &SheetsConfig, more: &Value) -> World {
    let mut settings = json!({ "spreadsheet": "s", "received_at": "text" });
    let members = settings.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    let mut sinks = Sinks::default();
    let own = calm.clone();
    let connect = Arc::new(move || Arc::new(own.connected()) as Arc<dyn Api>);
    sinks.add("sheets", sheets::kind_by(config, "c", connect, None));
    let feed = VecFeed::new();
    feed.set_fields("f", &["a", "b"]);
    let parts = Parts {
        feed: Arc::new(feed.clone()),
        sinks,
        metrics: Metrics::default(),
        now_ms: Arc::new(|| 1_764_000_060_000),
        seed: 7,
    };
    let spec = TaskSpec {
        name: Arc::from("t"),
        incarnation: 1,
        forms: vec![Arc::from("f")],
        sink: SinkSpec {
            name: Arc::from("sheets"),
            settings,
        },
        on_poison: OnPoison::Park,
        is_paused: false,
        unfit: None,
    };
    let (tracker, token) = (TaskTracker::new(), CancellationToken::new());
    let bridge = Bridge::spawn(Config::default(), parts, vec![spec], tracker, token.clone());
    World {
        calm: calm.clone(),
        feed,
        bridge,
        _token: token.drop_guard(),
    }
}

impl World {
    pub(crate) fn push(&self, seqs: std::ops::RangeInclusive<u64>) {
        for seq in seqs {
            self.feed.push("f", &super::body_of(seq));
        }
    }

    async fn lane(&self) -> LaneStatus {
        self.bridge.status().await.remove(0).lanes.remove(0)
    }

    /// Time is paused: it passes only where all else waits, so looking often is looking at everything.
    async fn until(&self, what: &str, is_so: impl Fn(&LaneStatus) -> bool) -> LaneStatus {
        let reached = async {
            loop {
                let lane = self.lane().await;
                if is_so(&lane) {
                    return lane;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        match tokio::time::timeout(EVER, reached).await {
            Ok(lane) => lane,
            Err(late) => panic!("{what}: {late}; {:#?}", self.lane().await),
        }
    }

    pub(crate) async fn until_delivered(&self) -> LaneStatus {
        self.until("all delivered", |lane| {
            lane.lag_records == 0 && state(lane) == "ok"
        })
        .await
    }

    fn seqs(&self) -> Vec<u64> {
        let place = self.calm.lock();
        assert_eq!(place.judge.faults, Vec::<String>::new());
        place.judge.journal.iter().map(|(_, seq)| *seq).collect()
    }
}

fn told(lane: &LaneStatus) -> Value {
    lane.sink
        .as_ref()
        .map_or(Value::Null, |told| Value::clone(told))
}

fn state(lane: &LaneStatus) -> String {
    told(lane)["state"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn each_answer_has_its_state_and_the_lane_goes_on_by_itself() {
    let protected = "Invalid requests[9].appendCells: You are trying to edit a protected cell or \
                     object.";
    let cases = [
        (
            refusal(429, "RATE_LIMIT_EXCEEDED", "Quota exceeded"),
            "throttled",
        ),
        (refusal(401, "", "invalid token"), "auth_broken"),
        (
            refusal(403, "", "The caller does not have permission"),
            "blocked:unshared",
        ),
        (
            refusal(403, "SERVICE_DISABLED", "API is disabled"),
            "auth_broken",
        ),
        (
            refusal(404, "", "Requested entity was not found."),
            "blocked:unshared",
        ),
        (refusal(400, "", protected), "blocked:protected"),
        (Fault::Unsent("connection refused".to_owned()), "away"),
        (Fault::Unknown("invalid_grant".to_owned()), "auth_broken"),
    ];
    for (fault, word) in cases {
        let calm = Calm::new(&["s"]);
        let world = world(&calm, &config(), &json!({}));
        world.push(1..=2);
        world.until_delivered().await;
        calm.next(Fate::Says(fault));
        world.push(3..=4);
        let lane = world.until(word, |lane| state(lane) == word).await;
        assert_eq!(lane.state, LaneState::Retrying);
        if word.starts_with("blocked") {
            assert!(
                told(&lane)["what_to_do"]
                    .as_str()
                    .unwrap()
                    .contains("formspool@test")
            );
        }
        world.until_delivered().await;
        assert_eq!(world.seqs().len(), 4, "{word}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_replaced_is_read_again_while_the_lane_is_open() {
    let calm = Calm::new(&["s"]);
    let world = world(&calm, &config(), &json!({}));
    world.push(1..=3);
    world.until_delivered().await;
    // Another key lies in the file, and Google takes the old one no more.
    calm.lock().key += 1;
    world.push(4..=6);
    world.until_delivered().await;
    assert_eq!(world.seqs(), [1, 2, 3, 4, 5, 6]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_settled_by_the_cursor_without_a_second_row() {
    let calm = Calm::new(&["s"]);
    let world = world(&calm, &config(), &json!({}));
    for fate in [
        Fate::Lost,
        Fate::Says(Fault::Unclear("503".to_owned())),
        Fate::Lost,
    ] {
        calm.next(fate);
    }
    world.push(1..=5);
    world.until_delivered().await;
    assert_eq!(world.seqs(), [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_google_does_not_take_is_found_and_parked() {
    let calm = Calm::new(&["s"]);
    let world = world(&calm, &config(), &json!({}));
    world.push(1..=30);
    world.until_delivered().await;
    let expected: Vec<u64> = (1..=30).filter(|seq| *seq != 23).collect();
    assert_eq!(world.seqs(), expected);
    let parked = world.feed.parked(&Lane::new("t", "f"));
    assert_eq!(parked.len(), 1);
    assert_eq!(parked[0].record.seq, 23);
    assert!(
        parked[0].answer.contains("appendCells"),
        "{}",
        parked[0].answer
    );
}

#[tokio::test(start_paused = true)]
async fn an_older_version_of_the_sheet_stops_the_lane_and_so_does_a_tab_that_is_gone() {
    for deletes_tab in [false, true] {
        let calm = Calm::new(&["s"]);
        let world = world(&calm, &config(), &json!({}));
        world.push(1..=2);
        world.until_delivered().await;
        let older = calm.lock().books["s"].clone();
        world.push(3..=4);
        world.until_delivered().await;
        {
            let mut place = calm.lock();
            let book = place.books.get_mut("s").unwrap();
            if deletes_tab {
                book.sheets.pop();
                book.forget_the_dead();
            } else {
                *book = older;
            }
        }
        world.push(5..=5);
        let lane = world
            .until("rolled back", |lane| lane.state == LaneState::Stopped)
            .await;
        assert_eq!(state(&lane), "rolled_back");
        let why = lane.last_error.unwrap().why;
        assert!(why.contains("replay"), "{why}");
        assert_eq!(
            calm.lock().judge.journal.len(),
            4,
            "nothing more was written"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_spreadsheet_is_sealed_and_the_next_one_goes_on() {
    for knows_limit in [true, false] {
        let count = 40;
        let calm = Calm::new(&["s", "s1", "s2"]);
        calm.lock().manners.cells_max = 150;
        let config = SheetsConfig {
            cells_max: if knows_limit { 150 } else { 10_000_000 },
            batch_records_max: 3,
            ..config()
        };
        let world = world(&calm, &config, &json!({ "spares": ["s1", "s2"] }));
        for seq in 1..=count {
            world.push(seq..=seq);
            world.until_delivered().await;
        }
        let expected: Vec<u64> = (1..=count).filter(|seq| *seq != 23).collect();
        assert_eq!(world.seqs(), expected);
        let lane = world.lane().await;
        assert_eq!(told(&lane)["spreadsheet"], "s2");
        let place = calm.lock();
        assert!(place.books.values().all(|book| book.sheets.len() == 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_spreadsheet_without_a_spare_waits_and_says_what_to_do() {
    let calm = Calm::new(&["s"]);
    calm.lock().manners.cells_max = 60;
    let world = world(&calm, &config(), &json!({}));
    for seq in 1..=22 {
        world.push(seq..=seq);
        // One after the other, as long as there is room.
        let is_over = |lane: &LaneStatus| lane.lag_records == 0 || state(lane) == "full";
        world.until("taken, or full", is_over).await;
    }
    let lane = world.until("full", |lane| state(lane) == "full").await;
    assert_eq!(lane.state, LaneState::Retrying);
    assert!(
        told(&lane)["what_to_do"]
            .as_str()
            .unwrap()
            .contains("spares")
    );
    // A person makes room.
    calm.lock().manners.cells_max = 10_000;
    world.until_delivered().await;
    assert_eq!(world.seqs(), (1..=22).collect::<Vec<u64>>());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_column_can_stop_the_lane_until_a_person_has_decided() {
    let calm = Calm::new(&["s"]);
    let world = world(&calm, &config(), &json!({ "on_deleted_column": "pause" }));
    world.push(1..=2);
    world.until_delivered().await;
    let before = {
        let mut place = calm.lock();
        let book = place.books.get_mut("s").unwrap();
        let before = book.clone();
        let columns = &mut book.sheets[1].columns;
        let a = columns
            .iter()
            .position(|column| *book.owners[column] == *"a")
            .unwrap();
        columns.remove(a);
        book.forget_the_dead();
        before
    };
    world.push(3..=3);
    let lane = world
        .until("blocked", |lane| state(lane) == "blocked:column")
        .await;
    assert!(lane.last_error.unwrap().why.contains("deleted a."));
    calm.lock().books.insert("s".to_owned(), before);
    world.until_delivered().await;
    assert_eq!(world.seqs(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn what_the_log_no_longer_holds_is_told_by_the_first_seq() {
    let calm = Calm::new(&["s"]);
    let world = world(&calm, &config(), &json!({}));
    world.feed.set_lease(None);
    world.push(1..=9);
    world.feed.forget_upto(7);
    world.feed.set_lease(Some(2));
    let lane = world.until_delivered().await;
    assert_eq!(told(&lane)["first_seq"], 8);
}

/// What the suite sees of a spreadsheet.
struct Sheet {
    calm: Calm,
    sinks: Sinks,
}

impl Destination for Sheet {
    fn sink(&self, incarnation: u64) -> Box<dyn Sink> {
        let life = Life {
            lane: Lane::new("t", "f"),
            incarnation,
        };
        let spec = SinkSpec {
            name: Arc::from("sheets"),
            settings: json!({ "spreadsheet": "s" }),
        };
        sink_of(&self.sinks, &spec, &life)
    }

    fn rows(&self) -> BoxFuture<'_, Vec<(u64, String)>> {
        async {
            let place = self.calm.lock();
            let life = place.judge.journal.last().map_or(0, |(life, _)| *life);
            let count = place.judge.journal.iter().filter(|(one, _)| *one == life);
            let rows = rows(&place.books["s"]);
            let from = rows.len() - count.count();
            rows.get(from..).unwrap_or_default().to_vec()
        }
        .boxed()
    }
}

fn rows(book: &Book) -> Vec<(u64, String)> {
    let Some(sheet) = book.sheets.get(1) else {
        return Vec::new();
    };
    let column = |name: &str| {
        let mut owned = sheet.columns.iter();
        owned.find(|column| {
            book.owners
                .get(column)
                .is_some_and(|owner| **owner == *name)
        })
    };
    let (seq, id) = (column("_seq").unwrap(), column("_id").unwrap());
    let rows = sheet.rows.iter().skip(1).filter_map(|row| {
        let (Cell::Number(seq), Cell::Text(id)) = (row.get(seq)?, row.get(id)?) else {
            return None;
        };
        Some((*seq as u64, id.clone()))
    });
    rows.collect()
}

#[tokio::test(start_paused = true)]
async fn the_sheets_sink_keeps_the_contract() {
    let calm = Calm::new(&["s"]);
    for fate in [
        Fate::Lost,
        Fate::Says(Fault::Unsent("away".to_owned())),
        Fate::Lost,
    ] {
        calm.next(fate);
    }
    let mut sinks = Sinks::default();
    sinks.add(
        "sheets",
        sheets::kind(&config(), "c", Arc::new(calm.clone()), None),
    );
    contract(&Sheet { calm, sinks }).await;
}
