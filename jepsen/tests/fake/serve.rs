//! The fake's doors: HTTP, and the two subcommands that print.

use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::queue::{Queue, header, row};

fn setting(name: &str) -> Option<String> {
    std::env::var(format!("FORMSPOOL_{name}")).ok()
}

/// The product's whole state.
struct Product {
    queue: Mutex<Queue>,
    cluster: Option<Cluster>,
    /// How it misbehaves as one of several.
    fault: String,
    started: Instant,
    reads: AtomicU64,
}

fn product() -> Product {
    let deaf = setting("DEAF").is_some();
    let mutant = setting("MUTANT").filter(|_| !deaf).unwrap_or_default();
    let full = setting("FULL").unwrap_or_default();
    let data = PathBuf::from(setting("DATA_DIR").unwrap());
    let peers = setting("CLUSTER__PEERS");
    let shared = peers.as_ref().map(|_| {
        let token = setting("ADMIN__TOKEN_FILE").unwrap();
        crate::cluster::shared(token.as_ref())
    });
    let cluster = shared.clone().zip(peers).map(|(shared, peers)| {
        let (address, nodes) = (setting("PEER__LISTEN").unwrap(), peers.split(',').count());
        Cluster::join(shared, &data, &address, nodes)
    });
    Product {
        queue: Mutex::new(Queue::open(data, shared.as_deref(), mutant, full)),
        cluster,
        fault: setting("FAKE").unwrap_or_default(),
        started: Instant::now(),
        reads: AtomicU64::new(0),
    }
}

impl Product {
    /// It lives and does not serve yet.
    fn dawdles(&self) -> bool {
        self.fault == "dawdles" && self.started.elapsed() < Duration::from_secs(4)
    }

    fn is_ready(&self) -> bool {
        self.cluster.as_ref().is_none_or(Cluster::is_ready) && !self.dawdles()
    }
}

/// As `export` and `tail` do. The fake reads the log beside the running process.
pub(crate) fn print_all(form: &str) {
    let path = std::path::Path::new(&setting("DATA_DIR").unwrap()).join("log");
    let log = std::fs::read_to_string(path).unwrap();
    for line in log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
    {
        if line["form"] == form && line["retired"] != true {
            println!("{}", line["record"]);
        }
    }
}

