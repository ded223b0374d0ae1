//! Gates before a broker that only counts and answers.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Api, Bait, Gates, Way};

const SOON: Duration = Duration::from_secs(5);
/// Nothing comes within it.
const A_WHILE: Duration = Duration::from_millis(100);
const ERROR: i16 = 47;

/// An `EndTxn` that commits, with its length.
fn end(correlation: u8, id: &str) -> Vec<u8> {
    let mut frame = vec![0, 26, 0, 1, 0, 0, 0, correlation, 0, 1, b'c'];
    frame.extend(i16::try_from(id.len()).unwrap().to_be_bytes());
    frame.extend(id.as_bytes());
    frame.extend([0; 8 + 2]);
    frame.push(1);
    let len = i32::try_from(frame.len()).unwrap().to_be_bytes();
    [&len[..], &frame].concat()
}

fn mine(way: Way) -> Bait {
    Bait::first(way, Api::EndTxn, "mine").any()
}

/// `AddPartitionsToTxn` of one partition of a topic.
fn add(correlation: u8, id: &str, topic: &str) -> Vec<u8> {
    let mut frame = vec![0, 24, 0, 0, 0, 0, 0, correlation, 0, 1, b'c'];
    frame.extend(i16::try_from(id.len()).unwrap().to_be_bytes());
    frame.extend(id.as_bytes());
    frame.extend([0; 8 + 2]);
    frame.extend([0, 0, 0, 1]);
    frame.extend(i16::try_from(topic.len()).unwrap().to_be_bytes());
    frame.extend(topic.as_bytes());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 0]);
    let len = i32::try_from(frame.len()).unwrap().to_be_bytes();
    [&len[..], &frame].concat()
}

/// A broker that counts what it is asked, and answers each with an error.
struct Broker {
    gates: Gates,
    asked: Arc<AtomicU32>,
    _tasks: JoinSet<()>,
}

impl Broker {
    async fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<AtomicU32>::default();
        let mut tasks = JoinSet::new();
        let count = Arc::clone(&asked);
        tasks.spawn(async move {
            let mut answering = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                answering.spawn(answer(stream, Arc::clone(&count)));
            }
        });
        let gates = Gates::open(Ipv4Addr::LOCALHOST, &[address]).await.unwrap();
        Self {
            gates,
            asked,
            _tasks: tasks,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.gates.addresses()[0]).await.unwrap()
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn answer(mut stream: TcpStream, asked: Arc<AtomicU32>) {
    while let Ok(len) = stream.read_i32().await {
        let mut frame = vec![0; usize::try_from(len).unwrap()];
        stream.read_exact(&mut frame).await.unwrap();
        asked.fetch_add(1, Ordering::Relaxed);
        let mut reply = vec![0, 0, 0, 10];
        reply.extend(&frame[4..8]);
        reply.extend([0; 4]);
        reply.extend(ERROR.to_be_bytes());
        if stream.write_all(&reply).await.is_err() {
            return;
        }
    }
}

/// The correlation of the next reply; `None`: the connection has ended.
async fn reply(stream: &mut TcpStream) -> Option<u8> {
    let mut frame = [0; 14];
    let read = timeout(SOON, stream.read_exact(&mut frame)).await.unwrap();
    read.ok().map(|_| frame[7])
}

#[tokio::test]
async fn all_passes_and_only_the_bait_is_caught_until_it_is_let_go() {
    let broker = Broker::new().await;
    let mut client = broker.connect().await;
    let trap = broker.gates.set(mine(Way::Request).behind(1));
    for (correlation, id) in [(1, "other"), (2, "mine")] {
        client.write_all(&end(correlation, id)).await.unwrap();
        assert_eq!(reply(&mut client).await, Some(correlation));
    }
    assert!(!trap.caught(A_WHILE).await);
    client.write_all(&end(3, "mine")).await.unwrap();
    assert!(trap.caught(SOON).await);
    assert_eq!((broker.asked(), trap.count()), (2, 1));
    trap.let_go();
    assert_eq!(reply(&mut client).await, Some(3));
    assert_eq!(trap.answer(SOON).await, Some(ERROR));
    // One that is let go takes nothing any more.
    client.write_all(&end(4, "mine")).await.unwrap();
    assert_eq!(reply(&mut client).await, Some(4));
}

#[tokio::test]
async fn what_is_held_arrives_though_the_product_is_long_gone() {
    for is_cut in [false, true] {
        let broker = Broker::new().await;
        let mut client = broker.connect().await;
        let trap = broker.gates.set(mine(Way::Request));
        client.write_all(&end(1, "mine")).await.unwrap();
        assert!(trap.caught(SOON).await);
        if is_cut {
            trap.cut();
            assert_eq!(reply(&mut client).await, None);
            // The same thing again, by another way.
            let mut again = broker.connect().await;
            again.write_all(&end(2, "mine")).await.unwrap();
            assert_eq!(reply(&mut again).await, Some(2));
        } else {
            drop(client);
        }
        let before = broker.asked();
        trap.let_go();
        assert_eq!(trap.answer(SOON).await, Some(ERROR));
        assert_eq!(broker.asked(), before + 1);
    }
}

#[tokio::test]
async fn what_is_dropped_never_arrives_and_ends_its_connection() {
    for way in [Way::Request, Way::Reply] {
        let broker = Broker::new().await;
        let mut client = broker.connect().await;
        let trap = broker.gates.set(mine(way));
        client.write_all(&end(1, "mine")).await.unwrap();
        assert!(trap.caught(SOON).await);
        trap.drop_it();
        assert_eq!(reply(&mut client).await, None);
        assert_eq!(broker.asked(), u32::from(way == Way::Reply));
    }
}

#[tokio::test]
async fn what_is_only_seen_is_not_held_and_a_trap_that_goes_lets_go() {
    let broker = Broker::new().await;
    let mut client = broker.connect().await;
    let seen = broker.gates.set(mine(Way::Reply).seen_only());
    client.write_all(&end(1, "mine")).await.unwrap();
    assert_eq!(reply(&mut client).await, Some(1));
    assert!(seen.caught(SOON).await);
    assert_eq!(seen.answer(SOON).await, Some(ERROR));
    let all = broker.gates.set(mine(Way::Request).every());
    let mut second = broker.connect().await;
    client.write_all(&end(2, "mine")).await.unwrap();
    second.write_all(&end(3, "mine")).await.unwrap();
    assert!(all.caught_so_many(2, SOON).await);
    drop(all);
    assert_eq!(
        (reply(&mut client).await, reply(&mut second).await),
        (Some(2), Some(3))
    );
}

#[tokio::test]
async fn a_transaction_that_holds_only_the_cursor_is_not_meant_unless_it_is_said() {
    let broker = Broker::new().await;
    let mut client = broker.connect().await;
    let of_records = Bait::first(Way::Request, Api::EndTxn, "mine").seen_only();
    let of_records = broker.gates.set(of_records);
    let sends = [
        (add(1, "mine", "formspool-c-t"), 0),
        (end(2, "mine"), 0),
        (add(3, "mine", "data"), 0),
        (add(4, "mine", "formspool-c-t"), 0),
        (end(5, "mine"), 1),
        // Asked again, it is of the same one; the next one is not.
        (end(6, "mine"), 1),
        (add(7, "mine", "formspool-c-t"), 1),
        (end(8, "mine"), 1),
    ];
    for (number, (frame, count)) in (1..).zip(sends) {
        client.write_all(&frame).await.unwrap();
        assert_eq!(reply(&mut client).await, Some(number));
        assert_eq!(of_records.count(), count, "{number}");
    }
}
