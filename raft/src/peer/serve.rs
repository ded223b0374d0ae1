//! Takes connections in and hands what comes on them to the desk.
//!
//! Holds: requests of one connection are begun in the order in which they came; the answers go out as
//! they are ready. A caller that sends faster than it is answered is read no further.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::io::{AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::desk::Desk;
use super::frame::{BODY_BYTES_MAX, Frame, frame, read_frame};
use super::hello::{Hello, Lane, Welcome, answer, hear};
use super::transport::{Listener, Pipe};
use super::wire::{Reply, Request};
use crate::receive::Receiving;

/// Connections at a time: five kinds to each of a few members, and some that are being replaced.
const CONNECTIONS_MAX: usize = 256;
/// A caller has so long to say who it is.
const HELLO_TIME_MAX: Duration = Duration::from_secs(5);
/// Requests of one connection under way: with what a link keeps waiting, more than openraft sends.
const UNDER_WAY_MAX: usize = 128;
/// Their bytes; one request may go beyond.
const UNDER_WAY_BYTES_MAX: usize = 16 << 20;
/// A caller that takes no answers for so long is not waited for: what is under way for it stands still
/// meanwhile, with all that it holds.
const WRITE_TIME_MAX: Duration = Duration::from_secs(10);
/// What anybody may ask on the lane that is open to strangers is short.
const TALK_BYTES_MAX: usize = 64 << 10;
/// Frames that were read ahead.
const READ_AHEAD_MAX: usize = 4;

/// Listens until it is told to stop.
pub(crate) async fn serve(
    mut listener: Box<dyn Listener>,
    desk: Arc<Desk>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let seats = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let pipe = match accepted {
            Ok(pipe) => pipe,
            Err(error) => {
                debug!(%error, "a peer's connection failed as it came in");
                // Out of file handles, most likely: it passes, and must not spin until then.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(seat) = Arc::clone(&seats).try_acquire_owned() else {
            continue; // dropped: the caller dials again
        };
        let (desk, stop) = (Arc::clone(&desk), stop.clone());
        tasks.spawn(async move {
            let served = tokio::select! {
                biased;
                () = stop.cancelled() => Ok(()),
                served = connection(pipe, &desk) => served,
            };
            if let Err(error) = served {
                debug!(%error, "a peer's connection ended");
            }
            drop(seat);
        });
    }
}

async fn connection(mut pipe: Box<dyn Pipe>, desk: &Arc<Desk>) -> io::Result<()> {
    let greeted = tokio::time::timeout(HELLO_TIME_MAX, async {
        let hello = hear(&mut *pipe).await?;
        let welcome = hello.judge(desk.me());
        answer(&mut *pipe, &welcome).await?;
        if let Welcome::Refused(words) = &welcome {
            desk.refused(&hello, words);
        }
        Ok::<_, io::Error>(matches!(welcome, Welcome::Version { .. }).then_some(hello))
    });
    let Some(hello) = greeted.await.map_err(|_| io::ErrorKind::TimedOut)?? else {
        return Ok(());
    };
    let (read, write) = tokio::io::split(pipe);
    match hello.lane {
        Lane::Snapshot => checkpoints(read, write, desk).await,
        Lane::Append | Lane::Vote | Lane::Forward | Lane::Talk => {
            requests(read, write, desk, &hello).await
        }
    }
}

/// One request after the other is begun; answers go out as they come.
async fn requests(
    read: ReadHalf<Box<dyn Pipe>>,
    mut write: WriteHalf<Box<dyn Pipe>>,
    desk: &Arc<Desk>,
    hello: &Hello,
) -> io::Result<()> {
    let bytes_max = match hello.lane {
        Lane::Talk => TALK_BYTES_MAX,
        Lane::Append | Lane::Vote | Lane::Snapshot | Lane::Forward => BODY_BYTES_MAX,
    };
    let (ahead, mut frames) = mpsc::channel(READ_AHEAD_MAX);
    let mut reader = std::pin::pin!(read_all(read, ahead, bytes_max));
    let mut under_way = UnderWay::default();
    let mut is_over = false;
    loop {
        tokio::select! {
            biased;
            Some(ended) = under_way.all.next() => {
                let mut out = under_way.end(&ended)?.to_vec();
                // What else is ready goes out in the same write.
                while let Some(Some(ended)) = under_way.all.next().now_or_never() {
                    out.extend_from_slice(&under_way.end(&ended)?);
                }
                send(&mut write, &out).await?;
            }
            Some(frame) = frames.recv(), if under_way.has_room() => {
                let answer = desk.answer(hello, frame.read::<Request>()?);
                if let Some(out) = under_way.begin(&frame, answer)? {
                    send(&mut write, &out).await?;
                }
            }
            ended = &mut reader, if !is_over => {
                ended?;
                is_over = true;
            }
            else => return Ok(()),
        }
        if is_over && under_way.all.is_empty() && frames.is_empty() {
            return Ok(());
        }
    }
}

