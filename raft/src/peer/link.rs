//! The asking end: a connection to one member for one kind of request, dialled when it is needed.
//!
//! Holds: requests of one caller go out in the order in which it sent them; each ends with its answer,
//! or with an error once the connection is gone. A request that was not sent is told apart from one
//! whose answer was lost. A connection that a caller gave up on is not used again: what comes late on
//! it could only confuse.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use storage::NodeId;
use tokio::io::{AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::frame::{BODY_BYTES_MAX, frame, read_frame};
use super::hello::{Hello, Lane, VERSION_MAX, VERSION_MIN, Welcome, greet};
use super::transport::{Pipe, Transport};
use super::wire::{Reply, Request};

const SPOKEN: std::ops::RangeInclusive<u16> = VERSION_MIN..=VERSION_MAX;
/// Requests that wait for the wire: more than any caller keeps under way at once.
const QUEUE_MAX: usize = 128;
/// A connection on which nothing goes out for so long is given up.
const QUEUE_TIME_MAX: Duration = Duration::from_secs(5);
/// One write takes so much of what waits.
const WRITE_BYTES_MAX: usize = 1 << 20;

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// It was not sent: nobody listens there.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It was not sent: whoever listens there does not want to hear it.
    #[error("refused: {0}")]
    Refused(String),
    /// It was sent and may have been heard.
    #[error("the answer was lost: {0}")]
    Lost(&'static str),
}

/// What all links of a node share.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// Who calls; none before this node has an identity.
    pub(crate) me: Option<([u8; 16], NodeId)>,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer")
            .field("me", &self.me)
            .finish_non_exhaustive()
    }
}

/// A way to one member.
#[derive(Debug)]
pub(crate) struct Link {
    dialer: Dialer,
    lane: Lane,
    to: Option<NodeId>,
    address: String,
    line: tokio::sync::Mutex<Option<Line>>,
}

