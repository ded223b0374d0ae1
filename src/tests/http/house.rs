//! A node's doors without the node: what is proposed is applied at once.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use formspool::clock::Clock;
use formspool::forms::{Definition, Registry};
use formspool::http::{Declined, Doors, Freshness, HttpConfig, Operation, View, public_router};
use formspool::ingest::{self, Answer, Ingest, Propose, Refused};
use formspool::stage::Stage;
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use storage::{
    Command, DefineForm, Entry, EntryKind, Expect, FaultDisk, Index, LogId, NodeId, Outcome,
    Records, RetireForm, Sender, SetToken, State, StateView, Term, Voters, Wal, WalConfig,
    decode_command, encode_command,
};
use tokio::sync::watch;
use tower::ServiceExt;

pub const TOKEN: &str = "the-admins-token";
pub const FORM_KEY: &str = "the-forms-key";
/// 2023-11-14T22:13:20.005Z
pub const NOW_MS: u64 = 1_700_000_000_005;

/// The log: entries are appended and applied in one step.
pub struct Log {
    inner: Mutex<(State, Wal)>,
    applied: watch::Sender<Index>,
}

impl Log {
    fn new() -> Self {
        let disk = Arc::new(FaultDisk::new());
        let (wal, _) = Wal::open(disk, Path::new("/wal"), &WalConfig::simulated()).unwrap();
        let state = State::in_memory(|_| Voters {
            quorum: 1,
            count: 1,
        });
        let log = Self {
            inner: Mutex::new((state, wal)),
            applied: watch::Sender::default(),
        };
        log.take(EntryKind::Membership, Bytes::from_static(b"one"));
        log
    }

    fn take(&self, kind: EntryKind, payload: Bytes) -> Outcome {
        let mut inner = self.inner.lock().unwrap();
        let (state, wal) = &mut *inner;
        let index = state.applied().map_or(Index(1), |id| id.index.next());
        let entry = Entry {
            id: LogId {
                term: Term(1),
                node: NodeId(1),
                index,
            },
            kind,
            payload,
        };
        wal.append(vec![entry.clone()], Box::new(|synced| synced.unwrap()));
        let outcome = state.apply(&entry).unwrap();
        self.applied.send_replace(index);
        outcome
    }

    pub fn view(&self) -> StateView {
        self.inner.lock().unwrap().0.view()
    }

    pub fn apply(&self, command: &Command) -> Outcome {
        self.take(EntryKind::Command, encode_command(command))
    }
}

impl Propose for Log {
    fn submit(&self, command: Bytes) -> BoxFuture<'_, Result<Answer, Refused>> {
        decode_command(&command).unwrap();
        let outcome = self.take(EntryKind::Command, command);
        Box::pin(async move {
            let answer: Answer = Box::pin(async move { Ok(outcome) });
            Ok(answer)
        })
    }
}

/// How far the node is behind the others, as a test wants it.
#[derive(Clone, Default)]
pub struct Behind {
    /// What the others have and this node gets when it catches up.
    pub elsewhere: Arc<Mutex<Vec<Command>>>,
    /// No majority can be asked.
    pub is_cut_off: Arc<AtomicBool>,
    log: Arc<Mutex<Option<Arc<Log>>>>,
}

impl Behind {
    fn freshness(&self, applied: watch::Receiver<Index>) -> Freshness {
        let this = self.clone();
        Freshness {
            age: Arc::new(|| Some(Duration::from_millis(250))),
            applied: Arc::new(move || *applied.borrow()),
            catch_up: Arc::new(move || {
                let this = this.clone();
                Box::pin(async move {
                    if this.is_cut_off.load(Ordering::Relaxed) {
                        return Err(Refused::NoQuorum);
                    }
                    let log = this.log.lock().unwrap().clone();
                    for command in this.elsewhere.lock().unwrap().drain(..) {
                        log.as_ref().unwrap().apply(&command);
                    }
                    Ok(())
                })
            }),
        }
    }
}

