//! The batcher while leaders come and go: who waits, who is told what, and that nothing is there twice.

use std::time::Duration;

use serde_json::json;
use storage::{Command, Key, NodeId, Pack, Sender};
use tokio::time::Instant;

use super::batches::{Answer, all, settle};
use super::log::{Fate, Rig, define, json_body};
use crate::ingest::{Config, Receipt, Refused};

fn seqs(receipts: &[Receipt]) -> Vec<u64> {
    receipts.iter().map(|one| one.seq.unwrap()).collect()
}

/// Each pack came as often as it did with the very same content, and none was made anew.
fn assert_never_repacked(seen: &[Pack]) {
    for pack in seen {
        let first = seen.iter().find(|one| one.number == pack.number).unwrap();
        assert!(first == pack, "pack {} was made anew", pack.number);
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_lost_and_replaced_within_a_second_is_noticed_by_nobody() {
    let rig = Rig::new();
    let mut answers = vec![rig.start("a", 0)];
    settle().await;
    rig.log.lead(false);
    let begun = Instant::now();
    for n in 1..=10 {
        answers.push(rig.start("a", n));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    rig.log.lead(true);
    let receipts: Vec<Receipt> = all(answers).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(seqs(&receipts), (1..=11).collect::<Vec<_>>(), "in order");
    assert!(receipts.iter().all(|one| !one.duplicate));
    assert_never_repacked(&rig.log.seen());
    assert_eq!(rig.head("a"), 11);
    let waited = begun.elapsed();
    assert!(
        waited < Duration::from_millis(1_100),
        "{waited:?}: asked as soon as one led"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_leader_each_is_refused_when_it_has_waited_and_the_number_is_used_again() {
    let rig = Rig::new();
    rig.log.lead(false);
    let begun = Instant::now();
    let first = rig.start("a", 1);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let second = rig.start("a", 2);
    let waited = |begun: Instant| begun.elapsed().as_millis();
    assert_eq!(first.await.unwrap(), Err(Refused::NoQuorum));
    assert!((5_000..5_600).contains(&waited(begun)), "{}", waited(begun));
    // Counted from when it came, not from when it got into a pack.
    assert_eq!(second.await.unwrap(), Err(Refused::NoQuorum));
    assert!((8_000..8_600).contains(&waited(begun)), "{}", waited(begun));
    rig.log.lead(true);
    assert_eq!(rig.start("a", 3).await.unwrap().unwrap().seq, Some(1));
    assert!(rig.log.seen().iter().all(|pack| pack.number == 1));
}

#[tokio::test(start_paused = true)]
async fn a_pack_that_the_old_leader_took_is_answered_by_the_new_one() {
    let rig = Rig::new();
    // Taken, but the word is lost with the leader; then nobody leads for a while.
    rig.log.next([Fate::TakenUnsaid]);
    rig.log.lead(false);
    let answer = rig.start("a", 1);
    tokio::time::sleep(Duration::from_secs(6)).await;
    rig.log.lead(true);
    let receipt = answer.await.unwrap().unwrap();
    assert_eq!((receipt.seq, receipt.duplicate), (Some(1), false));
    assert_never_repacked(&rig.log.seen());
    assert_eq!(rig.head("a"), 1, "no key, and still only once");
}

#[tokio::test(start_paused = true)]
async fn a_window_full_of_packs_goes_over_to_the_new_leader_as_it_is() {
    let rig = Rig::new();
    // The old leader took the first two, and its word on them was lost; the others never arrived.
    rig.log
        .next([Fate::TakenUnsaid, Fate::TakenUnsaid, Fate::Lost]);
    rig.log.next([Fate::Refused(Refused::NoQuorum)]);
    let answers = rig.fill_window().await;
    rig.log.lead(false);
    rig.log.let_go();
    tokio::time::sleep(Duration::from_secs(2)).await;
    rig.log.lead(true);
    let receipts: Vec<Receipt> = all(answers).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(seqs(&receipts), (1..=8).collect::<Vec<_>>());
    assert_never_repacked(&rig.log.seen());
    assert_eq!(rig.head("a"), 8);
}

#[tokio::test(start_paused = true)]
async fn a_window_full_of_packs_that_are_in_no_log_is_refused_as_a_whole() {
    let rig = Rig::new();
    rig.log.next(vec![Fate::Refused(Refused::NoQuorum); 4]);
    let answers = rig.fill_window().await;
    rig.log.lead(false);
    rig.log.let_go();
    for answer in all(answers).await {
        assert_eq!(answer, Err(Refused::NoQuorum));
    }
    rig.log.lead(true);
    assert_eq!(rig.start("a", 9).await.unwrap().unwrap().seq, Some(1));
    assert_eq!(rig.log.seen().last().unwrap().number, 1);
}

#[tokio::test(start_paused = true)]
async fn what_may_be_in_a_log_is_never_called_refused() {
    let rig = Rig::new();
    rig.log.next([Fate::Lost]);
    rig.log.lead(false);
    let begun = Instant::now();
    let answer = rig.start("a", 1).await.unwrap();
    assert_eq!(answer, Err(Refused::Unknown));
    let patience = Duration::from_millis(Config::default().answer_ms_max);
    assert!(begun.elapsed() >= patience);
    // It goes on being sent: whoever leads next takes it, and what comes after it.
    rig.log.lead(true);
    assert_eq!(rig.start("a", 2).await.unwrap().unwrap().seq, Some(2));
}

#[tokio::test(start_paused = true)]
async fn one_in_doubt_keeps_those_in_front_of_it_from_being_refused() {
    let rig = Rig::new();
    // The first is in no log; of the second nobody knows: its number must not be given away.
    rig.log.next([
        Fate::Refused(Refused::NoQuorum),
        Fate::Lost,
        Fate::Lost,
        Fate::Lost,
    ]);
    let answers = rig.fill_window().await;
    rig.log.lead(false);
    rig.log.let_go();
    for answer in all(answers).await {
        assert_eq!(answer, Err(Refused::Unknown));
    }
    rig.log.lead(true);
    assert_eq!(rig.start("a", 9).await.unwrap().unwrap().seq, Some(9));
    assert_never_repacked(&rig.log.seen());
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_nobody_leads_says_what_is_known() {
    let rig = Rig::with(Config {
        drain_ms_max: 20,
        ..Config::default()
    });
    rig.log.lead(false);
    let answers: Vec<Answer> = (0..2).map(|n| rig.start("a", n)).collect();
    settle().await;
    assert_eq!(rig.stage.stop(Duration::from_secs(5)).await, 0);
    for answer in all(answers).await {
        assert_eq!(answer, Err(Refused::Draining), "it is in no log");
    }
}

#[tokio::test]
async fn a_key_that_another_node_took_is_known_although_this_one_is_behind_and_the_form_says_no() {
    let send = async |rig: &Rig| {
        let key = Some(Key::Own("k".to_owned()));
        let body = json_body(r#"{"name":"Ada"}"#);
        rig.ingest.submit(&rig.form("a"), body, key).await
    };
    let other = Rig::new();
    let first = send(&other).await.unwrap();
    let taken = other.log.seen().remove(0);
    let here = Rig::new();
    let sender = Sender {
        node: NodeId(2),
        boot: 1,
    };
    here.log
        .accept_elsewhere(Command::Submit(Pack { sender, ..taken }));
    let stricter = json!({"type": "object", "required": ["other"]});
    define(&here.log, "a", &stricter);
    let again = send(&here).await.unwrap();
    assert_eq!((again.id, again.duplicate), (first.id, true));
    let form = here.form("a");
    let refused = here
        .ingest
        .submit(&form, json_body(r#"{"name":"Ada"}"#), None);
    assert!(matches!(refused.await, Err(Refused::Invalid(_))));
}
