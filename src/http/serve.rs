//! The accept loop: a bounded number of connections, each a task of the stage.
//!
//! Holds: a connection holds one permit from accept to close. When none is left the next client is
//! told so (503) and closed; when even those who are being told are many, it is just closed.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::config::HttpConfig;
use super::connection;
use super::error::Problem;
use crate::stage::Stage;

/// Clients being told at one moment that there is no room.
const TURNED_AWAY_MAX: usize = 128;
/// What follows a failed accept: mostly "too many open files", which a pause cures and a loop not.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until the stage stops. Connections are tasks of the stage: those with a request under
/// way finish it (`Stage::stop` waits), idle ones close.
pub async fn serve(listener: TcpListener, router: Router, limits: HttpConfig, stage: Stage) {
    let room = Arc::new(Semaphore::new(
        limits.connections_max.min(Semaphore::MAX_PERMITS),
    ));
    let turned_away = Arc::new(Semaphore::new(TURNED_AWAY_MAX));
    let limits = Arc::new(limits);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stage.stopping() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // A small answer must not wait for the client's acknowledgement of the last one.
        if stream.set_nodelay(true).is_err() {
            continue; // it is gone already
        }
        if let Ok(permit) = Arc::clone(&room).try_acquire_owned() {
            let (router, limits) = (router.clone(), Arc::clone(&limits));
            let stopping = stage.token.clone();
            stage.spawn(async move {
                begin(stream, router, limits, stopping).await;
                drop(permit);
            });
        } else {
            turn_away(stream, &turned_away, &stage);
        }
    }
}

/// Waits for the first byte before anything is set up for the connection: one on which nothing is
/// ever said costs a socket and next to no memory.
async fn begin(
    stream: TcpStream,
    router: Router,
    limits: Arc<HttpConfig>,
    stopping: CancellationToken,
) {
    let since = Instant::now();
    let first = tokio::select! {
        biased;
        () = stopping.cancelled() => return,
        first = timeout_at(since + limits.header_time(), stream.readable()) => first,
    };
    if let Ok(Ok(())) = first {
        connection::run(stream, since, router, limits, stopping).await;
    }
}

fn turn_away(stream: TcpStream, turned_away: &Arc<Semaphore>, stage: &Stage) {
    if let Ok(permit) = Arc::clone(turned_away).try_acquire_owned() {
        stage.spawn(async move {
            let problem = Problem::no_room("this node has as many connections as it takes");
            connection::say_and_close(stream, &problem).await;
            drop(permit);
        });
    }
}
