//! HTTP/1.1 to formspool: one submission a request, or a request of many lines.
//!
//! Holds: a submission is acknowledged by 201; a line of a request of many by its own receipt, which
//! says that it is no duplicate. Anything else is an error with what was answered.

use anyhow::{Context as _, Result, ensure};

use super::super::load::{Waiting, Wire};

const TOLD_BYTES: usize = 600;

/// One document a request and one request under way.
pub(super) struct Single;

impl Wire for Single {
    fn submit(&mut self, _number: u64, document: &[u8], out: &mut Vec<u8>) {
        let head = "POST /v1/forms/student-data/submissions HTTP/1.1\r\nhost: bench\r\n\
                    content-type: application/json\r\ncontent-length: ";
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(document.len().to_string().as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(document);
    }

    fn answers(&mut self, bytes: &[u8], waiting: &mut Waiting, _: &mut Vec<u8>) -> Result<usize> {
        let Some(head) = Head::of(bytes)? else {
            return Ok(0);
        };
        let len = head
            .field("content-length")
            .and_then(|len| len.parse().ok());
        let len: usize = len.context("an answer without content-length")?;
        if bytes.len() < head.len + len {
            return Ok(0);
        }
        ensure!(head.status == "201", "{}", told(bytes));
        waiting.settle_oldest(1)?;
        Ok(head.len + len)
    }
}

/// Many lines a request; the next one when all lines of the one before are answered.
pub(super) struct Lines {
    /// The requests' keys begin so; no keys if empty.
    key: Option<String>,
    requests: u64,
    body: Vec<u8>,
    is_in_body: bool,
    /// The beginning of a line that goes on in the next chunk.
    partial: Vec<u8>,
}

impl Lines {
    pub(super) fn new(key: Option<String>) -> Self {
        Self {
            key,
            requests: 0,
            body: Vec::new(),
            is_in_body: false,
            partial: Vec::new(),
        }
    }

    /// Takes one chunk of the answer, if it is whole.
    fn chunk(&mut self, bytes: &[u8], waiting: &mut Waiting) -> Result<usize> {
        let Some(line) = bytes.windows(2).position(|two| two == b"\r\n") else {
            return Ok(0);
        };
        let size = std::str::from_utf8(bytes.get(..line).unwrap_or_default())?;
        let size = usize::from_str_radix(size, 16).context("not a chunk's length")?;
        let (from, to) = (line + 2, line + 2 + size);
        if bytes.len() < to + 2 {
            return Ok(0);
        }
        if size == 0 {
            ensure!(waiting.len() == 0, "lines without an answer");
            self.is_in_body = false;
        }
        for part in bytes
            .get(from..to)
            .unwrap_or_default()
            .split_inclusive(|byte| *byte == b'\n')
        {
            self.partial.extend_from_slice(part);
            if part.ends_with(b"\n") {
                is_receipt(&self.partial)?;
                self.partial.clear();
                waiting.settle_oldest(1)?;
            }
        }
        Ok(to + 2)
    }
}

impl Wire for Lines {
    fn submit(&mut self, _number: u64, document: &[u8], _out: &mut Vec<u8>) {
        self.body.extend_from_slice(document);
        self.body.push(b'\n');
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        let key = self.key.as_ref().map_or_else(String::new, |key| {
            format!("idempotency-key: {key}-{}\r\n", self.requests)
        });
        let head = format!(
            "POST /v1/forms/student-data/submissions HTTP/1.1\r\nhost: bench\r\n\
             content-type: application/x-ndjson\r\n{key}content-length: {}\r\n\r\n",
            self.body.len()
        );
        out.extend_from_slice(head.as_bytes());
        out.append(&mut self.body);
        self.requests += 1;
    }

    fn answers(&mut self, bytes: &[u8], waiting: &mut Waiting, _: &mut Vec<u8>) -> Result<usize> {
        let mut taken = 0;
        loop {
            let rest = bytes.get(taken..).unwrap_or_default();
            let len = if self.is_in_body {
                self.chunk(rest, waiting)?
            } else if let Some(head) = Head::of(rest)? {
                ensure!(head.status == "200", "{}", told(rest));
                let coding = head.field("transfer-encoding");
                ensure!(coding == Some("chunked"), "{}", told(rest));
                self.is_in_body = true;
                head.len
            } else {
                0
            };
            if len == 0 {
                return Ok(taken);
            }
            taken += len;
        }
    }