/// Requests that are begun and not answered.
#[derive(Default)]
struct UnderWay {
    all: FuturesUnordered<BoxFuture<'static, Ended>>,
    bytes: usize,
}

/// One that is.
struct Ended {
    number: u64,
    bytes: usize,
    reply: Reply,
}

impl UnderWay {
    fn has_room(&self) -> bool {
        self.all.len() < UNDER_WAY_MAX && self.bytes < UNDER_WAY_BYTES_MAX
    }

    /// Begins it before the next one is read: that is what keeps their order. Its answer, if that is
    /// there at once.
    fn begin(
        &mut self,
        asked: &Frame,
        mut answer: BoxFuture<'static, Reply>,
    ) -> io::Result<Option<Bytes>> {
        let (number, bytes) = (asked.number, asked.body.len());
        // Unconstrained: a task that has used up its turn would come back without having begun.
        let begun = tokio::task::unconstrained(&mut answer).now_or_never();
        if let Some(reply) = begun {
            return frame(number, &reply).map(Some);
        }
        self.bytes += bytes;
        self.all.push(Box::pin(async move {
            Ended {
                number,
                bytes,
                reply: answer.await,
            }
        }));
        Ok(None)
    }

    fn end(&mut self, ended: &Ended) -> io::Result<Bytes> {
        self.bytes -= ended.bytes;
        frame(ended.number, &ended.reply)
    }
}

/// Flushed: TLS keeps back what the connection did not take at once.
async fn send(to: &mut WriteHalf<Box<dyn Pipe>>, bytes: &[u8]) -> io::Result<()> {
    let sent = async {
        to.write_all(bytes).await?;
        to.flush().await
    };
    let sent = tokio::time::timeout(WRITE_TIME_MAX, sent).await;
    sent.map_err(|_| io::ErrorKind::TimedOut)?
}