impl Link {
    /// To node `to`, or to whoever listens at `address`.
    pub(crate) fn new(dialer: Dialer, lane: Lane, to: Option<NodeId>, address: &str) -> Self {
        Self {
            dialer,
            lane,
            to,
            address: address.to_owned(),
            line: tokio::sync::Mutex::new(None),
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Ends the connection, if there is one: everything under way on it is lost.
    pub(crate) fn hang_up(&self) {
        if let Ok(held) = self.line.try_lock()
            && let Some(line) = &*held
        {
            line.hang_up();
        }
    }

    /// The living connection, dialled anew if there is none. Whoever finds another one dialling waits
    /// with it, and no longer than it would alone.
    pub(crate) async fn line(&self, limit: Duration) -> Result<Line, LinkError> {
        let living = async {
            let mut held = self.line.lock().await;
            if let Some(line) = held.as_ref().filter(|line| !line.is_gone()) {
                return Ok(line.clone());
            }
            *held = None;
            Ok(held.insert(self.dial().await?).clone())
        };
        let living = tokio::time::timeout(limit, living).await;
        living.unwrap_or_else(|_| Err(too_late()))
    }

    /// Asks and waits.
    pub(crate) async fn call(
        &self,
        request: &Request,
        limit: Duration,
    ) -> Result<Reply, LinkError> {
        let until = tokio::time::Instant::now() + limit;
        let line = self.line(limit).await?;
        let sent = tokio::time::timeout_at(until, line.send(request)).await;
        let waiting = sent.unwrap_or_else(|_| {
            line.hang_up();
            Err(too_late())
        })?;
        let answered = tokio::time::timeout_at(until, waiting).await;
        let Ok(reply) = answered else {
            line.hang_up();
            return Err(LinkError::Lost("no answer in time"));
        };
        reply.map_err(|_| LinkError::Lost("the connection ended"))
    }

    async fn dial(&self) -> Result<Line, LinkError> {
        let dialed_at = Instant::now();
        let unreachable = |error: io::Error| LinkError::Unreachable(error.to_string());
        let dialed = self.dialer.transport.dial(&self.address).await;
        let mut pipe = dialed.map_err(unreachable)?;
        let (cluster, from) = self.dialer.me.unzip();
        let hello = Hello {
            versions: (VERSION_MIN, VERSION_MAX),
            lane: self.lane,
            // Whoever is not meant by number is asked as a stranger would ask.
            cluster: cluster.filter(|_| self.to.is_some()),
            from,
            to: self.to,
        };
        match greet(&mut *pipe, &hello).await.map_err(unreachable)? {
            Welcome::Version { version, .. } if !SPOKEN.contains(&version) => {
                Err(LinkError::Refused(format!(
                    "it answers in version {version}, which was not offered"
                )))
            }
            Welcome::Version { boot, .. } => Ok(Line::spawn(pipe, boot, dialed_at, &self.dialer)),
            Welcome::Refused(words) => Err(LinkError::Refused(words)),
        }
    }
}

type Waiting = Arc<Mutex<BTreeMap<u64, oneshot::Sender<Reply>>>>;

/// One connection. A clone is the same one.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    boot: u64,
    dialed: Instant,
    out: mpsc::Sender<Bytes>,
    next: Arc<AtomicU64>,
    waiting: Waiting,
    gone: CancellationToken,
}

impl Line {
    fn spawn(pipe: Box<dyn Pipe>, boot: u64, dialed: Instant, dialer: &Dialer) -> Self {
        let (read, write) = tokio::io::split(pipe);
        let (out, outbox) = mpsc::channel(QUEUE_MAX);
        let line = Self {
            boot,
            dialed,
            out,
            next: Arc::new(AtomicU64::new(1)),
            waiting: Waiting::default(),
            gone: dialer.stop.child_token(),
        };
        let (gone, waiting) = (line.gone.clone(), Arc::clone(&line.waiting));
        dialer.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = gone.cancelled() => {}
                () = listen(read, &waiting) => gone.cancel(),
            }
            lock(&waiting).clear();
        });
        let gone = line.gone.clone();
        dialer.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = gone.cancelled() => {}
                () = speak(write, outbox) => gone.cancel(),
            }
        });
        line
    }

    /// Sends a request; its answer comes by what this returns.
    pub(crate) async fn send(
        &self,
        request: &Request,
    ) -> Result<oneshot::Receiver<Reply>, LinkError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let bytes = frame(number, request);
        let bytes = bytes.map_err(|error| LinkError::Unreachable(error.to_string()))?;
        let (sender, receiver) = oneshot::channel();
        // Room first: whoever gives up while it waits for room has left nothing behind.
        let room = tokio::select! {
            biased;
            () = self.gone.cancelled() => return Err(ended()),
            room = tokio::time::timeout(QUEUE_TIME_MAX, self.out.reserve()) => room,
        };
        let Ok(room) = room else {
            self.hang_up();
            return Err(too_late());
        };
        let room = room.map_err(|_| ended())?;
        lock(&self.waiting).insert(number, sender);
        room.send(bytes);
        if self.is_gone() {
            // Its waiting ones may have been swept before this one was among them.
            lock(&self.waiting).clear();
        }
        Ok(receiver)
    }

    /// Which life of the peer is at the other end.
    pub(crate) const fn boot(&self) -> u64 {
        self.boot
    }

    /// When it was begun: whoever is at the other end was there after that.
    pub(crate) const fn dialed(&self) -> Instant {
        self.dialed
    }

    /// Ends it: everything under way on it is lost.
    pub(crate) fn hang_up(&self) {
        self.gone.cancel();
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.is_cancelled()
    }
}

fn ended() -> LinkError {
    LinkError::Unreachable("the connection ended".to_owned())
}

fn too_late() -> LinkError {
    LinkError::Unreachable("no answer in time".to_owned())
}

/// Hands answers to those who wait, until the connection ends.
async fn listen(mut from: ReadHalf<Box<dyn Pipe>>, waiting: &Waiting) {
    while let Ok(Some(frame)) = read_frame(&mut from, BODY_BYTES_MAX).await {
        let Ok(reply) = frame.read::<Reply>() else {
            return;
        };
        if let Some(sender) = lock(waiting).remove(&frame.number) {
            drop(sender.send(reply)); // whoever asked may have gone
        }
    }
}

