//! What members say to each other, from the outside: an older program, a broken one, a lost connection.

use std::net::SocketAddr;
use std::time::Duration;

use crate::site::{LIMIT, Site, close_all, define, has_form_everywhere, leader_of, propose, until};
use crate::wire::lossy::Lossy;
use crate::wire::{
    APPEND, FORWARD, SNAPSHOT, TALK, ask, connect, frame, hello, is_closed, read, refusal, say,
    start_each, stranger,
};
use bytes::Bytes;
use raft::{Error, Node, Standing};
use storage::{
    Command, EntryKind, Index, LogId, NodeId, Outcome, Pack, Seq, Submission, Term, encode_command,
};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// The longest that a stranger may take to say who it is, and some.
const STRANGERS_GONE: Duration = Duration::from_secs(15);

fn golden(text: &str) -> Vec<u8> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let bytes = lines.flat_map(str::split_whitespace);
    bytes
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

fn cluster(node: &Node) -> [u8; 16] {
    let digits: Vec<u8> = node
        .status()
        .cluster
        .bytes()
        .filter(|byte| *byte != b'-')
        .collect();
    let byte = |at: usize| {
        let pair = std::str::from_utf8(&digits[at * 2..at * 2 + 2]).unwrap();
        u8::from_str_radix(pair, 16).unwrap()
    };
    assert_eq!(digits.len(), 32);
    std::array::from_fn(byte)
}

fn number(node: &Node) -> u8 {
    u8::try_from(node.status().node.0).unwrap()
}

/// A cluster of three and the address of its first node.
async fn three() -> (Site, Vec<Node>, SocketAddr) {
    let site = Site::new(3);
    let nodes = start_each(&site, |_, _| {}).await;
    let address = site.addresses[0];
    (site, nodes, address)
}