#[tokio::main]
pub(crate) async fn run() {
    let product = Arc::new(product());
    let public = TcpListener::bind(setting("HTTP__LISTEN").unwrap())
        .await
        .unwrap();
    let ops = TcpListener::bind(setting("OPS__LISTEN").unwrap())
        .await
        .unwrap();
    let mut term =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    let mut connections = JoinSet::new();
    let dies = setting("DIE").is_some();
    let is_hasty = setting("HASTY").is_some();
    if setting("SLOW").is_some() {
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    loop {
        let stream = tokio::select! {
            accepted = public.accept() => accepted.unwrap().0,
            accepted = ops.accept() => accepted.unwrap().0,
            _ = term.recv() => {
                assert!(!dies, "told to stop, it dies");
                return;
            }
        };
        let product = Arc::clone(&product);
        connections.spawn(async move {
            let service = service_fn(|request| answer(Arc::clone(&product), request));
            let http = hyper::server::conn::http1::Builder::new();
            let served = http.serve_connection(TokioIo::new(stream), service);
            // Hasty: no connection lives longer, whatever it says.
            let time = Duration::from_secs(if is_hasty { 2 } else { 600 });
            tokio::time::timeout(time, served).await.ok();
        });
    }
}

impl Product {
    fn readiness(&self) -> Answer {
        let mut queue = self.queue.lock().unwrap();
        let why = if !self.is_ready() {
            "waiting for peers"
        } else if queue.is_full() && !queue.is_mute() {
            "the disk is full"
        } else {
            return whole(200, "text/plain", String::new());
        };
        whole(503, "text/plain", why.to_owned())
    }
}

/// A body whose pieces come through a channel.
struct Pieces(mpsc::Receiver<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

type Answer = Response<Pieces>;

fn whole(status: u16, kind: &str, body: String) -> Answer {
    let (to, from) = mpsc::channel(1);
    to.try_send(body.into()).unwrap();
    let answer = Response::builder()
        .status(status)
        .header("content-type", kind);
    answer.body(Pieces(from)).unwrap()
}

async fn answer(product: Arc<Product>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => {
            return Ok(whole(
                400,
                "application/problem+json",
                problem(400).to_string(),
            ));
        }
    };
    let form = path.split('/').nth(3).unwrap_or_default().to_owned();
    let text = |name: &str| {
        head.headers
            .get(name)
            .map(|v| v.to_str().unwrap().to_owned())
    };
    let key = text("idempotency-key");
    let is_lines = text("content-type").is_some_and(|kind| kind.contains("ndjson"));
    let accept = text("accept").unwrap_or_default();
    let queue = &product.queue;
    if path.starts_with("/v1/cluster") || path == "/v1/status" {
        return Ok(operate(&product, &path, &body));
    }
    Ok(match head.method {
        _ if path == "/livez" => whole(200, "text/plain", String::new()),
        _ if path == "/readyz" => product.readiness(),
        Method::POST if !product.is_ready() => {
            whole(503, "application/problem+json", problem(503).to_string())
        }
        _ if path == "/metrics" => {
            let bytes = queue.lock().unwrap().log_len();
            let metrics = format!("formspool_wal_bytes_total {bytes}\n");
            whole(200, "text/plain", metrics)
        }
        Method::DELETE => {
            queue.lock().unwrap().retire(&form);
            whole(200, "application/json", "{}".to_owned())
        }
        Method::POST if is_lines => lines(&product, &form, key, body),
        Method::POST => {
            let body = serde_json::from_slice(&body).unwrap_or_else(|_| json!({}));
            let submit = |queue: &mut Queue| queue.submit(&form, key.as_deref(), body);
            let (status, body) = queue.lock().unwrap().locked(submit);
            let kind = if status < 400 {
                "application/json"
            } else {
                "application/problem+json"
            };
            whole(status, kind, body.to_string())
        }
        _ => {
            let mut queue = queue.lock().unwrap();
            queue.catch_up();
            let query = head.uri.query().unwrap_or_default();
            queue.locked(|_| ());
            let (behind, diverges) = (product.behind(query), product.diverges());
            read(&queue, &form, (query, &accept), (behind, diverges))
        }
    })
}

impl Product {
    /// How much of a form's end it does not show now.
    fn behind(&self, query: &str) -> usize {
        let turn = self.reads.fetch_add(1, Ordering::Relaxed);
        match self.fault.as_str() {
            "back" if turn.is_multiple_of(20) => 30,
            "stale" if query.contains("consistent") => 3,
            _ => 0,
        }
    }

    /// On one node, one record in so many is another one.
    fn diverges(&self) -> bool {
        self.fault == "diverges" && self.cluster.as_ref().is_some_and(|cluster| cluster.id == 2)
    }
}

fn operate(product: &Product, path: &str, body: &Bytes) -> Answer {
    let Some(cluster) = &product.cluster else {
        return whole(404, "application/problem+json", problem(404).to_string());
    };
    let mut queue = product.queue.lock().unwrap();
    let said = queue.locked(|queue| match path {
        "/v1/status" => cluster.status(queue, &product.fault),
        "/v1/cluster/transfer" => {
            cluster.prefer(body);
            json!({})
        }
        _ => cluster.view(queue),
    });
    whole(200, "application/json", said.to_string())
}

/// Answers line by line, as it goes.
fn lines(product: &Arc<Product>, form: &str, key: Option<String>, body: Bytes) -> Answer {
    let (to, from) = mpsc::channel(1);
    let (product, form) = (Arc::clone(product), form.to_owned());
    std::thread::spawn(move || {
        for (number, line) in body.split(|byte| *byte == b'\n').enumerate() {
            let Ok(document) = serde_json::from_slice(line) else {
                continue;
            };
            let key = key.as_ref().map(|key| format!("{key}#{}", number + 1));
            let (_, answer) = product
                .queue
                .lock()
                .unwrap()
                .submit(&form, key.as_deref(), document);
            if to.blocking_send(format!("{answer}\n").into()).is_err() {
                return;
            }
        }
    });
    Response::builder()
        .header("content-type", "application/x-ndjson")
        .body(Pieces(from))
        .unwrap()
}

fn read(
    queue: &Queue,
    form: &str,
    (query, accept): (&str, &str),
    (behind, diverges): (usize, bool),
) -> Answer {
    let number = |name: &str| {
        let pair = query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        pair.map_or(0, |value| value.parse::<u64>().unwrap())
    };
    let all = queue
        .records
        .get(form)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let all = all.get(..all.len().saturating_sub(behind)).unwrap_or(all);
    let spoilt = |record: &Value| {
        let mut record = record.clone();
        if record["seq"].as_u64().unwrap().is_multiple_of(40) {
            record["index"] = 1.into();
        }
        record
    };
    let spoilt = all
        .iter()
        .filter(|_| diverges)
        .map(spoilt)
        .collect::<Vec<_>>();
    let all = if diverges { &spoilt[..] } else { all };
    let gone = queue.gone(form);
    let oldest = all.get(gone).filter(|_| gone > 0);
    let oldest = oldest.map_or(0, |record| record["seq"].as_u64().unwrap());
    if number("after") + 1 < oldest {
        let mut problem = problem(410);
        problem["oldest_seq"] = oldest.into();
        return whole(410, "application/problem+json", problem.to_string());
    }
    let is_shown = |(place, record): &(usize, &Value)| {
        record["seq"].as_u64().unwrap() > number("after") && !queue.is_overstepped(form, *place)
    };
    let limit = usize::try_from(number("limit")).unwrap();
    let records = all.iter().enumerate().filter(is_shown);
    let records = records.map(|(_, record)| record).take(limit);
    let records = records.collect::<Vec<_>>();
    match accept {
        "text/csv" => {
            let rows = records
                .iter()
                .map(|record| row(form, record))
                .collect::<String>();
            whole(200, accept, header(form) + &rows)
        }
        "application/x-ndjson" => {
            let lines = records.iter().map(ToString::to_string).collect::<Vec<_>>();
            whole(200, accept, lines.join("\n"))
        }
        _ => {
            let head = all.last().map_or(&Value::Null, |record| &record["seq"]);
            let head = head.as_u64().unwrap_or(0);
            let page = json!({"form": form, "records": records, "next": null, "head": head});
            whole(200, "application/json", page.to_string())
        }
    }
}

pub(crate) fn problem(status: u16) -> Value {
    json!({"type": "/problems/some", "title": "No", "status": status, "detail": "no"})
}
