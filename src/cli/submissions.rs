//! `formspool submissions export`: all of a form's records, in order.
//!
//! Holds: documents are read page by page, each after the last seq of the one before, a table in
//! one piece after the other of one answer; so memory stays small and no record is missed or
//! written twice. It ends where the form's head was when it got there; an answer that is broken off
//! is an error.

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

    fn path(&self, after: u64, limit: u64) -> String {
        format!(
            "/v1/forms/{}/submissions?after={after}&limit={limit}",
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
            let page = page(client, &self.path(after, PAGE_RECORDS)).await?;
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

    /// Rows as the node makes them, safe to open in a spreadsheet. One request for all of them: a
    /// second one could have other columns, where the form got a field in between.
    async fn csv(&self, client: &Client) -> Result<(), Error> {
        let mut pieces = client
            .stream(&self.path(self.after, u64::MAX), "text/csv")
            .await?;
        while let Some(piece) = pieces.next().await? {
            out::bytes(&piece)?;
        }
        Ok(())
    }
}

/// Records a page: the node's own upper bound keeps a page's bytes in check.
const PAGE_RECORDS: u64 = 1000;
