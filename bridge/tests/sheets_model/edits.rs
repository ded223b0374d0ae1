//! Every edit that one hand can make to the columns between the look at them and the request: none of
//! them puts a value under another column.

use std::sync::Arc;
use std::time::Duration;

use bridge::mutants::Mutant;
use bridge::testing::sheets;
use bridge::testing::{record, sink_of};
use bridge::{Batch, Delivery, Lane, Life, Opening, SheetsConfig, Sink, SinkSpec, Sinks, Standing};

use super::calm::Calm;
use super::google::Book;

/// Columns of the tab: three of the sink's, two of the form, the sentinel, and a person's own.
const COLUMNS: usize = 7;

#[derive(Clone, Copy, Debug)]
enum ByHand {
    Delete(usize),
    Move(usize, usize),
    Insert(usize),
}

fn all() -> Vec<ByHand> {
    let mut all = Vec::new();
    for at in 0..COLUMNS {
        all.push(ByHand::Delete(at));
        let others = (0..COLUMNS).filter(|to| *to != at);
        all.extend(others.map(|to| ByHand::Move(at, to)));
    }
    all.extend((0..=COLUMNS).map(ByHand::Insert));
    all
}

impl ByHand {
    fn is_done_to(self, book: &mut Book) {
        let columns = &mut book.sheets[1].columns;
        match self {
            Self::Delete(at) => {
                columns.remove(at);
            }
            Self::Move(from, to) => {
                let column = columns.remove(from);
                columns.insert(to, column);
            }
            Self::Insert(at) => columns.insert(at, 99_999),
        }
        book.forget_the_dead();
    }
}

fn batch(seq: u64) -> Arc<Batch> {
    // Without the members that no definition names.
    assert!(!seq.is_multiple_of(3) && !seq.is_multiple_of(7));
    let records = vec![record("f", seq, &super::body_of(seq))];
    let fields = ["a".to_owned(), "b".to_owned()];
    Arc::new(Batch::new(records, Arc::from(fields)))
}

async fn open(sink: &mut dyn Sink, standing: Standing) {
    let opening = Opening { standing, term: 1 };
    sink.open(opening).await.unwrap();
}

/// One record is there; then a second one is brought while the columns are edited. True if all is well.
async fn is_well_after(by_hand: &[ByHand], is_strict: bool, flaw: Option<Mutant>) -> bool {
    let calm = Calm::new(&["s"]);
    calm.lock().manners.is_strict = is_strict;
    let mut sinks = Sinks::default();
    let config = SheetsConfig::default();
    let kind = sheets::kind(&config, "c", Arc::new(calm.clone()), flaw);
    sinks.add("sheets", kind);
    let settings = serde_json::json!({ "spreadsheet": "s", "received_at": "text" });
    let spec = SinkSpec {
        name: Arc::from("sheets"),
        settings,
    };
    let life = Life {
        lane: Lane::new("t", "f"),
        incarnation: 1,
    };
    let mut sink = sink_of(&sinks, &spec, &life);
    let mut standing = Standing::default();
    open(&mut *sink, standing).await;
    let first = batch(1);
    let taken = sink.deliver(Arc::clone(&first)).await;
    assert_eq!(taken, Delivery::Taken { upto: first.upto });
    {
        let mut place = calm.lock();
        let book = place.books.get_mut("s").unwrap();
        let columns = &mut book.sheets[1].columns;
        columns.push(88_888);
        assert_eq!(columns.len(), COLUMNS);
        // Without a request in between: as fast as no hand is, but the look is as old as it may be.
        for one in by_hand {
            one.is_done_to(book);
        }
    }
    standing.position = first.upto;
    let second = batch(2);
    for _ in 0..10 {
        match sink.deliver(Arc::clone(&second)).await {
            Delivery::Taken { .. } => break,
            Delivery::Again(_) => {}
            Delivery::Reopen(_) => open(&mut *sink, standing).await,
            Delivery::Never { why, .. } => panic!("{by_hand:?}: {why}"),
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    let place = calm.lock();
    place.judge.faults.is_empty() && place.judge.journal == [(1, 1), (1, 2)]
}

#[tokio::test(start_paused = true)]
async fn no_edit_by_one_hand_puts_a_value_under_another_column() {
    for is_strict in [false, true] {
        for one in all() {
            assert!(is_well_after(&[one], is_strict, None).await, "{one:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_guards_many_do() {
    let mut bad = 0;
    for one in all() {
        let is_well = is_well_after(&[one], false, Some(Mutant::SheetsNoGuard)).await;
        bad += usize::from(!is_well);
    }
    assert!(bad > 20, "{bad} of {}", all().len());
}

#[tokio::test(start_paused = true)]
async fn of_two_edits_in_one_moment_few_do_and_the_strict_google_takes_none() {
    let (mut slips, mut strict, mut count) = (0, 0, 0);
    for one in all() {
        let more = |other: &ByHand| match (one, *other) {
            (ByHand::Delete(_), ByHand::Delete(at)) => at < COLUMNS - 1,
            (ByHand::Delete(_), ByHand::Move(from, to)) => from.max(to) < COLUMNS - 1,
            (ByHand::Delete(_), ByHand::Insert(at)) => at < COLUMNS,
            _ => true,
        };
        for other in all().into_iter().filter(more) {
            let by_hand = [one, other];
            count += 1;
            if !is_well_after(&by_hand, false, None).await {
                slips += 1;
                strict += usize::from(!is_well_after(&by_hand, true, None).await);
            }
        }
    }
    println!(
        "{slips} of {count} pairs of edits slip; {strict} where deletions must find something"
    );
    assert!(slips * 25 < count, "{slips} of {count}");
    assert_eq!(strict, 0);
}
