//! The JSON shapes of answers that are not a receipt or a problem.
//!
//! Holds: shapes only grow; a member that a client reads today is there tomorrow.

use serde::Serialize;
use serde_json::{Value, value::RawValue};
use storage::{FormRow, ParkedRow, Position, Record, Seq, TaskRow, TaskState};

use crate::forms::FormSummary;
pub(super) use crate::ingest::instant_text;

/// An id as text.
pub(super) fn id_text(id: [u8; 16]) -> String {
    uuid::Uuid::from_bytes(id).to_string()
}

/// A string as JSON.
pub(super) fn json_text(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

/// Reads `INDEX:SLOT`.
pub(super) fn parse_position(text: &str) -> Option<Position> {
    let (index, slot) = text.split_once(':')?;
    Some(Position {
        index: storage::Index(index.parse().ok()?),
        slot: storage::Slot(slot.parse().ok()?),
    })
}

/// Appends one record; `tasks` is its state at each task.
///
/// Written by hand: a list of a million records parses no document.
pub(super) fn write_record(out: &mut Vec<u8>, record: &Record, tasks: Option<&Value>) {
    let head = format!(
        r#"{{"seq":{},"id":"{}","received_at":"{}","form_version":{},"index":{},"data":"#,
        record.seq.unwrap_or_default(),
        id_text(record.id),
        instant_text(record.received_ms),
        record.form_version,
        record.source.index,
    );
    out.extend_from_slice(head.as_bytes());
    write_document(out, &record.body);
    if let Some(tasks) = tasks {
        out.extend_from_slice(b",\"tasks\":");
        out.extend_from_slice(tasks.to_string().as_bytes());
    }
    out.push(b'}');
}

/// Line breaks stand only between the tokens of a document: inside text they are escaped.
fn write_document(out: &mut Vec<u8>, document: &[u8]) {
    let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
    if document.iter().any(is_break) {
        out.extend(
            document
                .iter()
                .map(|byte| if is_break(byte) { b' ' } else { *byte }),
        );
    } else {
        out.extend_from_slice(document);
    }
}

/// A document in its place inside another; `null` for bytes that are none.
fn raw(document: &[u8]) -> Box<RawValue> {
    let text = String::from_utf8(document.to_vec()).unwrap_or_default();
    RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// `GET /v1/forms/{form}`
#[derive(Debug, Serialize)]
pub(super) struct FormShape {
    name: String,
    version: u32,
    is_retired: bool,
    head: Seq,
    definition: Box<RawValue>,
}

impl From<FormRow> for FormShape {
    fn from(form: FormRow) -> Self {
        Self {
            definition: raw(&form.definition),
            name: form.name,
            version: form.version,
            is_retired: form.is_retired,
            head: form.head,
        }
    }
}

/// `GET /v1/forms`
#[derive(Debug, Serialize)]
pub(super) struct FormsShape {
    pub(super) forms: Vec<FormSummary>,
}

/// `PUT` and `DELETE /v1/forms/{form}`
#[derive(Debug, Serialize)]
pub(super) struct ChangeShape<'a> {
    pub(super) form: &'a str,
    pub(super) version: u32,
    pub(super) changed: bool,
}

/// `PUT` and `DELETE /v1/tasks/{task}`
#[derive(Debug, Serialize)]
pub(super) struct TaskChangeShape<'a> {
    pub(super) task: &'a str,
    pub(super) version: u32,
    /// Its present life: the same as before where it goes on where it stood.
    pub(super) incarnation: storage::Index,
    pub(super) changed: bool,
}

/// `POST /v1/tasks/{task}/pause` and `resume`
#[derive(Debug, Serialize)]
pub(super) struct TaskStateShape<'a> {
    pub(super) task: &'a str,
    pub(super) version: u32,
    pub(super) incarnation: storage::Index,
    pub(super) state: &'static str,
    pub(super) changed: bool,
}

/// As people read it.
pub(super) const fn task_state(state: TaskState) -> &'static str {
    match state {
        TaskState::Running => "running",
        TaskState::Paused => "paused",
    }
}

/// `POST /v1/tasks/{task}/seek` and `replay`
#[derive(Debug, Serialize)]
pub(super) struct SeekShape<'a> {
    pub(super) task: &'a str,
    pub(super) version: u32,
    pub(super) incarnation: storage::Index,
    /// The cursor: what comes behind it is sent.
    pub(super) position: String,
    pub(super) replay: bool,
}

/// `POST /v1/tasks/{task}/parked/replay`
#[derive(Debug, Serialize)]
pub(super) struct ReplayedShape<'a> {
    pub(super) task: &'a str,
    pub(super) replayed: u32,
    /// Not all that was parked: ask again.
    pub(super) more: bool,
}

/// `GET /v1/tasks/{task}`
#[derive(Debug, Serialize)]
pub(super) struct TaskShape {
    name: String,
    version: u32,
    incarnation: storage::Index,
    state: &'static str,
    definition: Box<RawValue>,
}

impl From<TaskRow> for TaskShape {
    fn from(row: TaskRow) -> Self {
        Self {
            name: row.name,
            version: row.version,
            incarnation: row.incarnation,
            state: task_state(row.state),
            definition: raw(&row.definition),
        }
    }
}

/// One of `GET /v1/forms/{form}/withheld`
#[derive(Debug, Serialize)]
pub(super) struct WithheldShape {
    position: String,
    id: String,
    received_at: String,
    data: Box<RawValue>,
}

impl From<Record> for WithheldShape {
    fn from(record: Record) -> Self {
        Self {
            position: record.source.to_string(),
            id: id_text(record.id),
            received_at: instant_text(record.received_ms),
            data: raw(&record.body),
        }
    }
}

/// `GET /v1/forms/{form}/withheld`
#[derive(Debug, Serialize)]
pub(super) struct WithheldsShape {
    pub(super) withheld: Vec<WithheldShape>,
    /// `after` for what follows.
    pub(super) next: String,
}

/// `POST /v1/forms/{form}/withheld/release`
#[derive(Debug, Serialize)]
pub(super) struct ReleasedShape {
    pub(super) released: u32,
}

/// One of `GET /v1/tasks/{task}/parked`
#[derive(Debug, Serialize)]
pub(super) struct ParkedShape {
    position: String,
    form: String,
    seq: Seq,
    id: String,
    received_at: String,
    parked_at: u64,
    reason: String,
    answer: String,
    data: Box<RawValue>,
}

impl ParkedShape {
    /// One that is `form`'s.
    pub(super) fn new(row: ParkedRow, form: String) -> Self {
        Self {
            position: row.position.to_string(),
            form,
            seq: row.record.seq,
            id: id_text(row.record.id),
            received_at: instant_text(row.record.received_ms),
            parked_at: row.parked_at.0,
            data: raw(&row.record.body),
            reason: row.reason,
            answer: row.answer,
        }
    }
}

/// `GET /v1/tasks/{task}/parked`
#[derive(Debug, Serialize)]
pub(super) struct ParkedsShape {
    pub(super) parked: Vec<ParkedShape>,
    /// `after` for what follows.
    pub(super) next: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_written() {
        let position = parse_position("4711:3").unwrap();
        assert_eq!(position.to_string(), "4711:3");
        for bad in ["", "1", ":", "1:", "1:2:3", "-1:2", "1:4294967296"] {
            assert_eq!(parse_position(bad), None, "{bad}");
        }
    }
}
