//! One body becomes one `Submission`: the order of the checks is the order of this file.
//!
//! Size, UTF-8, depth, members, parse; the members that are ours come out; the key is looked up (a
//! repeated submission gets its first receipt even where the form has changed since); then the
//! form is asked: sanitise, validate; last the stamp of time and id.
//!
//! Holds: synchronous, and no tree outlives the call: so as many trees live at a time as there are
//! worker threads, whatever is under way.

use bytes::Bytes;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use storage::{Key, KeyReader, StateView, Submission};

use super::config::Config;
use super::dice::Dice;
use super::receipt::Receipt;
use super::refused::Refused;
use super::scan::{Beyond, Scan, scan};
use super::{Body, rewrite, tree};
use crate::clock::Clock;
use crate::forms::{Fault, Form, RESERVED, pointer_step};

/// A submission as far as the door alone can bring it.
#[derive(Clone, Debug)]
pub enum Prepared {
    /// It has its place already: the first receipt again.
    Known(Receipt),
    /// It is well-formed and stamped, and wants a place.
    New(Box<Submission>),
}

/// Where a submission's key comes from.
#[derive(Clone, Debug)]
pub(super) enum KeySource {
    /// The document's own member, if it has one.
    Document,
    /// This one, whatever the document says.
    Given(Key),
    /// This one, unless the document has its own.
    Fallback(Key),
}

/// What of a submission its receipt will repeat.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) id: [u8; 16],
    pub(super) received_ms: u64,
}

impl Stamp {
    pub(super) fn of(submission: &Submission) -> Self {
        Self {
            id: submission.id,
            received_ms: submission.received_ms,
        }
    }
}

/// What the checks need.
pub(super) struct Door {
    config: Config,
    view: StateView,
    clock: Clock,
    dice: Dice,
}

/// A body that was read, before the form was asked.
struct Read {
    document: Value,
    digest: [u8; 16],
    key: Option<String>,
    is_withheld: bool,
    /// Members were taken out.
    is_stripped: bool,
    source: Source,
}

/// What the stored body is made from.
enum Source {
    Text { bytes: Bytes, scan: Scan },
    Pairs,
}

impl Door {
    pub(super) fn new(config: Config, view: StateView, clock: Clock) -> Self {
        Self {
            config,
            view,
            clock,
            dice: Dice::new(),
        }
    }

    /// To look up the keys of one request.
    pub(super) const fn key_reader(&self) -> KeyReader<'_> {
        self.view.key_reader()
    }

    pub(super) fn prepare(
        &self,
        form: &Form,
        body: Body,
        key: KeySource,
        reader: &mut KeyReader<'_>,
    ) -> Result<Prepared, Refused> {
        let read = match body {
            Body::Json(bytes) => self.read_json(form, bytes)?,
            Body::Pairs(pairs) => self.read_pairs(form, pairs)?,
        };
        let key = self.key(key, read.key.as_deref())?;
        if let Some(known) = known(form, key.as_ref(), &read.digest, reader)? {
            return Ok(Prepared::Known(known));
        }
        if form.is_retired {
            return Err(Refused::FormRetired);
        }
        let Read {
            mut document,
            digest,
            is_withheld,
            is_stripped,
            source,
            ..
        } = read;
        let is_changed = form.sanitise(&mut document) || is_stripped;
        form.check(&document).map_err(Refused::Invalid)?;
        let body = body_of(source, &document, is_changed);
        let max = self.bytes_max(form);
        if body.len() > max {
            return Err(Refused::TooLarge { max });
        }
        let received_ms = self.clock.now_ms();
        Ok(Prepared::New(Box::new(Submission {
            id: self.dice.id(received_ms),
            form: form.id,
            form_version: form.version,
            received_ms,
            key,
            digest,
            is_withheld,
            body,
        })))
    }

    fn read_json(&self, form: &Form, bytes: Bytes) -> Result<Read, Refused> {
        let max = self.bytes_max(form);
        if bytes.len() > max {
            return Err(Refused::TooLarge { max });
        }
        if std::str::from_utf8(&bytes).is_err() {
            return Err(Refused::malformed("not UTF-8"));
        }
        let fields_max = self.fields_max(form);
        let scan =
            scan(&bytes, self.config.depth_max, fields_max).map_err(|beyond| match beyond {
                Beyond::Depth => Refused::TooDeep {
                    max: self.config.depth_max,
                },
                Beyond::Fields => Refused::TooManyFields { max: fields_max },
            })?;
        let mut document = tree::tree(&bytes)?;
        let digest = truncated(Sha256::digest(&bytes).as_slice());
        let taken = document
            .as_object_mut()
            .map(|members| take_reserved(form, members));
        let taken = taken.transpose()?.unwrap_or_default();
        let source = Source::Text { bytes, scan };
        Ok(Read {
            document,
            digest,
            key: taken.key,
            is_withheld: taken.is_withheld,
            is_stripped: taken.is_any,
            source,
        })
    }

    fn read_pairs(&self, form: &Form, pairs: Vec<(String, String)>) -> Result<Read, Refused> {
        let max = self.bytes_max(form);
        let bytes: usize = pairs
            .iter()
            .map(|(name, text)| name.len() + text.len())
            .sum();
        if bytes > max {
            return Err(Refused::TooLarge { max });
        }
        let fields_max = self.fields_max(form);
        if pairs.len() > fields_max {
            return Err(Refused::TooManyFields { max: fields_max });
        }
        let has_nul = |(name, text): &&(String, String)| name.contains('\0') || text.contains('\0');
        if let Some((name, _)) = pairs.iter().find(has_nul) {
            let fault = Fault::new(pointer_step(&name.replace('\0', "")), "contains U+0000");
            let detail = "the fields cannot be taken as they are".to_owned();
            return Err(Refused::Malformed {
                detail,
                faults: vec![fault],
            });
        }
        let digest = digest_of_pairs(&pairs);
        let mut taken = Taken::default();
        let mut data = Vec::with_capacity(pairs.len());
        for (name, text) in pairs {
            if form.definition.is_reserved(&name) {
                taken.note(form, &name, &text);
            } else {
                data.push((name, text));
            }
        }
        Ok(Read {
            document: Value::Object(form.document_of_pairs(data)),
            digest,
            key: taken.key,
            is_withheld: taken.is_withheld,
            is_stripped: taken.is_any,
            source: Source::Pairs,
        })
    }

    fn key(&self, source: KeySource, own: Option<&str>) -> Result<Option<Key>, Refused> {
        let own = || own.map(|text| Key::Own(text.to_owned()));
        let key = match source {
            KeySource::Document => own(),
            KeySource::Given(key) => Some(key),
            KeySource::Fallback(key) => own().or(Some(key)),
        };
        if let Some(key) = &key {
            check_key(key, self.config.key_bytes_max)?;
        }
        Ok(key)
    }

    fn bytes_max(&self, form: &Form) -> usize {
        let own = form
            .definition
            .limits
            .and_then(|limits| limits.submission_bytes_max);
        own.unwrap_or(usize::MAX)
            .min(self.config.submission_bytes_max)
    }

    fn fields_max(&self, form: &Form) -> usize {
        let own = form.definition.limits.and_then(|limits| limits.fields_max);
        own.unwrap_or(usize::MAX).min(self.config.fields_max)
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// What the reserved members said.
#[derive(Default)]
struct Taken {
    key: Option<String>,
    is_withheld: bool,
    is_any: bool,
}

impl Taken {
    fn note(&mut self, form: &Form, name: &str, text: &str) {
        self.is_any = true;
        if form.definition.honeypot.as_deref() == Some(name) {
            self.is_withheld |= !text.trim().is_empty();
        }
        if name == "_idempotency_key" && !text.is_empty() {
            self.key = Some(text.to_owned());
        }
    }
}

fn take_reserved(form: &Form, members: &mut Map<String, Value>) -> Result<Taken, Refused> {
    let mut taken = Taken::default();
    let honeypot = form.definition.honeypot.as_deref();
    let extra = honeypot.filter(|name| !RESERVED.contains(name));
    for name in RESERVED.into_iter().chain(extra) {
        match members.shift_remove(name) {
            None => {}
            Some(Value::String(text)) => taken.note(form, name, &text),
            Some(Value::Null) => taken.is_any = true,
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                if name == "_idempotency_key" {
                    return Err(Refused::BadKey("must be text".to_owned()));
                }
                // A trap that holds anything but nothing was walked into.
                taken.note(form, name, "1");
            }
        }
    }
    Ok(taken)
}

