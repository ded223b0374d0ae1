//! Reading over HTTP: pages of JSON, and the same as NDJSON and CSV.
//!
//! Holds: a 410 is an answer only to one that was made `forgiving`, and only where the head shows
//! that what it names as the oldest is there. To all others it is the end of reading, and so a fault.

use anyhow::{bail, ensure};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::checker::kafka::{Log, Original};
use crate::checker::sight::{Shape, Sight};
use crate::client::api::{self, Found, NDJSON, Page};
use crate::client::{Call, Client};
use crate::form::{Bodies, Form};
use crate::reader::sheet;

const CSV: &str = "text/csv";
const PAGE: u64 = 1000;
const CALLS_MAX: u64 = 100_000; // 100 M records: a reader that never ends is a fault

/// One who reads over HTTP.
#[derive(Debug)]
pub(crate) struct Reader {
    client: Client,
    token: String,
    bodies: Bodies,
    /// The log may let go of records.
    may_forget: bool,
}

impl Reader {
    pub(crate) fn new(client: Client, token: String, bodies: Bodies) -> Self {
        Self {
            client,
            token,
            bodies,
            may_forget: false,
        }
    }

    /// One that goes on behind what the log has let go of, where that `may_forget`.
    pub(crate) fn forgiving(self, may_forget: bool) -> Self {
        Self { may_forget, ..self }
    }

    /// Reads what is new behind the sight's last record, to the head.
    pub(crate) async fn follow(&mut self, sight: &mut Sight) {
        // One that has stopped is a fault already; it is not asked again and again.
        if sight.unreadable.is_empty() {
            let read = self.pages(sight).await;
            sight.end(read);
        }
    }

    /// The whole form, in pages.
    pub(crate) async fn whole(&mut self, form: Form) -> Sight {
        let mut sight = Sight::new("GET", form, Shape::Document);
        self.follow(&mut sight).await;
        sight
    }

    /// The whole form by `Accept: application/x-ndjson`.
    pub(crate) async fn ndjson(&mut self, form: Form) -> Sight {
        let mut sight = Sight::new("GET as NDJSON", form, Shape::Document);
        let read = self.pages_as(NDJSON, &mut sight).await;
        sight.end(read);
        sight
    }

    /// The whole form by `Accept: text/csv`.
    pub(crate) async fn csv(&mut self, form: Form) -> Sight {
        let mut sight = Sight::new("GET as CSV", form, Shape::Cells);
        let read = self.pages_as(CSV, &mut sight).await;
        sight.end(read);
        sight
    }

    async fn pages(&mut self, sight: &mut Sight) -> anyhow::Result<()> {
        for _ in 0..CALLS_MAX {
            let after = sight.last_seq();
            let Some(page) = self.page(sight).await? else {
                continue;
            };
            ensure!(
                !page.rows.is_empty() || page.head <= after,
                "no records behind {after}, and head is {}",
                page.head
            );
            for row in page.rows {
                ensure!(row.seq > after, "asked behind {after}, got seq {}", row.seq);
                sight.push(row);
            }
            // Not "until a page is empty": under load no page ever is.
            if sight.last_seq() >= page.head {
                return Ok(());
            }
        }
        bail!("the pages never end")
    }

    /// `None`: it was told what is forgotten, and asks behind that.
    async fn page(&mut self, sight: &mut Sight) -> anyhow::Result<Option<Page>> {
        let (what, after) = ((self.bodies, sight.form), sight.last_seq());
        match api::page(&mut self.client, &self.token, what, after, PAGE).await? {
            Found::Page(page) => {
                let oldest = sight.oldest().unwrap_or(0);
                ensure!(
                    oldest <= page.head + 1,
                    "forgotten below {oldest}, and the head is {}",
                    page.head
                );
                Ok(Some(page))
            }
            Found::Gone { oldest } => {
                ensure!(
                    self.may_forget,
                    "{}: 410 behind {after}, the oldest is {oldest}",
                    sight.form.name()
                );
                sight.forget_below(oldest);
                Ok(None)
            }
        }
    }

    async fn pages_as(&mut self, kind: &str, sight: &mut Sight) -> anyhow::Result<()> {
        for _ in 0..CALLS_MAX {
            let body = self.page_as(kind, sight.form, sight.last_seq()).await?;
            let before = sight.rows.len();
            if kind == CSV {
                sheet::parse(&body, self.bodies, sight)?;
            } else {
                lines(&body, self.bodies, sight);
            }
            if sight.rows.len() == before {
                return Ok(());
            }
        }
        bail!("the pages never end")
    }

    async fn page_as(&mut self, kind: &str, form: Form, after: u64) -> anyhow::Result<Bytes> {
        let name = form.name();
        let path = format!("/v1/forms/{name}/submissions?after={after}&limit={PAGE}");
        let call = Call::get(path).bearer(&self.token).header("accept", kind);
        let answer = self.client.call(&call).await?;
        let status = answer.status;
        ensure!(
            status == 200,
            "reading as {kind}: {status} {}",
            answer.text()
        );
        let got = answer.header("content-type");
        ensure!(got.starts_with(kind), "asked for {kind}, got {got}");
        Ok(answer.body)
    }
}

#[derive(Debug, Deserialize)]
struct WireOriginal<'a> {
    seq: u64,
    id: String,
    received_at: String,
    index: u64,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Debug, Deserialize)]
struct WireOriginals<'a> {
    #[serde(borrow)]
    records: Vec<WireOriginal<'a>>,
    head: u64,
}

/// Reads what is new behind the log's last, to the head: each document as the very bytes that
/// are shown.
pub(crate) async fn follow_log(
    client: &mut Client,
    token: &str,
    form: Form,
    log: &mut Log,
) -> anyhow::Result<()> {
    for _ in 0..CALLS_MAX {
        let after = log.last_key_value().map_or(0, |(seq, _)| *seq);
        let name = form.name();
        let path =
            format!("/v1/forms/{name}/submissions?after={after}&limit={PAGE}&consistent=true");
        let call = Call::get(path).bearer(token).header("accept", api::JSON);
        let answer = client.call(&call).await?;
        let status = answer.status;
        ensure!(status == 200, "reading {name}: {status} {}", answer.text());
        let page: WireOriginals<'_> = serde_json::from_slice(&answer.body)?;
        ensure!(
            !page.records.is_empty() || page.head <= after,
            "no records behind {after}, and head is {}",
            page.head
        );
        for record in page.records {
            let data = record.data.get().as_bytes().to_vec();
            let original = Original {
                id: record.id,
                received_at: record.received_at,
                index: record.index,
                data,
            };
            log.insert(record.seq, original);
        }
        if log.last_key_value().map_or(0, |(seq, _)| *seq) >= page.head {
            return Ok(());
        }
    }
    bail!("the pages never end")
}

/// A record a line; what is none is noted.
pub(crate) fn lines(bytes: &[u8], bodies: Bodies, sight: &mut Sight) {
    let lines = bytes.split(|byte| *byte == b'\n');
    for line in lines.filter(|line| !line.is_empty()) {
        match api::record(bodies, sight.form, line) {
            Ok(row) => sight.push(row),
            Err(error) => sight.unreadable.push(format!(
                "behind seq {}: {error:#}: {}",
                sight.last_seq(),
                String::from_utf8_lossy(line)
            )),
        }
    }
}