/// A cluster in which some things can be done.
fn operate(operation: Operation) -> BoxFuture<'static, Result<Value, Declined>> {
    Box::pin(async move {
        match operation {
            Operation::Transfer { to: Some(node) } => Ok(json!({ "leader": node })),
            Operation::Remove { node } => Ok(json!({ "removed": node })),
            Operation::AcceptTailLoss => Err(Declined::Refused(Refused::NoQuorum)),
            Operation::Transfer { to: None } => {
                Err(Declined::Cannot("nobody else can lead".to_owned()))
            }
        }
    })
}

/// The doors and what is behind them.
pub struct House {
    pub router: Router,
    pub log: Arc<Log>,
    pub behind: Behind,
    pub stage: Stage,
    /// What each task has left to deliver, as the bridge would tell.
    pub left: Arc<Mutex<Option<u64>>>,
}

/// What a door said.
#[derive(Debug)]
pub struct Said {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Said {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn lines(&self) -> Vec<Value> {
        self.text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Pointers of all faults that a problem names.
    pub fn pointers(&self) -> Vec<String> {
        let document = self.json();
        let errors = document["errors"].as_array().cloned().unwrap_or_default();
        errors
            .iter()
            .map(|fault| fault["pointer"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl House {
    pub fn new() -> Self {
        Self::with(HttpConfig::default())
    }

    pub fn with(config: HttpConfig) -> Self {
        let log = Arc::new(Log::new());
        let (view, records) = {
            let inner = log.inner.lock().unwrap();
            (
                inner.0.view(),
                Records::new(inner.0.view(), inner.1.clone()),
            )
        };
        log.apply(&Command::SetToken(SetToken {
            name: "admin".to_owned(),
            hash: Sha256::digest(TOKEN).into(),
            only_if_absent: true,
        }));
        let stage = Stage::new();
        let limits = ingest::Config::default();
        let submission_bytes_max = limits.submission_bytes_max;
        let propose: Arc<dyn Propose> = Arc::clone(&log) as _;
        let sender = Sender {
            node: NodeId(1),
            boot: 1,
        };
        let clock = Clock::fixed(NOW_MS);
        let ingest = Ingest::spawn(limits, view.clone(), propose, sender, clock, &stage);
        let admin = Arc::clone(&log);
        let behind = Behind::default();
        *behind.log.lock().unwrap() = Some(Arc::clone(&log));
        let told: Arc<Mutex<Option<u64>>> = Arc::new(Mutex::new(Some(0)));
        let left = Arc::clone(&told);
        let doors = Doors {
            config,
            submission_bytes_max,
            ingest,
            registry: Registry::new(view.clone()),
            view: View::new(view, records, log.applied.subscribe()),
            voters: Arc::new(|| Voters {
                quorum: 1,
                count: 1,
            }),
            freshness: behind.freshness(log.applied.subscribe()),
            cluster: Arc::new(|| json!({ "node": 1, "members": [] })),
            operate: Arc::new(operate),
            admin: Arc::new(move |command| {
                let outcome = admin.apply(&command);
                Box::pin(async move { Ok(outcome) })
            }),
            status: Arc::new(|| json!({ "node": 1 })),
            tasks: Arc::new(|| json!({ "tasks": [] })),
            delivery: Arc::new(
                |form, position| json!([{ "task": format!("{form}-sheet"), "state": position.to_string() }]),
            ),
            lag: Arc::new(move |_| {
                let left = *left.lock().unwrap();
                Box::pin(async move { left })
            }),
            observe: Arc::new(|_, _, _| {}),
            stopping: stage.token.clone(),
        };
        let house = Self {
            router: public_router(doors),
            log,
            behind,
            stage,
            left: told,
        };
        house.define(&student());
        house
    }

    pub fn define(&self, definition: &Value) {
        let definition = Definition::from_json(definition.to_string().as_bytes()).unwrap();
        assert_eq!(definition.problems(), Vec::<String>::new());
        let name = definition.name.clone();
        let command = DefineForm {
            name,
            expect: Expect::Any,
            definition: definition.to_json(),
        };
        let outcome = self.log.apply(&Command::DefineForm(command));
        assert!(matches!(outcome, Outcome::Form { .. }), "{outcome:?}");
    }

    pub fn retire(&self, name: &str) {
        let command = RetireForm {
            name: name.to_owned(),
            expect: Expect::Any,
        };
        self.log.apply(&Command::RetireForm(command));
    }

    pub async fn ask(&self, request: Request<Body>) -> Said {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Said {
            status: parts.status,
            headers: parts.headers,
            text,
        }
    }

    pub async fn get(&self, path: &str) -> Said {
        self.ask(request("GET", path, &[], Body::empty())).await
    }

    /// As the admin.
    pub async fn read(&self, path: &str, accept: &str) -> Said {
        let bearer = format!("Bearer {TOKEN}");
        let headers = [("authorization", bearer.as_str()), ("accept", accept)];
        self.ask(request("GET", path, &headers, Body::empty()))
            .await
    }

    pub async fn post_json(&self, path: &str, body: impl Into<Body>) -> Said {
        let headers = [("content-type", "application/json")];
        self.ask(request("POST", path, &headers, body.into())).await
    }

    /// As a browser does.
    pub async fn post_page(&self, path: &str, body: &str) -> Said {
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
        ];
        self.ask(request("POST", path, &headers, Body::from(body.to_owned())))
            .await
    }

    /// Every reader's sight of the form `student`: JSON, NDJSON and CSV say the same.
    pub async fn seqs(&self) -> Vec<u64> {
        let path = "/v1/forms/student/submissions?limit=100000";
        let list = self.read(path, "application/json").await.json();
        let seqs = |records: &[Value]| -> Vec<u64> {
            records
                .iter()
                .map(|record| record["seq"].as_u64().unwrap())
                .collect()
        };
        let found = seqs(list["records"].as_array().unwrap());
        assert_eq!(
            seqs(&self.read(path, "application/x-ndjson").await.lines()),
            found
        );
        let table = self.read(path, "text/csv").await.text;
        let mut table = csv::Reader::from_reader(table.as_bytes());
        let rows: Vec<u64> = table
            .records()
            .map(|row| row.unwrap()[0].parse().unwrap())
            .collect();
        assert_eq!(rows, found);
        assert_eq!(list["head"], found.last().copied().unwrap_or_default());
        found
    }
}

pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

/// A form with a required field, a pattern, a number, a list and a trap.
pub fn student() -> Value {
    json!({
        "name": "student",
        "title": "Student",
        "origins": ["https://school.example"],
        "next": ["https://school.example/thanks"],
        "honeypot": "_gotcha",
        "schema": {
            "type": "object",
            "required": ["name", "email"],
            "additionalProperties": false,
            "properties": {
                "name": { "type": "string", "minLength": 1, "maxLength": 200 },
                "email": { "type": "string", "format": "email" },
                "roll": { "type": "string", "pattern": "^[0-9]{1,8}$" },
                "age": { "type": "integer" },
                "tags": { "type": "array", "items": { "type": "string" } },
            },
        },
    })
}

/// The same, for those who have the key.
pub fn keyed() -> Value {
    let hash: [u8; 32] = Sha256::digest(FORM_KEY).into();
    let (high, low) = hash.split_first_chunk().unwrap();
    let low: &[u8; 16] = low.try_into().unwrap();
    let (high, low) = (u128::from_be_bytes(*high), u128::from_be_bytes(*low));
    let mut form = student();
    form["name"] = json!("keyed");
    form["key_required"] = json!(true);
    form["key_hash"] = json!(format!("sha256:{high:032x}{low:032x}"));
    form
}

pub const ADA: &str = r#"{"name":"Ada","email":"ada@example.com"}"#;