async fn goes_on(nodes: &[Node], address: SocketAddr, name: &str) {
    propose(&nodes[0], &define(name)).await;
    has_form_everywhere(nodes, name).await;
    let mut stream = connect(address, &stranger()).await;
    let facts = say(&mut stream, &ask(7)).await.unwrap();
    assert_eq!(facts.first(), Some(&6), "facts: {facts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_caller_is_answered_in_its_version_and_a_wrong_one_in_words() {
    let ids = std::array::from_fn(|at| u8::try_from(at).unwrap());
    assert_eq!(
        hello((1, 1), APPEND, Some(ids), Some(1), Some(2)),
        golden(include_str!("../../testdata/hello.v1.hex")),
        "this test speaks as the golden bytes do"
    );
    let (_site, nodes, address) = three().await;
    let (ours, me) = (cluster(&nodes[0]), number(&nodes[0]));
    let (other, absent) = (me % 3 + 1, 9);
    let tell = async |words: Vec<u8>| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let answer = say(&mut stream, &words).await.unwrap();
        let refused = refusal(&answer);
        if refused.is_some() {
            assert!(is_closed(&mut stream, LIMIT).await);
        } else {
            assert_eq!(answer, [0, 1, 1], "version 1, of its first life");
        }
        refused
    };
    for versions in [(0, 1), (1, 1), (1, 9)] {
        for lane in APPEND..=TALK {
            let member = hello(versions, lane, Some(ours), Some(other), Some(me));
            assert_eq!(tell(member).await, None, "{versions:?}");
        }
        assert_eq!(tell(hello(versions, TALK, None, None, None)).await, None);
    }
    for (versions, words) in [((2, 9), "2 to 9"), ((0, 0), "0 to 0"), ((9, 1), "9 to 1")] {
        let member = hello(versions, APPEND, Some(ours), Some(other), Some(me));
        let said = tell(member).await.unwrap();
        assert!(said.contains("speaks versions 1 to 1"), "{said}");
        assert!(said.contains(words), "{said}");
    }
    for (caller, words) in [
        ((Some([7; 16]), Some(other), Some(me)), "belongs to cluster"),
        ((None, Some(other), Some(me)), "the caller to none"),
        ((Some(ours), Some(other), Some(absent)), "not node 9"),
        ((Some(ours), Some(me), Some(me)), "too"),
    ] {
        let (cluster, from, to) = caller;
        let said = tell(hello((1, 1), APPEND, cluster, from, to))
            .await
            .unwrap();
        assert!(said.contains(words), "{said}");
    }
    let no_lane = tell(hello((1, 1), APPEND, None, None, None)).await.unwrap();
    assert!(no_lane.contains("the caller to none"), "{no_lane}");
    goes_on(&nodes, address, "after").await;
    close_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_not_the_protocol_ends_its_own_connection_and_nothing_else() {
    let (_site, nodes, address) = three().await;
    // Before the hello: nothing is answered.
    let good = stranger();
    let mut bad: Vec<Vec<u8>> = vec![b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0xff; 4096]];
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        bad.push(flipped);
    }
    for words in &bad {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The other end may be gone before all is said.
        drop(stream.write_all(words).await);
        drop(stream.shutdown().await);
        let heard = read(&mut stream).await;
        assert!(heard.is_err(), "{words:?}: {heard:?}");
    }
    // After it: the connection ends, whatever comes behind.
    let mut huge = b"FSPLPEER".to_vec();
    huge.extend_from_slice(&u32::MAX.to_le_bytes());
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&huge).await.unwrap();
    assert!(
        is_closed(&mut stream, Duration::from_secs(2)).await,
        "not only by the clock"
    );
    let mut flipped = ask(1);
    *flipped.last_mut().unwrap() ^= 1;
    for words in [
        flipped,
        u32::MAX.to_le_bytes().to_vec(),
        frame(1, &[200]),
        frame(1, &[8, 0, 0]),
        frame(1, &[]),
    ] {
        let mut stream = connect(address, &stranger()).await;
        stream.write_all(&words).await.unwrap();
        assert!(is_closed(&mut stream, LIMIT).await, "{words:?}");
    }
    // What is not asked on this lane is refused, and the connection stays.
    let mut stream = connect(address, &stranger()).await;
    let append = golden(include_str!("../../testdata/append.v1.hex"));
    let answer = say(&mut stream, &append).await.unwrap();
    assert_eq!(answer.first(), Some(&10), "cannot: {answer:?}");
    assert_eq!(say(&mut stream, &ask(2)).await.unwrap().first(), Some(&6));
    goes_on(&nodes, address, "after").await;
    close_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_callers_that_say_nothing_hold_up_nobody_who_is_in() {
    let (_site, nodes, address) = three().await;
    goes_on(&nodes, address, "before").await;
    let mut crowd = Vec::new();
    for _ in 0..300 {
        crowd.push(TcpStream::connect(address).await.unwrap());
    }
    propose(&nodes[0], &define("meanwhile")).await;
    has_form_everywhere(&nodes, "meanwhile").await;
    let gone = crowd.iter_mut().map(|one| is_closed(one, STRANGERS_GONE));
    let gone = futures::future::join_all(gone).await;
    assert!(gone.iter().all(|is_gone| *is_gone));
    goes_on(&nodes, address, "after").await;
    close_all(nodes).await;
}

