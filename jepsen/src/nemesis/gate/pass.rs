//! One connection through a gate: both ways, frame by frame.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::wire::{self, Request};
use super::{Board, Caught, Fate, Way};

const FRAME_LEN_MAX: usize = 128 << 20; // as Kafka's own limit
/// What was held back is answered within this, also when nobody waits for the answer any more.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// A request without a reply yet, and the trap that it was in.
type Asked = (Request, Option<Arc<Caught>>);

/// What both ways of one connection share.
#[derive(Debug)]
struct Shared {
    board: Arc<Board>,
    /// By correlation.
    open: Mutex<HashMap<i32, Asked>>,
    /// How many replies have come.
    replies: watch::Sender<u64>,
    /// The product's side has ended.
    is_cut: watch::Sender<bool>,
}

/// Passes on until the gate goes.
pub(super) async fn serve(listener: TcpListener, broker: SocketAddr, board: Arc<Board>) {
    let mut passes = JoinSet::new();
    loop {
        tokio::select! {
            // One that has ended is taken out.
            _ = passes.join_next(), if !passes.is_empty() => {}
            accepted = listener.accept() => {
                if let Ok((product, _)) = accepted {
                    passes.spawn(pass(product, broker, Arc::clone(&board)));
                }
            }
        }
    }
}

async fn pass(product: TcpStream, broker: SocketAddr, board: Arc<Board>) {
    // A broker that is not there looks like that from the product's side too.
    let Ok(upstream) = TcpStream::connect(broker).await else {
        return;
    };
    product.set_nodelay(true).ok();
    upstream.set_nodelay(true).ok();
    let shared = Shared {
        board,
        open: Mutex::default(),
        replies: watch::Sender::new(0),
        is_cut: watch::Sender::new(false),
    };
    let (from_product, to_product) = product.into_split();
    let (from_broker, to_broker) = upstream.into_split();
    tokio::join!(
        requests(from_product, to_broker, &shared),
        replies(from_broker, to_product, &shared)
    );
}

/// From the product to the broker. At its end the broker's side is told so.
async fn requests(from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared) {
    let mut product = Some(from);
    let mut was_held = false;
    while let Some(from) = &mut product {
        let mut cut = shared.is_cut.subscribe();
        let frame = tokio::select! {
            frame = read(from) => frame,
            _ = cut.wait_for(|is_cut| *is_cut) => None,
        };
        let Some(frame) = frame else { break };
        let mut request = wire::request(body(&frame));
        if let Some(request) = &mut request {
            shared.board.follow(request);
        }
        let trap = request
            .as_ref()
            .and_then(|request| shared.board.catch(Way::Request, request));
        if let Some(trap) = &trap {
            was_held = true;
            let is_passed = held(trap, || {
                product = None;
                shared.is_cut.send_replace(true);
            })
            .await;
            if !is_passed {
                break;
            }
        }
        if let Some(request) = request {
            shared.lock().insert(request.correlation, (request, trap));
        }
        let replies = *shared.replies.borrow();
        if to.write_all(&frame).await.is_err() {
            break;
        }
        if product.is_none() {
            answered(shared, replies).await;
        }
    }
    drop(product);
    if was_held {
        // Its answer may be on its way, though nobody is there to take it.
        let replies = *shared.replies.borrow();
        if !shared.lock().is_empty() {
            answered(shared, replies).await;
        }
    }
    shared.is_cut.send_replace(true);
    to.shutdown().await.ok();
}

/// From the broker to the product; goes on when the product's side has ended.
async fn replies(mut from: OwnedReadHalf, to: OwnedWriteHalf, shared: &Shared) {
    let mut product = Some(to);
    loop {
        let mut cut = shared.is_cut.subscribe();
        let frame = if product.is_some() {
            tokio::select! {
                frame = read(&mut from) => frame,
                _ = cut.wait_for(|is_cut| *is_cut) => {
                    product = None;
                    continue;
                }
            }
        } else {
            read(&mut from).await
        };
        let Some(frame) = frame else { break };
        let open = wire::correlation(body(&frame)).and_then(|own| shared.lock().remove(&own));
        let mut is_passed = true;
        if let Some((request, trap)) = open {
            let error = wire::end_error(body(&frame), request.version);
            if let Some(trap) = &trap {
                trap.answer.send_if_modified(|answer| first(answer, error));
            }
            if let Some(trap) = shared.board.catch(Way::Reply, &request) {
                trap.answer.send_if_modified(|answer| first(answer, error));
                is_passed = held(&trap, || {
                    product = None;
                    shared.is_cut.send_replace(true);
                })
                .await;
            }
        }
        shared.replies.send_modify(|count| *count += 1);
        if !is_passed {
            break;
        }
        if let Some(to) = &mut product
            && to.write_all(&frame).await.is_err()
        {
            product = None;
        }
    }
    shared.is_cut.send_replace(true);
}

fn first(answer: &mut Option<i16>, error: Option<i16>) -> bool {
    let is_first = answer.is_none() && error.is_some();
    if is_first {
        *answer = error;
    }
    is_first
}

/// Waits until the trap lets it go; answers whether it goes on. `cut` is called when the
/// product's side shall end before.
async fn held(trap: &Caught, mut cut: impl FnMut()) -> bool {
    trap.set_off();
    let mut fates = trap.fate.subscribe();
    loop {
        let fate = *fates.borrow_and_update();
        match fate {
            Fate::Pass => return true,
            Fate::Drop => return false,
            Fate::Cut => cut(),
            Fate::Hold => {}
        }
        if fates.changed().await.is_err() {
            return true;
        }
    }
}

async fn answered(shared: &Shared, replies: u64) {
    let mut counts = shared.replies.subscribe();
    let more = counts.wait_for(|count| *count > replies);
    // Without an answer there is nothing more to wait for.
    drop(timeout(ANSWER_TIME, more).await);
}

/// A frame with its length; `None`: the connection has ended.
async fn read(from: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut head = [0; 4];
    from.read_exact(&mut head).await.ok()?;
    let len = usize::try_from(i32::from_be_bytes(head)).ok()?;
    if len > FRAME_LEN_MAX {
        return None;
    }
    let mut frame = vec![0; 4 + len];
    let (own, rest) = frame.split_at_mut(4);
    own.copy_from_slice(&head);
    from.read_exact(rest).await.ok()?;
    Some(frame)
}

fn body(frame: &[u8]) -> &[u8] {
    frame.get(4..).unwrap_or_default()
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Asked>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
