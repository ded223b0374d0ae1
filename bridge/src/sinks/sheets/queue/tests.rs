//! The line: whose turn it is, and what Google sees of it.

use std::collections::BTreeMap;

use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};

use super::*;

const MINUTE: Duration = Duration::from_mins(1);

fn ask(lane: usize, place: Option<&str>) -> Ask {
    Ask {
        lane: Lane::new("t", &format!("f{lane:03}")),
        place: place.map(Arc::from),
    }
}

/// Many lanes that always have more to send, each request answered after `answer`.
async fn run(
    lanes: usize,
    places: usize,
    queue: &Queue,
    requests: usize,
    answer: Duration,
) -> Vec<(usize, Instant, Instant)> {
    let mut sent = Vec::new();
    let one = |lane: usize| {
        let place = format!("s{}", lane % places);
        let queue = queue.clone();
        async move {
            let grant = queue.ask(ask(lane, Some(&place))).await;
            let began = Instant::now();
            assert!(grant.use_it() && !grant.use_it());
            tokio::time::sleep(answer).await;
            drop(grant);
            (lane, began, Instant::now())
        }
    };
    let mut under_way: FuturesUnordered<_> = (0..lanes).map(|lane| one(lane).boxed()).collect();
    while sent.len() < requests {
        let (lane, began, ended) = under_way.next().await.unwrap();
        sent.push((lane, began, ended));
        under_way.push(one(lane).boxed());
    }
    sent
}

#[tokio::test(start_paused = true)]
async fn three_hundred_lanes_get_their_turn_and_google_never_counts_too_many() {
    let queue = Queue::new(60, MINUTE);
    let began = Instant::now();
    let sent = run(300, 300, &queue, 1500, Duration::from_millis(700)).await;
    let fair = MINUTE.mul_f64(300.0 / 55.0);
    let mut last: BTreeMap<usize, Instant> = (0..300).map(|lane| (lane, began)).collect();
    for (lane, at, _) in &sent {
        let waited = *at - last.insert(*lane, *at).unwrap();
        assert!(waited <= fair.mul_f64(1.2), "lane {lane} waited {waited:?}");
    }
    let end = sent.last().unwrap().1;
    for (lane, at) in last {
        assert!(end - at <= fair.mul_f64(1.2), "lane {lane} waits");
    }
    // Google counts each somewhere between its start and its end: the worst it can see.
    for (_, from, _) in &sent {
        let until = *from + MINUTE;
        let seen = sent
            .iter()
            .filter(|(_, began, ended)| *ended >= *from && *began < until);
        assert!(seen.count() <= 55 + 55, "a sanity bound");
        let surely = sent
            .iter()
            .filter(|(_, began, _)| (*from..until).contains(began));
        assert!(surely.count() <= 55);
    }
    // And none of it is wasted.
    let minutes = (end - began).as_secs_f64() / 60.0;
    assert!(1500.0 / minutes >= 52.0, "{minutes} minutes");
}

#[tokio::test(start_paused = true)]
async fn a_request_counts_until_a_minute_after_its_answer() {
    let queue = Queue::new(2, MINUTE);
    let slow = queue.ask(ask(0, None)).await;
    assert!(slow.use_it());
    tokio::time::sleep(Duration::from_secs(50)).await;
    drop(slow);
    let began = Instant::now();
    drop(queue.ask(ask(1, None)).await);
    assert_eq!(began.elapsed(), MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_spreadsheet_has_one_request_under_way() {
    let queue = Queue::new(600, MINUTE);
    let first = queue.ask(ask(0, Some("s"))).await;
    let second = queue.ask(ask(1, Some("s")));
    tokio::pin!(second);
    assert!(futures::poll!(&mut second).is_pending());
    // Another one's lane does not wait for it.
    let began = Instant::now();
    drop(queue.ask(ask(2, Some("other"))).await);
    assert_eq!(began.elapsed(), Duration::ZERO);
    drop(first);
    drop(second.await);
}

#[tokio::test(start_paused = true)]
async fn lanes_of_a_busy_spreadsheet_share_with_the_rest() {
    let queue = Queue::new(60, MINUTE);
    let sent = run(30, 3, &queue, 600, Duration::from_millis(100)).await;
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for (lane, ..) in sent {
        *counts.entry(lane).or_default() += 1;
    }
    let (least, most) = (
        counts.values().min().unwrap(),
        counts.values().max().unwrap(),
    );
    assert!(most - least <= 2, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn within_a_turn_who_came_first_goes_first() {
    let queue = Queue::new(2, MINUTE);
    let held = queue.ask(ask(9, None)).await;
    let (first, second) = (queue.ask(ask(7, None)), queue.ask(ask(1, None)));
    tokio::pin!(first, second);
    assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
    drop(held);
    assert!(futures::poll!(&mut second).is_pending());
    assert!(futures::poll!(&mut first).is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_is_not_used_costs_nothing_nor_does_one_that_was_not_fetched() {
    let queue = Queue::new(2, MINUTE);
    for _ in 0..10 {
        drop(queue.ask(ask(0, Some("s"))).await);
    }
    let held = queue.ask(ask(0, Some("s"))).await;
    {
        let gone = queue.ask(ask(1, Some("s")));
        tokio::pin!(gone);
        assert!(futures::poll!(&mut gone).is_pending());
        drop(held);
        // Another waiter grants it to the one that is about to go.
        let other = queue.ask(ask(2, Some("t")));
        tokio::pin!(other);
        assert!(futures::poll!(&mut other).is_pending());
    }
    let began = Instant::now();
    drop(queue.ask(ask(3, Some("s"))).await);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn too_many_requests_pause_the_line_and_a_lower_quota_is_kept() {
    let queue = Queue::new(60, MINUTE);
    queue.pause(Duration::from_secs(7));
    let began = Instant::now();
    drop(queue.ask(ask(0, None)).await);
    assert_eq!(began.elapsed(), Duration::from_secs(7));
    assert_eq!(queue.status().per_minute, 55);
    queue.told(24);
    assert_eq!(queue.status().per_minute, 22);
    queue.told(1000);
    assert_eq!(queue.status().per_minute, 55);
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_is_being_served_gets_one_more_before_all_others() {
    let queue = Queue::new(3, MINUTE);
    let served = queue.ask(ask(0, Some("s"))).await;
    assert!(served.use_it());
    let other = queue.ask(ask(1, None)).await;
    assert!(other.use_it());
    drop(other);
    let waits = queue.ask(ask(2, None));
    tokio::pin!(waits);
    assert!(futures::poll!(&mut waits).is_pending());
    let lane = Lane::new("t", "f000");
    let more = queue.ask_next(&lane);
    tokio::pin!(more);
    tokio::select! {
        biased;
        _ = &mut waits => panic!("the other went first"),
        grant = &mut more => drop(grant),
    }
}
