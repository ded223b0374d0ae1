//! The operators' listener: is it alive, is it ready, what does it count.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::watch;

use super::routes::{no_such_method, nothing_here};

/// Whether a load balancer may send clients here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Not yet; what the start waits for, where there is more to say than that.
    Starting(String),
    /// Submissions are taken.
    Yes,
    /// Not any more: the node is about to stop.
    Draining,
    /// Not, for another reason: in a few words.
    No(String),
}

impl Ready {
    /// For people.
    pub fn in_words(&self) -> &str {
        match self {
            Self::Yes => "ok",
            Self::Starting(words) if words.is_empty() => "starting",
            Self::Starting(words) | Self::No(words) => words,
            Self::Draining => "draining",
        }
    }
}

/// All that the operators' doors open onto.
#[derive(Clone)]
pub struct OpsDoors {
    /// The text of `/metrics`, in the format that its content type names.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// What `/readyz` says.
    pub ready: watch::Receiver<Ready>,
}

impl fmt::Debug for OpsDoors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpsDoors")
            .field("ready", &*self.ready.borrow())
            .finish_non_exhaustive()
    }
}

/// Routes of the operators' listener.
pub(super) fn router(doors: Arc<OpsDoors>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .fallback(nothing_here)
        .method_not_allowed_fallback(no_such_method)
        .with_state(doors)
}

async fn metrics(State(doors): State<Arc<OpsDoors>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], (doors.metrics)()).into_response()
}

/// Alive is who answers: a node that is wrong ends its process.
async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(doors): State<Arc<OpsDoors>>) -> Response {
    let ready = doors.ready.borrow().clone();
    let status = match ready {
        Ready::Yes => StatusCode::OK,
        Ready::Starting(_) | Ready::Draining | Ready::No(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, format!("{}\n", ready.in_words())).into_response()
}