/// Writes what waits, as much at once as there is.
async fn speak(mut to: WriteHalf<Box<dyn Pipe>>, mut outbox: mpsc::Receiver<Bytes>) {
    let mut together = BytesMut::new();
    while let Some(first) = outbox.recv().await {
        let mut single = Some(first);
        together.clear();
        while together.len() < WRITE_BYTES_MAX {
            let Ok(more) = outbox.try_recv() else { break };
            if let Some(first) = single.take() {
                together.extend_from_slice(&first);
            }
            together.extend_from_slice(&more);
        }
        let bytes = single.as_deref().unwrap_or(&together);
        // Flushed: TLS keeps back what the connection did not take at once.
        if to.write_all(bytes).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, BTreeMap<u64, oneshot::Sender<Reply>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use futures::future::BoxFuture;
    use tokio::time::Instant;

    use super::*;
    use crate::peer::hello::{answer, hear};
    use crate::peer::transport::Listener;

    /// Lets callers in, or not even that, and then reads nothing.
    struct Mute {
        greets: Option<u16>,
    }

    impl Transport for Mute {
        fn dial<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Pipe>>> {
            let greets = self.greets;
            Box::pin(async move {
                let (near, mut far) = tokio::io::duplex(4096);
                #[expect(clippy::disallowed_methods, reason = "ends with the test")]
                tokio::spawn(async move {
                    if let Some(version) = greets {
                        hear(&mut far).await.unwrap();
                        let welcome = Welcome::Version { version, boot: 1 };
                        answer(&mut far, &welcome).await.unwrap();
                    }
                    std::future::pending::<()>().await;
                });
                Ok(Box::new(near) as Box<dyn Pipe>)
            })
        }

        fn listen(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
            unreachable!("nobody calls")
        }
    }

    fn link(greets: Option<u16>) -> Link {
        let dialer = Dialer {
            transport: Arc::new(Mute { greets }),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            me: None,
        };
        Link::new(dialer, Lane::Talk, None, "somewhere:1")
    }

    const LIMIT: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_behind_a_dial_waits_no_longer_than_it_said() {
        let (link, since) = (link(None), Instant::now());
        let callers = (0..20).map(|_| link.line(LIMIT));
        for line in futures::future::join_all(callers).await {
            assert!(matches!(line, Err(LinkError::Unreachable(_))), "{line:?}");
        }
        assert!(since.elapsed() <= LIMIT, "{:?}", since.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_nothing_goes_out_is_given_up() {
        let link = link(Some(1));
        let line = link.line(LIMIT).await.unwrap();
        let request = Request::Propose(Bytes::from(vec![0; 4096]));
        let since = Instant::now();
        // Nobody waits for the answers: there is nobody else to notice.
        let sending = async { while line.send(&request).await.is_ok() {} };
        let ended = tokio::time::timeout(Duration::from_mins(1), sending).await;
        assert!(ended.is_ok());
        assert!(line.is_gone() && since.elapsed() <= QUEUE_TIME_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_in_time_also_where_the_queue_is_full_and_leaves_nothing_behind() {
        let link = link(Some(1));
        let line = link.line(LIMIT).await.unwrap();
        let request = Request::Propose(Bytes::from(vec![0; 4096]));
        let patient = (0..QUEUE_MAX * 2).map(|_| link.call(&request, QUEUE_TIME_MAX * 2));
        let since = Instant::now();
        let all = futures::future::join_all(patient);
        let hasty = async {
            tokio::time::sleep(LIMIT).await;
            link.call(&request, LIMIT).await
        };
        let (replies, reply) = tokio::join!(all, hasty);
        assert!(replies.iter().chain([&reply]).all(Result::is_err));
        assert!(since.elapsed() <= LIMIT * 2, "{:?}", since.elapsed());
        link.dialer.tasks.close();
        link.dialer.tasks.wait().await;
        assert_eq!(lock(&line.waiting).len(), 0);
    }

    #[tokio::test]
    async fn an_answer_in_a_version_that_was_not_offered_is_no_welcome() {
        let refused = link(Some(9)).line(LIMIT).await.unwrap_err();
        assert!(matches!(refused, LinkError::Refused(_)), "{refused}");
    }
}