    /// Also while the end of the answer is still to come: it ends with the last line's answer.
    fn is_batched(&self) -> bool {
        true
    }

    fn room(&self) -> usize {
        if self.is_in_body { 0 } else { usize::MAX }
    }
}

fn is_receipt(line: &[u8]) -> Result<()> {
    let line = std::str::from_utf8(line)?;
    let is_receipt = line.contains("\"seq\":") && line.contains("\"duplicate\":false");
    ensure!(is_receipt, "a line was answered: {line}");
    Ok(())
}

fn told(bytes: &[u8]) -> String {
    let some = bytes.get(..bytes.len().min(TOLD_BYTES));
    format!(
        "answered: {}",
        String::from_utf8_lossy(some.unwrap_or_default())
    )
}

/// The head of an answer.
struct Head<'a> {
    status: &'a str,
    fields: &'a str,
    /// With the empty line.
    len: usize,
}

impl<'a> Head<'a> {
    /// `None` if it is not whole yet.
    fn of(bytes: &'a [u8]) -> Result<Option<Self>> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = std::str::from_utf8(bytes.get(..end).unwrap_or_default())?;
        let (first, fields) = text.split_once("\r\n").unwrap_or((text, ""));
        let status = first.split(' ').nth(1).context("not an answer")?;
        Ok(Some(Self {
            status,
            fields,
            len: end + 4,
        }))
    }

    fn field(&self, name: &str) -> Option<&'a str> {
        let mut fields = self.fields.split("\r\n");
        fields.find_map(|field| {
            let (found, value) = field.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn waiting(count: usize) -> Waiting {
        let mut waiting = Waiting::new(Instant::now());
        for _ in 0..count {
            waiting.push(Instant::now());
        }
        waiting
    }

    fn take(wire: &mut dyn Wire, text: &str, waiting: &mut Waiting) -> Result<usize> {
        wire.answers(text.as_bytes(), waiting, &mut Vec::new())
    }

    #[test]
    fn a_submission_is_acknowledged_by_a_whole_201() {
        let mut waiting = waiting(1);
        let created = "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(
            0,
            take(&mut Single, &created[..created.len() - 1], &mut waiting).unwrap()
        );
        assert_eq!(1, waiting.len());
        assert_eq!(
            created.len(),
            take(&mut Single, created, &mut waiting).unwrap()
        );
        assert_eq!(0, waiting.len());
    }

    #[test]
    fn another_status_is_told() {
        let refused = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 9\r\n\r\nno-quorum";
        let error = take(&mut Single, refused, &mut waiting(1)).unwrap_err();
        assert!(error.to_string().contains("no-quorum"), "{error}");
    }

    #[test]
    fn lines_are_counted_across_chunks_and_reads() {
        let line = "{\"seq\":1,\"duplicate\":false}\n";
        let (a, b) = line.split_at(10);
        let answer = format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{line}{a}\r\n{:x}\r\n{b}\r\n0\r\n\r\n",
            line.len() + a.len(),
            b.len()
        );
        for cut in 0..answer.len() {
            let (mut wire, mut waiting) = (Lines::new(None), waiting(2));
            let taken = take(&mut wire, &answer[..cut], &mut waiting).unwrap();
            let rest = take(&mut wire, &answer[taken..], &mut waiting).unwrap();
            assert_eq!(answer.len(), taken + rest, "cut at {cut}");
            assert_eq!(0, waiting.len());
            assert!(!wire.is_in_body);
        }
    }

    #[test]
    fn a_line_that_is_refused_or_missing_or_known_already_is_an_error() {
        let answer = |lines: &str| {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            format!("{head}{:x}\r\n{lines}\r\n0\r\n\r\n", lines.len())
        };
        let good = "{\"seq\":1,\"duplicate\":false}\n";
        for bad in ["{\"seq\":1,\"duplicate\":true}\n", "{\"status\":503}\n", ""] {
            let text = answer(&format!("{good}{bad}"));
            let mut waiting = waiting(2);
            assert!(take(&mut Lines::new(None), &text, &mut waiting).is_err());
        }
    }

    #[test]
    fn keys_are_new_for_each_request() {
        let mut wire = Lines::new(Some("k".to_owned()));
        let mut out = Vec::new();
        for _ in 0..2 {
            wire.submit(0, b"{}", &mut out);
            wire.close(&mut out);
        }
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains("idempotency-key: k-0\r\ncontent-length: 3"),
            "{text}"
        );
        assert!(text.contains("idempotency-key: k-1\r\n"), "{text}");
    }
}
