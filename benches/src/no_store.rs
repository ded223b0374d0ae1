//! The server to compare with: parses, sanitises and validates the same, answers the same receipt,
//! and stores nothing. What the product is slower than this is the price of its promise.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use formspool::clock::Clock;
use formspool::forms::{Definition, Form};
use formspool::ingest::{Answer, Body, Config, Ingest, Prepared, Propose, Receipt, Refused};
use formspool::stage::Stage;
use futures::future::BoxFuture;
use storage::{FormId, Index, NodeId, Placed, Sender, Seq, Terms, Voters};

const FORM: &str = include_str!("../../deploy/forms/student-data.toml");

/// Nothing is ever proposed.
struct Nowhere;

impl Propose for Nowhere {
    fn submit(&self, _command: Bytes) -> BoxFuture<'_, Result<Answer, Refused>> {
        Box::pin(std::future::ready(Err(Refused::Draining)))
    }
}

#[derive(Clone)]
struct Server {
    ingest: Ingest,
    form: Arc<Form>,
}

/// Serves until it is killed.
pub(crate) async fn serve(address: SocketAddr) -> Result<()> {
    let definition = Definition::from_toml(FORM, &|_| Err(std::io::ErrorKind::NotFound.into()))
        .map_err(|problems| anyhow::anyhow!(problems.join("; ")))?;
    let form = Form::new(FormId(1), 1, false, definition)
        .map_err(|problems| anyhow::anyhow!(problems.join("; ")))?;
    let view = storage::State::in_memory(|_| Voters {
        quorum: 1,
        count: 1,
    })
    .view();
    let sender = Sender {
        node: NodeId(1),
        boot: 1,
    };
    let stage = Stage::new();
    let clock = Clock::system(0);
    let ingest = Ingest::spawn(
        Config::default(),
        view,
        Arc::new(Nowhere),
        sender,
        clock,
        &stage,
    );
    let server = Server {
        ingest,
        form: Arc::new(form),
    };
    let router = Router::new()
        .route("/f/{form}", post(submit))
        .with_state(server);
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .context("listen")?;
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        stream.set_nodelay(true).unwrap_or_default();
    });
    Ok(axum::serve(listener, router).await?)
}

async fn submit(State(server): State<Server>, Path(name): Path<String>, body: Bytes) -> Response {
    if name != *server.form.name {
        return StatusCode::NOT_FOUND.into_response();
    }
    match server.ingest.prepare(&server.form, Body::Json(body), None) {
        Ok(Prepared::New(submission)) => {
            let placed = Placed {
                id: submission.id,
                seq: Some(Seq(1)),
                index: Index(1),
                received_ms: submission.received_ms,
                terms: Terms::default(),
            };
            let receipt = serde_json::to_vec(&Receipt::new(&name, &placed, false));
            let json = [(CONTENT_TYPE, "application/json")];
            (StatusCode::CREATED, json, receipt.unwrap_or_default()).into_response()
        }
        Ok(Prepared::Known(_)) => StatusCode::CONFLICT.into_response(),
        Err(refused) => (StatusCode::UNPROCESSABLE_ENTITY, format!("{refused:?}")).into_response(),
    }
}