/// The first receipt, where this key has one.
fn known(
    form: &Form,
    key: Option<&Key>,
    digest: &[u8; 16],
    reader: &mut KeyReader<'_>,
) -> Result<Option<Receipt>, Refused> {
    let Some(key) = key else { return Ok(None) };
    match reader.placed(form.id, key) {
        Ok(Some((first, placed))) if first == *digest => {
            Ok(Some(Receipt::new(&form.name, &placed, true)))
        }
        Ok(Some(_)) => Err(Refused::KeyReused),
        Ok(None) => Ok(None),
        Err(error) => {
            // Only a short cut is lost: `apply` looks the key up again.
            tracing::error!(%error, "key not readable");
            Ok(None)
        }
    }
}

fn check_key(key: &Key, max: usize) -> Result<(), Refused> {
    let (text, bytes) = match key {
        Key::Own(text) => (text, text.len()),
        Key::Line { header, line } => (header, header.len() + 1 + line.to_string().len()),
    };
    if text.is_empty() {
        return Err(Refused::BadKey("is empty".to_owned()));
    }
    if bytes > max {
        return Err(Refused::BadKey(format!("at most {max} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(Refused::BadKey("contains control characters".to_owned()));
    }
    Ok(())
}

/// The document as it was validated, as compact JSON.
fn body_of(source: Source, document: &Value, is_changed: bool) -> Bytes {
    match (source, document) {
        (Source::Text { bytes, .. }, Value::Object(members)) if is_changed => {
            Bytes::from(rewrite::edited(&bytes, members))
        }
        (Source::Text { bytes, scan }, _) if scan.is_compact => bytes,
        (Source::Text { bytes, .. }, _) => Bytes::from(rewrite::compacted(&bytes)),
        (Source::Pairs, _) => Bytes::from(document.to_string()),
    }
}

/// Lengths stand before the texts, so no two lists of pairs look alike. The idempotency key is left
/// out: it names the submission and is no part of it.
fn digest_of_pairs(pairs: &[(String, String)]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for (name, text) in pairs.iter().filter(|(name, _)| name != "_idempotency_key") {
        for part in [name, text] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
    }
    truncated(hash.finalize().as_slice())
}

fn truncated(digest: &[u8]) -> [u8; 16] {
    let mut first = [0; 16];
    first
        .iter_mut()
        .zip(digest)
        .for_each(|(to, from)| *to = *from);
    first
}
