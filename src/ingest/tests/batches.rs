//! The batcher: what goes together, what happens when the log is silent, and that nobody waits
//! for ever.

use std::time::Duration;

use proptest::prelude::*;
use storage::{Command, Outcome, PACK_BYTES_MAX, Pack, Sender, Submission};
use tokio::sync::oneshot;

use super::log::{Fate, Rig, SENDER, json_body, lines};
use crate::ingest::{Config, Receipt, Refused};
use crate::stage::Stage;

pub(super) type Answer = oneshot::Receiver<Result<Receipt, Refused>>;

impl Rig {
    /// Submits in the background.
    pub(super) fn start(&self, form: &str, n: usize) -> Answer {
        self.start_with(form, format!(r#"{{"name":"{n}"}}"#))
    }

    fn start_with(&self, form: &str, text: String) -> Answer {
        let (tell, answer) = oneshot::channel();
        let (form, ingest) = (self.form(form), self.ingest.clone());
        Stage::new().spawn(async move {
            let body = json_body(&text);
            drop(tell.send(ingest.submit(&form, body, None).await));
        });
        answer
    }

    /// Holds all answers back and fills the window: two submissions fill a pack.
    pub(super) async fn fill_window(&self) -> Vec<Answer> {
        self.log.hold();
        let mut answers = Vec::new();
        for n in 0..8 {
            let long = "x".repeat(PACK_BYTES_MAX * 2 / 5);
            let text = format!(r#"{{"name":"{n}","tree":["{long}"]}}"#);
            answers.push(self.start_with("a", text));
        }
        self.log.wait_for_packs(4).await;
        answers
    }
}

/// Nobody waits for a leader.
pub(super) fn impatient() -> Config {
    Config {
        leader_wait_ms: 0,
        ..Config::default()
    }
}

/// Lets the tasks that were started have their turn.
pub(super) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

pub(super) async fn all(answers: Vec<Answer>) -> Vec<Result<Receipt, Refused>> {
    let mut told = Vec::new();
    for answer in answers {
        told.push(answer.await.unwrap());
    }
    told
}

fn names(pack: &Pack) -> Vec<String> {
    let text = |submission: &Submission| String::from_utf8(submission.body.to_vec()).unwrap();
    pack.submissions.iter().map(text).collect()
}

#[tokio::test]
async fn what_waits_goes_into_one_pack_sorted_by_form() {
    let rig = Rig::new();
    let mut answers = rig.fill_window().await;
    for n in 4..14 {
        answers.push(rig.start(if n % 2 == 0 { "b" } else { "a" }, n));
        settle().await;
    }
    assert_eq!(rig.log.seen().len(), 4, "the window is full");
    rig.log.let_go();
    let receipts: Vec<Receipt> = all(answers).await.into_iter().map(Result::unwrap).collect();

    let seen = rig.log.seen();
    assert_eq!(seen.len(), 5);
    let numbers: Vec<u64> = seen.iter().map(|pack| pack.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    let expected = [5, 7, 9, 11, 13, 4, 6, 8, 10, 12].map(|n| format!(r#"{{"name":"{n}"}}"#));
    assert_eq!(names(&seen[4]), expected);
    // Everybody got his own answer, in the order in which he came.
    for form in ["a", "b"] {
        let of_form = receipts.iter().filter(|receipt| receipt.form == form);
        let seqs: Vec<u64> = of_form.map(|receipt| receipt.seq.unwrap()).collect();
        assert_eq!(
            seqs,
            (1..=u64::try_from(seqs.len()).unwrap()).collect::<Vec<_>>()
        );
    }
    for receipt in &receipts {
        let id = uuid::Uuid::parse_str(&receipt.id).unwrap();
        let mut sent = seen.iter().flat_map(|pack| &pack.submissions);
        let found = sent
            .find(|submission| submission.id == *id.as_bytes())
            .unwrap();
        assert_eq!(found.form, rig.form(&receipt.form).id);
    }
}

#[tokio::test]
async fn a_pack_is_never_larger_than_its_bounds() {
    let rig = Rig::new();
    let mut answers = rig.fill_window().await;
    for n in 0..5000 {
        answers.push(rig.start("a", n));
    }
    settle().await;
    rig.log.let_go();
    assert!(all(answers).await.iter().all(Result::is_ok));
    let sizes: Vec<usize> = rig
        .log
        .seen()
        .iter()
        .map(|pack| pack.submissions.len())
        .collect();
    assert_eq!(sizes, [2, 2, 2, 2, 4096, 904]);
    assert_eq!(rig.head("a"), 5008);
}

#[tokio::test]
async fn a_pack_whose_outcome_is_unknown_is_sent_again_as_it_was() {
    for fate in [Fate::Lost, Fate::TakenUnsaid] {
        let rig = Rig::new();
        rig.log.next([fate]);
        let receipt = rig.start("a", 1).await.unwrap().unwrap();
        assert_eq!((receipt.seq, receipt.duplicate), (Some(1), false));
        let seen = rig.log.seen();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0], seen[1]);
        assert_eq!(rig.head("a"), 1, "no key, and still only once");
    }
}

#[tokio::test]
async fn a_pack_out_of_turn_is_sent_again_and_one_that_was_forgotten_is_unknown() {
    let rig = Rig::new();
    let first = rig.start("a", 1).await.unwrap().unwrap();
    rig.log
        .next([Fate::Said(Outcome::OutOfTurn { expected: Some(1) })]);
    let second = rig.start("a", 2).await.unwrap().unwrap();
    assert_eq!((first.seq, second.seq), (Some(1), Some(2)));
    rig.log
        .next([Fate::Said(Outcome::OutOfTurn { expected: Some(9) })]);
    assert_eq!(rig.start("a", 3).await.unwrap(), Err(Refused::Unknown));
}

#[tokio::test]
async fn a_refusal_is_passed_on_and_its_number_is_used_again() {
    let rig = Rig::with(impatient());
    for fate in [
        Fate::Shut(Refused::NoQuorum),
        Fate::Refused(Refused::NoQuorum),
    ] {
        rig.log.next([fate]);
        assert!(matches!(
            rig.start("a", 1).await.unwrap(),
            Err(Refused::NoQuorum),
        ));
    }
    assert_eq!(rig.start("a", 2).await.unwrap().unwrap().seq, Some(1));
    assert!(rig.log.seen().iter().all(|pack| pack.number == 1));
}

#[tokio::test]
async fn each_answer_is_counted_once_by_what_it_was() {
    let rig = Rig::with(impatient());
    let form = rig.form("a");
    assert!(rig.start("a", 1).await.unwrap().is_ok());
    let sent = lines(&[r#"{"name":"x"}"#, "{}", "no"]);
    rig.ingest.submit_lines(&form, sent, None).await;
    let twice = json_body("no");
    assert!(rig.ingest.submit(&form, twice, None).await.is_err());
    rig.log.next([Fate::Shut(Refused::NoQuorum)]);
    assert!(rig.start("a", 2).await.unwrap().is_err());
    let metrics = crate::metrics::Metrics::default();
    metrics.with(|all| rig.ingest.answered().register(all));
    let text = metrics.text();
    for line in [
        "formspool_ingest_accepted_total 2",
        "formspool_ingest_rejected_total{reason=\"invalid\"} 1",
        "formspool_ingest_rejected_total{reason=\"malformed\"} 2",
        "formspool_ingest_rejected_total{reason=\"no-quorum\"} 1",
    ] {
        assert!(text.lines().any(|one| one == line), "{line}:\n{text}");
    }
}

#[tokio::test]
async fn room_is_bounded_and_comes_back() {
    let config = Config {
        in_flight_bytes_max: 4 << 10,
        ..Config::default()
    };
    let rig = Rig::with(config);
    rig.log.hold();
    let answers: Vec<Answer> = (0..3).map(|n| rig.start("a", n)).collect();
    settle().await;
    let refused = rig.start("a", 9).await.unwrap();
    assert_eq!(refused, Err(Refused::Overloaded { retry_after_s: 1 }));
    rig.log.let_go();
    assert!(all(answers).await.iter().all(Result::is_ok));
    assert!(rig.start("a", 9).await.unwrap().is_ok());
}

#[tokio::test]
async fn one_who_has_waited_too_long_is_told_what_is_known() {
    let config = Config {
        answer_ms_max: 50,
        ..Config::default()
    };
    let rig = Rig::with(config);
    let answers = rig.fill_window().await;
    let waiting = rig.start("a", 9);
    for answer in all(answers).await {
        assert_eq!(answer, Err(Refused::Unknown), "it may be in the log");
    }
    assert_eq!(
        waiting.await.unwrap(),
        Err(Refused::NoQuorum),
        "it was never proposed"
    );
    rig.log.let_go();
    assert_eq!(
        rig.start("a", 10).await.unwrap().unwrap().seq,
        Some(9),
        "9 was withdrawn"
    );
}

#[tokio::test]
async fn a_stop_drains_what_waits() {
    let rig = Rig::new();
    let mut answers = rig.fill_window().await;
    answers.push(rig.start("a", 9));
    settle().await;
    rig.stage.token.cancel();
    settle().await;
    let late = rig.start("a", 10).await.unwrap();
    assert_eq!(late, Err(Refused::Draining));
    rig.log.let_go();
    assert!(all(answers).await.iter().all(Result::is_ok));
    assert_eq!(rig.stage.stop(Duration::from_secs(5)).await, 0);
    let late = rig
        .ingest
        .submit_lines(&rig.form("a"), lines(&[r#"{"name":"x"}"#]), None)
        .await;
    assert_eq!(late, [Err(Refused::Draining)]);
}

#[tokio::test]
async fn a_stop_leaves_nobody_waiting_when_the_log_is_silent() {
    let rig = Rig::with(Config {
        drain_ms_max: 20,
        ..Config::default()
    });
    let answers = rig.fill_window().await;
    let waiting = rig.start("a", 9);
    settle().await;
    assert_eq!(rig.stage.stop(Duration::from_secs(5)).await, 0);
    for answer in all(answers).await {
        assert_eq!(answer, Err(Refused::Unknown));
    }
    assert_eq!(waiting.await.unwrap(), Err(Refused::Draining));
}

#[tokio::test]
async fn a_stop_ends_sending_again() {
    let rig = Rig::with(Config {
        drain_ms_max: 20,
        ..Config::default()
    });
    rig.log.next(vec![Fate::Lost; 1000]);
    let answer = rig.start("a", 1);
    rig.log.wait_for_packs(3).await;
    assert_eq!(rig.stage.stop(Duration::from_secs(5)).await, 0);
    assert_eq!(answer.await.unwrap(), Err(Refused::Unknown));
}

#[tokio::test]
async fn a_log_that_has_ended_leaves_nobody_waiting() {
    let rig = Rig::new(); // drains for seconds, were it to drain
    let answers = rig.fill_window().await;
    let waiting = rig.start("a", 9);
    settle().await;
    rig.log.end();
    let stopped = rig.stage.stop(Duration::from_secs(1)).await;
    assert_eq!(stopped, 0, "the doors' grace after a fatal error");
    for answer in all(answers).await {
        assert_eq!(answer, Err(Refused::Unknown), "it may be in the log");
    }
    assert_eq!(waiting.await.unwrap(), Err(Refused::Draining));
}

#[tokio::test]
async fn a_log_that_ends_before_it_was_asked_is_known_to_have_nothing() {
    let rig = Rig::new();
    rig.log.next([Fate::Shut(Refused::Draining)]);
    assert_eq!(rig.start("a", 1).await.unwrap(), Err(Refused::Draining));
    assert_eq!(rig.start("a", 2).await.unwrap(), Err(Refused::Draining));
    assert_eq!(rig.log.seen().len(), 1, "not asked again");
    assert_eq!(rig.stage.stop(Duration::from_secs(1)).await, 0);
}

#[tokio::test]
async fn another_life_of_the_node_ends_this_one() {
    let rig = Rig::new();
    assert!(rig.start("a", 1).await.unwrap().is_ok());
    let sender = Sender {
        boot: SENDER.boot + 1,
        ..SENDER
    };
    rig.log.apply(&Command::Submit(Pack {
        sender,
        number: 1,
        submissions: Vec::new(),
    }));
    assert_eq!(rig.start("a", 2).await.unwrap(), Err(Refused::Unknown));
    assert_eq!(rig.start("a", 3).await.unwrap(), Err(Refused::Draining));
}

fn any_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        3 => Just(Fate::Taken),
        2 => Just(Fate::TakenUnsaid),
        2 => Just(Fate::Lost),
        1 => Just(Fate::Refused(Refused::NoQuorum)),
        1 => Just(Fate::Shut(Refused::NoQuorum)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_gets_lost_each_submission_is_there_once_or_was_refused(
        fates in proptest::collection::vec(any_fate(), 0..12),
        turns in proptest::collection::vec(0_usize..3, 1..24),
        waits in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let rig = Rig::with(if waits { Config::default() } else { impatient() });
            rig.log.next(fates);
            rig.log.hold();
            let mut answers = Vec::new();
            for (n, turn) in turns.iter().enumerate() {
                answers.push(rig.start("a", n));
                settle().await;
                rig.log.let_some_go(*turn);
            }
            rig.log.let_go();
            let mut seqs = Vec::new();
            for answer in all(answers).await {
                match answer {
                    Ok(receipt) => seqs.push(receipt.seq.unwrap()),
                    Err(refused) => assert!(!waits && refused == Refused::NoQuorum, "{refused}"),
                }
            }
            let count = u64::try_from(seqs.len()).unwrap();
            assert_eq!(seqs, (1..=count).collect::<Vec<_>>(), "in order, no hole, none twice");
            assert_eq!(rig.head("a"), count, "what was refused is not there");
        });
    }
}
