//! `formspool tail`: a form's records as they arrive.
//!
//! Holds: asks for what is after the last seq that was printed, so nothing is skipped or shown
//! twice, whatever the connection does. A node that restarts is waited for.

use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;

use super::client::Client;
use super::error::Error;
use super::out::{self, Out, plain};

/// How long the node may hold the answer back while there is nothing new.
const WAIT_S: u32 = 20;
/// Between two tries when the node does not answer.
const RETRY: Duration = Duration::from_millis(500);

/// Goes on until the process is stopped or its reader is gone.
pub(super) async fn run(
    out: Out,
    client: &Client,
    form: &str,
    after: Option<u64>,
) -> Result<(), Error> {
    let mut after = match after {
        Some(after) => after,
        None => head(client, form).await?,
    };
    let mut is_first = true;
    loop {
        let path = format!("/v1/forms/{form}/submissions?after={after}&wait={WAIT_S}s");
        let page = match page(client, &path).await {
            Err(
                Error::Connect { .. } | Error::Broken { .. } | Error::Refused { status: 503, .. },
            ) if !is_first => {
                tokio::time::sleep(RETRY).await;
                continue;
            }
            other => other?,
        };
        is_first = false;
        for record in &page.records {
            print(out, record)?;
        }
        after = page.next.max(after);
    }
}

/// One page of records.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Page {
    /// In seq order.
    pub(super) records: Vec<Box<RawValue>>,
    /// Where the next page begins after.
    pub(super) next: u64,
}

/// Reads one page.
pub(super) async fn page(client: &Client, path: &str) -> Result<Page, Error> {
    let mut pieces = client.stream(path, "application/json").await?;
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await? {
        bytes.extend_from_slice(&piece);
    }
    let strange = |error: serde_json::Error| Error::Strange {
        url: client.url().to_owned(),
        what: error.to_string(),
    };
    serde_json::from_slice(&bytes).map_err(strange)
}

/// The seq after which the log still has records: what lies before, retention has let go.
#[cfg(any(feature = "kafka", feature = "sheets"))]
pub(super) async fn oldest(client: &Client, form: &str) -> Result<u64, Error> {
    let told = client.get(&format!("/v1/forms/{form}")).await?;
    let (mut low, mut high) = (0, told.get("head").and_then(Value::as_u64).unwrap_or(0));
    // The first request asks for the beginning: mostly it is there.
    let mut middle = 0;
    while low < high {
        let path = format!("/v1/forms/{form}/submissions?after={middle}&limit=1");
        match client.get(&path).await {
            Ok(_) => high = middle,
            Err(Error::Refused { status: 410, .. }) => low = middle + 1,
            Err(other) => return Err(other),
        }
        middle = low + (high - low) / 2;
    }
    Ok(low)
}

async fn head(client: &Client, form: &str) -> Result<u64, Error> {
    let form = client.get(&format!("/v1/forms/{form}")).await?;
    Ok(form.get("head").and_then(Value::as_u64).unwrap_or_default())
}

fn print(out: Out, record: &RawValue) -> Result<(), Error> {
    if out.is_json {
        return Ok(out::text(record.get())?);
    }
    let record: Value = serde_json::from_str(record.get()).unwrap_or_default();
    let part = |name: &str| record.get(name).cloned().unwrap_or_default();
    let text = format!(
        "#{}  {}  {}",
        part("seq"),
        part("received_at").as_str().unwrap_or_default(),
        part("data")
    );
    Ok(out::text(&plain(&text))?)
}