/// An append by node `leader` of term 50: blank entries at `indexes`, all below 65,536.
fn append(number: u64, leader: u8, prev: LogId, indexes: std::ops::Range<u64>) -> Vec<u8> {
    let small = |n: u64| -> Vec<u8> {
        if n < 251 {
            vec![u8::try_from(n).unwrap()]
        } else {
            let n = u16::try_from(n).unwrap().to_le_bytes();
            vec![251, n[0], n[1]]
        }
    };
    let id = |term: u64, node: u64, index: u64| [small(term), small(node), small(index)].concat();
    let mut body = vec![0, 50, leader, 1, 1];
    body.extend(id(prev.term.0, u64::from(prev.node.0), prev.index.0));
    body.push(0); // nothing is said about what is committed
    body.extend(small(indexes.end - indexes.start));
    for index in indexes {
        body.extend(id(50, u64::from(leader), index));
        body.extend([0, 0]);
    }
    frame(number, &body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_of_an_older_leader_are_kept_in_the_order_in_which_they_were_sent() {
    let (site, mut nodes, _) = three().await;
    propose(&nodes[0], &define("a")).await;
    has_form_everywhere(&nodes, "a").await;
    // The one that stays follows, and hears of nobody else.
    let at = (leader_of(&nodes).unwrap() + 1) % 3;
    let node = nodes.remove(at);
    let leader = number(&nodes[0]);
    close_all(nodes).await;
    let mut prev = node.wal().last().unwrap();
    let first = prev.index.next();
    let member = hello(
        (1, 1),
        APPEND,
        Some(cluster(&node)),
        Some(leader),
        Some(number(&node)),
    );
    let mut stream = connect(site.addresses[at], &member).await;
    let mut together = Vec::new();
    let (requests, each) = (300, 3);
    for number in 0..requests {
        let next = prev.index.0 + 1;
        together.extend(append(number, leader, prev, next..next + each));
        prev = LogId {
            term: Term(50),
            node: NodeId(u32::from(leader)),
            index: Index(next + each - 1),
        };
    }
    let (mut from, mut to) = stream.split();
    let sent = async { to.write_all(&together).await.unwrap() };
    let answered = async {
        let mut numbers = Vec::new();
        for _ in 0..requests {
            let (number, body) = read(&mut from).await.unwrap();
            assert_eq!(body, [0, 0], "request {number}");
            numbers.push(number);
        }
        numbers
    };
    let ((), mut numbers) = tokio::join!(sent, answered);
    numbers.sort_unstable();
    assert_eq!(numbers, (0..requests).collect::<Vec<_>>());
    assert_eq!(node.wal().last(), Some(prev));
    let kept = node
        .wal()
        .read(first..prev.index.next(), usize::MAX)
        .unwrap();
    assert_eq!(kept.len() as u64, requests * each);
    assert!(
        kept.iter()
            .all(|entry| entry.id.term == Term(50) && entry.kind == EntryKind::Blank)
    );

    // The golden request is of an older term: answered as the golden answers are, with the newer vote.
    let old = golden(include_str!("../../testdata/append.v1.hex"));
    assert_eq!(say(&mut stream, &old).await.unwrap(), [0, 3, 50, leader, 1]);
    let odd = LogId {
        index: Index(prev.index.0 + 100),
        ..prev
    };
    let conflict = append(1, leader, odd, 60_000..60_000);
    assert_eq!(say(&mut stream, &conflict).await.unwrap(), [0, 2]);
    node.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_does_not_speak_for_a_member() {
    let (site, mut nodes, address) = three().await;
    let mut stream = connect(site.addresses[2], &stranger()).await;
    let facts = say(&mut stream, &ask(1)).await.unwrap();
    let gone = nodes.pop().unwrap();
    let number = gone.status().node;
    gone.close().await.unwrap();
    let told = [&[8, 1], &facts[1..]].concat();
    let mut stream = connect(address, &stranger()).await;
    let is_missed = async {
        loop {
            let answer = say(&mut stream, &frame(2, &told)).await.unwrap();
            assert_eq!(answer.first(), Some(&6), "asking is free");
            let roster = nodes[0].roster();
            if roster
                .iter()
                .any(|seat| seat.node == number && seat.state == Standing::Unreachable)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let missed = tokio::time::timeout(STRANGERS_GONE, is_missed).await;
    assert!(missed.is_ok(), "{:?}", nodes[0].roster());
    close_all(nodes).await;
}

fn pack(form: &Outcome, node: &Node, number: u64) -> Bytes {
    let Outcome::Form { id, .. } = form else {
        unreachable!("{form:?}")
    };
    encode_command(&Command::Submit(Pack {
        sender: node.sender(),
        number,
        submissions: vec![Submission {
            id: [1; 16],
            form: *id,
            form_version: 1,
            received_ms: 1,
            key: None,
            digest: [1; 16],
            is_withheld: false,
            body: Bytes::from_static(b"{}"),
        }],
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forwarded_pack_whose_answer_is_lost_is_unknown_and_taken_once() {
    let site = Site::new(3);
    let lossy: Vec<_> = (0..3).map(|_| Lossy::new(FORWARD)).collect();
    let transports = lossy.clone();
    let nodes = start_each(&site, |at, setup| {
        setup.transport = std::sync::Arc::new(transports[at].clone());
    })
    .await;
    let form = propose(&nodes[0], &define("a")).await;
    let at = (leader_of(&nodes).unwrap() + 1) % 3;
    let node = &nodes[at];
    let head = || node.view().form("a").unwrap().unwrap().head;
    // Its connection to the leader is there from now on.
    let warm = propose(node, &pack(&form, node, 1)).await;
    assert!(matches!(warm, Outcome::Pack(_)), "{warm:?}");

    let second = pack(&form, node, 2);
    lossy[at].lose_an_answer();
    let lost = tokio::time::timeout(LIMIT, node.propose(second.clone())).await;
    assert!(matches!(lost.unwrap(), Err(Error::Unknown)));
    assert_eq!(lossy[at].lost(), 1);
    until("it was taken all the same", || head() == Seq(2)).await;
    let stored = propose(node, &second).await;
    assert!(matches!(stored, Outcome::Pack(_)), "{stored:?}");
    assert_eq!(propose(node, &second).await, stored);
    assert!(matches!(
        propose(node, &pack(&form, node, 3)).await,
        Outcome::Pack(_)
    ));
    until("and the next one", || head() == Seq(3)).await;
    close_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_appends_heals_wherever_its_connection_is_lost() {
    let site = Site::new(3);
    let lossy = Lossy::new(APPEND);
    let nodes = start_each(&site, |_, setup| {
        setup.transport = std::sync::Arc::new(lossy.clone());
    })
    .await;
    propose(&nodes[0], &define("first")).await;
    let leader = &nodes[leader_of(&nodes).unwrap()];
    let mut round = 0;
    for cut in [1, 7, 16, 17, 300, 1000, 4000] {
        lossy.lose_after(cut);
        let mut waiting = Vec::new();
        for number in 0..200 {
            let command = define(&format!("f{round}-{number}"));
            waiting.push(leader.submit(command).await.unwrap());
        }
        let mut before = Index(0);
        for pending in waiting {
            let ended = tokio::time::timeout(LIMIT, pending).await.unwrap();
            let index = ended.unwrap().log_id.index;
            assert!(before < index);
            before = index;
        }
        round += 1;
    }
    assert!(lossy.lost() >= round, "{}", lossy.lost());
    has_form_everywhere(&nodes, &format!("f{}-199", round - 1)).await;
    let last = leader.wal().last().unwrap();
    until("all logs are as long", || {
        nodes.iter().all(|node| node.wal().last() == Some(last))
    })
    .await;
    let whole = |node: &Node| {
        let entries = node
            .wal()
            .read(Index(1)..last.index.next(), usize::MAX)
            .unwrap();
        entries
            .into_iter()
            .map(|entry| (entry.id, entry.payload))
            .collect::<Vec<_>>()
    };
    let expected = whole(leader);
    for node in &nodes {
        assert_eq!(whole(node), expected);
    }
    close_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_another_has_replaced_is_written_to_no_more() {
    let (_site, nodes, address) = three().await;
    let (ours, me) = (cluster(&nodes[0]), number(&nodes[0]));
    let member = hello((1, 1), SNAPSHOT, Some(ours), Some(me % 3 + 1), Some(me));
    let offer = frame(1, &[4, 1, 1, 1, 1, 1, 40]);
    let piece = frame(2, &[5, 3, 7, 7, 7]);
    let done = [7, 0, 0];
    let mut old = connect(address, &member).await;
    assert_eq!(say(&mut old, &offer).await.unwrap(), done);
    assert_eq!(say(&mut old, &piece).await.unwrap(), done);
    let mut new = connect(address, &member).await;
    assert_eq!(say(&mut new, &offer).await.unwrap(), done);
    for words in [&piece, &frame(3, &[5, 0])] {
        let refused = say(&mut old, words).await.unwrap();
        assert_eq!(refused.first(), Some(&10), "{refused:?}");
    }
    assert_eq!(say(&mut new, &piece).await.unwrap(), done);
    let nonsense = say(&mut new, &frame(3, &[5, 0])).await.unwrap();
    assert_eq!(nonsense.first(), Some(&10), "three bytes are no checkpoint");
    goes_on(&nodes, address, "after").await;
    close_all(nodes).await;
}
