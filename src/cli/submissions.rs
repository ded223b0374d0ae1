//! `formspool submissions export`: all of a form's records, in order.
//!
//! Holds: read page by page, each after the last seq of the one before, so memory stays small and
//! no record is missed or written twice. It ends where the form's head was when it got there.

use super::args::ExportFormat;
use super::client::Client;
use super::error::Error;
use super::out;
use super::tail::page;

/// What to export, and how.
#[derive(Debug)]
pub(super) struct Export {
    pub(super) form: String,
    pub(super) format: ExportFormat,
    pub(super) after: u64,
}

impl Export {
    /// Writes it to standard output.
    pub(super) async fn run(&self, client: &Client) -> Result<(), Error> {
        match self.format {
            ExportFormat::Csv => self.csv(client).await,
            ExportFormat::Ndjson | ExportFormat::Json => self.json(client).await,
        }
    }

    fn path(&self, after: u64) -> String {
        format!(
            "/v1/forms/{}/submissions?after={after}&limit={PAGE_RECORDS}",
            self.form
        )
    }

    async fn json(&self, client: &Client) -> Result<(), Error> {
        let is_array = self.format == ExportFormat::Json;
        let mut after = self.after;
        let mut is_first = true;
        if is_array {
            out::bytes(b"[")?;
        }
        loop {
            let page = page(client, &self.path(after)).await?;
            let mut text = String::new();
            for record in &page.records {
                if is_array {
                    text.push_str(if is_first { "\n" } else { ",\n" });
                }
                text.push_str(record.get());
                if !is_array {
                    text.push('\n');
                }
                is_first = false;
            }
            out::bytes(text.as_bytes())?;
            if page.records.is_empty() || page.next <= after {
                break;
            }
            after = page.next;
        }
        if is_array {
            Ok(out::bytes(b"\n]\n")?)
        } else {
            Ok(())
        }
    }

    /// Rows as the node makes them, safe to open in a spreadsheet; one header for all pages.
    async fn csv(&self, client: &Client) -> Result<(), Error> {
        let mut after = self.after;
        let mut is_first = true;
        loop {
            let mut pieces = client.stream(&self.path(after), "text/csv").await?;
            let mut bytes = Vec::new();
            while let Some(piece) = pieces.next().await? {
                bytes.extend_from_slice(&piece);
            }
            let strange = |error: csv::Error| Error::Strange {
                url: client.url().to_owned(),
                what: error.to_string(),
            };
            let mut reader = csv::ReaderBuilder::new()
                .has_headers(false)
                .from_reader(&*bytes);
            let mut last = after;
            let mut rows_begin = None;
            for row in reader.records() {
                let row = row.map_err(strange)?;
                if rows_begin.is_none() {
                    rows_begin = Some(bytes.len()); // the header alone, unless a row follows
                } else {
                    if rows_begin == Some(bytes.len()) {
                        let at = row.position().map_or(0, csv::Position::byte);
                        rows_begin = usize::try_from(at).ok();
                    }
                    last = row.get(0).and_then(|seq| seq.parse().ok()).unwrap_or(last);
                }
            }
            let begin = if is_first {
                0
            } else {
                rows_begin.unwrap_or(bytes.len())
            };
            out::bytes(bytes.get(begin..).unwrap_or_default())?;
            if last <= after {
                return Ok(());
            }
            is_first = false;
            after = last;
        }
    }
}

/// Records a page: the node's own upper bound keeps a page's bytes in check.
const PAGE_RECORDS: u32 = 1000;
