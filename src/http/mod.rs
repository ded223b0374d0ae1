//! The door for people and programs: bytes of HTTP <-> types. No decision about a submission is
//! made here; `ingest` judges at the door and `apply` accepts.
//!
//! ```text
//!  serve ─ connection ─ socket     accept, bound, time, drain: one TCP connection each
//!    └─ routes (one table) ─ submit · browser · ndjson · read · withheld · ops
//!         │                              forms · tasks ─ define · cluster
//!         ├─ body · fields · accept · query      bytes -> shapes
//!         ├─ auth · cors · next                  who may, from where, to where
//!         ├─ view                                the only file that reads the queue
//!         ├─ fresh                               how old it may be, and up to date on request
//!         └─ wire · render · error               shapes -> bytes; an error -> a status
//! ```
//! Holds: whatever a client sends, what is kept of it in memory is bounded by [`HttpConfig`]; an
//! answer 2xx to a submission is given only with a receipt; every refusal is a problem document
//! (or a page, to a browser) made by `error`.

mod accept;
mod auth;
mod body;
mod browser;
mod cluster;
mod config;
mod connection;
mod cors;
mod define;
mod error;
mod fields;
mod forms;
mod fresh;
mod ndjson;
mod next;
mod observe;
mod openapi;
mod ops;
mod query;
mod read;
mod render;
mod routes;
mod serve;
mod socket;
mod span;
mod submit;
mod tasks;
mod token;
mod view;
mod wire;
mod withheld;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use serde::Serialize;
use storage::{Command, Index, NodeId, Outcome, Position, Voters};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use config::{HttpConfig, OpsConfig};
pub use error::Problem;
pub use ops::{OpsDoors, Ready};
pub use serve::serve;
pub use view::View;

use crate::forms::Registry;
use crate::ingest::{Ingest, Refused};

/// Proposes a command that is not a submission and waits until it is applied.
pub type Administer =
    Arc<dyn Fn(Command) -> BoxFuture<'static, Result<Outcome, Refused>> + Send + Sync>;
/// Waits until all that was acknowledged anywhere before the call is applied here.
pub type CatchUp = Arc<dyn Fn() -> BoxFuture<'static, Result<(), Refused>> + Send + Sync>;
/// Does what an operator asks of the cluster; gives the body of the answer.
pub type Operate =
    Arc<dyn Fn(Operation) -> BoxFuture<'static, Result<serde_json::Value, Declined>> + Send + Sync>;
/// A JSON document that another part tells about itself.
pub type Telling = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;
/// For a form's name and a record's delivery position: `[{"task":"…","state":"…"}]`.
pub type Delivery = Arc<dyn Fn(&str, Position) -> serde_json::Value + Send + Sync>;
/// How many records a task has not delivered, looked at now; `None`: it cannot be told here.
pub type Lag = Arc<dyn Fn(String) -> BoxFuture<'static, Option<u64>> + Send + Sync>;
/// Told after each answer: the route as the table names it (`other` for none), status, time.
pub type Observe = Arc<dyn Fn(&'static str, u16, Duration) + Send + Sync>;

/// How old what is read here may be.
#[derive(Clone)]
pub struct Freshness {
    /// Since the leader was last heard of; zero on the leader; `None`: never.
    pub age: Arc<dyn Fn() -> Option<Duration> + Send + Sync>,
    /// The last applied entry.
    pub applied: Arc<dyn Fn() -> Index + Send + Sync>,
    /// Brings this node up to date.
    pub catch_up: CatchUp,
}

/// What an operator may ask of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Let another node lead.
    Transfer {
        /// Which; `None`: the best one.
        to: Option<NodeId>,
    },
    /// Take a member out for good.
    Remove {
        /// Which.
        node: NodeId,
    },
    /// Let nodes vote again that may have lost the end of their log.
    AcceptTailLoss,
}

/// Why it was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Declined {
    /// It cannot be done as things are; in words.
    Cannot(String),
    /// Nobody was there to do it.
    Refused(Refused),
}

/// All that the public doors open onto. `node.rs` builds it; a handler sees nothing else.
#[derive(Clone)]
pub struct Doors {
    /// Limits of this room.
    pub config: HttpConfig,
    /// What one submission may have; the rest of a body's limits are `ingest`'s alone.
    pub submission_bytes_max: usize,
    /// Where submissions go.
    pub ingest: Ingest,
    /// What forms there are.
    pub registry: Registry,
    /// What has been accepted.
    pub view: View,
    /// Who votes now: for a receipt that is shown again.
    pub voters: Arc<dyn Fn() -> Voters + Send + Sync>,
    /// How old what is read here may be.
    pub freshness: Freshness,
    /// Definitions, releases.
    pub admin: Administer,
    /// The body of `GET /v1/cluster`, an object.
    pub cluster: Telling,
    /// What an operator asks of the cluster.
    pub operate: Operate,
    /// The body of `GET /v1/status`, an object.
    pub status: Telling,
    /// The body of `GET /v1/tasks`, an object `{"tasks":[…]}`.
    pub tasks: Telling,
    /// The state of one record at each task.
    pub delivery: Delivery,
    /// What a task has left to deliver.
    pub lag: Lag,
    /// For metrics.
    pub observe: Observe,
    /// Cancelled when the node begins to stop: whoever waits for news is answered at once.
    pub stopping: CancellationToken,
}

/// What the handlers share: the doors, and how much may come through at once.
struct Hall {
    doors: Doors,
    /// The origin of this node's pages, where a proxy stands in front.
    public_site: Option<String>,
    /// Bytes of bodies.
    body_room: Arc<Semaphore>,
    /// Requests of many lines, and lists.
    stream_room: Arc<Semaphore>,
    /// Requests that ask whether this node is merely behind.
    doubt_room: Arc<Semaphore>,
}

impl Hall {
    fn new(doors: Doors) -> Self {
        Self {
            body_room: Arc::new(Semaphore::new(doors.config.bodies_bytes_max)),
            stream_room: Arc::new(Semaphore::new(doors.config.streams_max)),
            doubt_room: Arc::new(Semaphore::new(fresh::DOUBTS_MAX)),
            public_site: doors.config.public_site(),
            doors,
        }
    }
}

impl Deref for Hall {
    type Target = Doors;

    fn deref(&self) -> &Doors {
        &self.doors
    }
}

impl fmt::Debug for Freshness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Freshness")
            .field("age", &(self.age)())
            .field("applied", &(self.applied)())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Doors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doors")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// The router of the public listener.
pub fn public_router(doors: Doors) -> Router {
    routes::public(&Arc::new(Hall::new(doors)))
}

/// The router of the operators' listener.
pub fn ops_router(doors: OpsDoors) -> Router {
    ops::router(Arc::new(doors))
}

/// A JSON answer that nobody keeps: what it tells changes.
fn json(status: StatusCode, shape: &impl Serialize) -> Response {
    match serde_json::to_vec(shape) {
        Ok(bytes) => json_bytes(status, bytes),
        Err(error) => {
            tracing::error!(%error, "an answer is no JSON");
            Problem::new(error::BROKEN, "see the node's log").into_response()
        }
    }
}

fn json_bytes(status: StatusCode, bytes: impl Into<Body>) -> Response {
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, bytes.into()).into_response()
}

/// The description of the API, as `GET /openapi.json` answers it.
pub fn openapi() -> serde_json::Value {
    openapi::document()
}