async fn read_all(
    mut read: ReadHalf<Box<dyn Pipe>>,
    ahead: mpsc::Sender<Frame>,
    bytes_max: usize,
) -> io::Result<()> {
    while let Some(frame) = read_frame(&mut read, bytes_max).await? {
        if ahead.send(frame).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// A checkpoint comes in pieces, one after the other.
async fn checkpoints(
    mut read: ReadHalf<Box<dyn Pipe>>,
    mut write: WriteHalf<Box<dyn Pipe>>,
    desk: &Arc<Desk>,
) -> io::Result<()> {
    let mut receiving: Option<Receiving> = None;
    while let Some(next) = read_frame(&mut read, BODY_BYTES_MAX).await? {
        let reply = match (next.read::<Request>()?, receiving.take()) {
            (Request::Snapshot(offer), _) => match desk.receive(offer).await {
                Ok(begun) => {
                    receiving = Some(begun);
                    done()
                }
                Err(why) => Reply::Cannot(why),
            },
            (Request::Piece(piece), Some(begun)) if piece.is_empty() => {
                begun.install(desk).await.unwrap_or_else(Reply::Cannot)
            }
            (Request::Piece(piece), Some(begun)) => match write_piece(begun, piece).await {
                Ok(begun) => {
                    receiving = Some(begun);
                    done()
                }
                Err(why) => Reply::Cannot(why),
            },
            _ => Reply::Cannot("a piece of nothing".to_owned()),
        };
        send(&mut write, &frame(next.number, &reply)?).await?;
    }
    Ok(())
}

async fn write_piece(begun: Receiving, piece: Bytes) -> Result<Receiving, String> {
    begun.write(piece).await
}

fn done() -> Reply {
    Reply::Done(Ok(String::new()))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Poll;

    use tokio::io::{AsyncReadExt as _, DuplexStream};

    use super::*;
    use crate::peer::hello::greet;
    use crate::peer::wire::Asking;

    async fn guest(desk: &Arc<Desk>) -> (DuplexStream, tokio::task::JoinHandle<io::Result<()>>) {
        let (mut near, far) = tokio::io::duplex(4096);
        let desk = Arc::clone(desk);
        #[expect(clippy::disallowed_methods, reason = "a test waits for it itself")]
        let served = tokio::spawn(async move { connection(Box::new(far), &desk).await });
        let hello = Hello {
            versions: (1, 1),
            lane: Lane::Talk,
            cluster: None,
            from: None,
            to: None,
        };
        greet(&mut near, &hello).await.unwrap();
        (near, served)
    }

    #[tokio::test]
    async fn a_request_is_begun_at_once_even_where_the_task_has_used_up_its_turn() {
        let begun = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&begun);
        let answer = Box::pin(async move {
            tokio::task::coop::consume_budget().await;
            told.store(true, Ordering::Release);
            std::future::pending().await
        });
        let asked = Frame {
            number: 1,
            body: Bytes::new(),
        };
        let mut answer = Some(answer as BoxFuture<'static, Reply>);
        let is_begun = poll_fn(|context| {
            while tokio::task::coop::has_budget_remaining() {
                let spent = std::pin::pin!(tokio::task::coop::consume_budget());
                assert!(spent.poll(context).is_ready());
            }
            let answer = answer.take().unwrap();
            let mut under_way = UnderWay::default();
            assert!(under_way.begin(&asked, answer).unwrap().is_none());
            Poll::Ready(begun.load(Ordering::Acquire))
        });
        assert!(is_begun.await);
    }

    #[test]
    fn what_is_under_way_is_bounded_by_bytes_too() {
        let mut under_way = UnderWay::default();
        let asked = Frame {
            number: 1,
            body: Bytes::from(vec![0; UNDER_WAY_BYTES_MAX / 2]),
        };
        for _ in 0..2 {
            assert!(under_way.has_room());
            let never = Box::pin(std::future::pending());
            assert!(under_way.begin(&asked, never).unwrap().is_none());
        }
        assert!(!under_way.has_room());
        let ended = Ended {
            number: 1,
            bytes: asked.body.len(),
            reply: done(),
        };
        under_way.end(&ended).unwrap();
        assert!(under_way.has_room());
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_takes_no_answers_is_let_go() {
        let (mut near, served) = guest(&Arc::default()).await;
        let ask = frame(1, &Request::Ask(Asking::default())).unwrap();
        let asking = async { while near.write_all(&ask).await.is_ok() {} };
        let gone = tokio::time::timeout(WRITE_TIME_MAX * 3, asking).await;
        assert!(gone.is_ok());
        let ended = served.await.unwrap().unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_says_nothing_or_says_it_slowly_is_let_go() {
        for words in [&b""[..], b"FSPLP", b"FSPLPEER", b"FSPLPEER\x06\0\0\0"] {
            let (mut near, far) = tokio::io::duplex(4096);
            near.write_all(words).await.unwrap();
            let since = tokio::time::Instant::now();
            let ended = connection(Box::new(far), &Arc::default()).await;
            assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert_eq!(since.elapsed(), HELLO_TIME_MAX);
        }
    }

    #[tokio::test]
    async fn a_stranger_is_let_in_to_ask_short_questions_alone() {
        let (mut near, served) = guest(&Arc::default()).await;
        let len = u32::try_from(TALK_BYTES_MAX + 1).unwrap();
        near.write_all(&len.to_le_bytes()).await.unwrap();
        let refused = tokio::time::timeout(HELLO_TIME_MAX, served).await;
        let refused = refused.unwrap().unwrap().unwrap_err();
        assert!(refused.to_string().contains("65537 bytes"), "{refused}");
    }

    #[tokio::test]
    async fn a_stranger_is_not_read_beyond_what_a_hello_may_be() {
        let (mut near, far) = tokio::io::duplex(4096);
        near.write_all(b"FSPLPEER\x01\x10\0\0").await.unwrap();
        let refused = connection(Box::new(far), &Arc::default()).await;
        assert!(refused.unwrap_err().to_string().contains("4097 bytes"));
        assert_eq!(near.read(&mut [0]).await.unwrap(), 0);
    }
}
