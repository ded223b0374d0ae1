//! The fake's queue: one lock, one file of lines, synced before each receipt; sheets beside it.
//! Each mutant breaks it in one place.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use crate::serve::problem;

const EVERY: u64 = 40; // how often a mutant misbehaves
const RESERVE: u64 = 1 << 20; // with less room nothing is taken

pub(crate) struct Queue {
    data: PathBuf,
    mutant: String,
    log: File,
    /// It is read by others too, and they append to it.
    is_shared: bool,
    /// Bytes of the log that are in memory.
    read_to: u64,
    /// Lines that `ack-before-write` has not written yet.
    late: Vec<u8>,
    count: u64,
    pub(crate) records: BTreeMap<String, Vec<Value>>,
    keys: HashMap<(String, String), (Value, Value)>,
    retired: HashSet<String>,
    /// The row that `csv-reorder` holds back.
    held: Option<(String, String)>,
    /// How it bears a full disk, if not well: it `dies`, `lies`
    /// (takes some, and does not write them), `sticks`, is `mute`. It may let go of records:
    /// `forgets`, `oversteps` (one more than it says), `drops` (one that is in no sheet).
    full: String,
    was_full: bool,
    /// Records that it has let go of, by form.
    gone: BTreeMap<String, usize>,
    /// Rows that wait until there can be sheets.
    waiting: Vec<(String, String)>,
    refused: u64,
}

impl Queue {
    pub(crate) fn open(data: PathBuf, shared: Option<&Path>, mutant: String, full: String) -> Self {
        std::fs::create_dir_all(&data).unwrap();
        let (path, token) = match shared {
            Some(shared) => (shared.join("log"), shared.with_file_name("admin.token")),
            None => (data.join("log"), data.join("admin.token")),
        };
        std::fs::write(token, "secret\n").unwrap();
        let mut open = OpenOptions::new();
        let log = open.create(true).append(true).read(true).open(path);
        let mut queue = Self {
            data,
            mutant,
            log: log.unwrap(),
            is_shared: shared.is_some(),
            read_to: 0,
            late: Vec::new(),
            count: 0,
            records: BTreeMap::new(),
            keys: HashMap::new(),
            retired: HashSet::new(),
            held: None,
            full,
            was_full: false,
            gone: BTreeMap::new(),
            waiting: Vec::new(),
            refused: 1,
        };
        if !queue.is("csv-skip-cut") && queue.has_sheets() {
            for sheet in std::fs::read_dir(queue.data.join("sheets")).unwrap() {
                std::fs::remove_file(sheet.unwrap().path()).unwrap();
            }
        }
        if queue.is_shared {
            queue.locked(|_| ());
        } else {
            let has_rows = queue.is("csv-skip-cut");
            queue.read(!has_rows);
        }
        queue
    }

    /// With all that others have appended in memory, and none of them appending.
    pub(crate) fn locked<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        if !self.is_shared {
            return work(self);
        }
        flock(&self.log, FlockOperation::LockExclusive).unwrap();
        self.read(true);
        let done = work(self);
        flock(&self.log, FlockOperation::Unlock).unwrap();
        done
    }

    /// What is new in the log, into memory, and into the sheets if it is not there.
    fn read(&mut self, has_no_rows: bool) {
        let len = self.log.metadata().unwrap().len();
        let mut bytes = vec![0; usize::try_from(len - self.read_to).unwrap()];
        self.log.read_exact_at(&mut bytes, self.read_to).unwrap();
        // A kill may have torn the last line: what comes next must not be appended to it.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n');
        bytes.truncate(whole.map_or(0, |end| end + 1));
        self.read_to += u64::try_from(bytes.len()).unwrap();
        self.log.set_len(self.read_to).unwrap();
        for line in bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let line = serde_json::from_slice::<Value>(line).unwrap();
            let text = |name| line[name].as_str().unwrap().to_owned();
            if line["retired"] == true {
                self.retired.insert(text("form"));
                continue;
            }
            let (key, body) = (line["key"].as_str(), &line["body"]);
            self.take(&text("form"), key, body, &line["record"]);
            if has_no_rows {
                self.row(&text("form"), &line["record"]);
            }
        }
    }

    pub(crate) fn applied(&self) -> u64 {
        self.read_to
    }

    /// Answers status and body.
    pub(crate) fn submit(
        &mut self,
        form: &str,
        key: Option<&str>,
        mut body: Value,
    ) -> (u16, Value) {
        let own = body
            .as_object_mut()
            .and_then(|body| body.remove("_idempotency_key"));
        let own = own
            .as_ref()
            .and_then(Value::as_str)
            .or(key)
            .map(str::to_owned);
        let key = own.filter(|_| !self.is("skip-idempotency"));
        let place = key.clone().map(|key| (form.to_owned(), key));
        if let Some((first, receipt)) = place.as_ref().and_then(|place| self.keys.get(place)) {
            if *first == body {
                let mut receipt = receipt.clone();
                receipt["duplicate"] = true.into();
                return (200, receipt);
            }
            if self.is("show-refused") {
                self.accept(form, None, &body);
            }
            return (422, problem(422));
        }
        if self.retired.contains(form) {
            return (409, problem(409));
        }
        if body.get("count").is_some_and(|count| !count.is_u64()) {
            return (422, problem(422));
        }
        if self.is_full() {
            match self.full.as_str() {
                "dies" => std::process::abort(),
                "lies" if self.refused.is_multiple_of(EVERY) => self.refused += 1,
                _ => {
                    self.refused += 1;
                    self.forget();
                    let mut problem = problem(507);
                    if !self.has_sheets() && !self.is_mute() {
                        problem["detail"] = "jepsen-sheet has not delivered it".into();
                    }
                    return (507, problem);
                }
            }
        }
        (201, self.accept(form, key.as_deref(), &body))
    }

    pub(crate) fn is_full(&mut self) -> bool {
        let disk = rustix::fs::statvfs(&self.data).unwrap();
        let is_full = disk.f_bavail * disk.f_frsize < RESERVE;
        self.was_full |= is_full;
        is_full || (self.was_full && self.full == "sticks")
    }

    /// Half of what there is, where it lets go at all.
    fn forget(&mut self) {
        if ["forgets", "oversteps", "drops"].contains(&self.full.as_str()) {
            let half = |(form, all): (&String, &Vec<Value>)| (form.clone(), all.len() / 2);
            self.gone = self.records.iter().map(half).collect();
        }
    }

    /// How many of the first are gone.
    pub(crate) fn gone(&self, form: &str) -> usize {
        self.gone.get(form).copied().unwrap_or(0)
    }

    /// One that it does not show, and does not say that it is gone.
    pub(crate) fn is_overstepped(&self, form: &str, place: usize) -> bool {
        self.full == "oversteps" && self.gone(form) > 0 && place == self.gone(form) + 2
    }

    /// A file may lie in their way.
    fn has_sheets(&self) -> bool {
        std::fs::create_dir_all(self.data.join("sheets")).is_ok()
    }

    /// What could not be written before.
    pub(crate) fn catch_up(&mut self) {
        if !self.waiting.is_empty() && self.has_sheets() {
            for (form, row) in std::mem::take(&mut self.waiting) {
                self.write(&form, row);
            }
        }
    }

    pub(crate) fn log_len(&self) -> u64 {
        self.log.metadata().unwrap().len()
    }

    pub(crate) fn is_mute(&self) -> bool {
        self.full == "mute"
    }

    pub(crate) fn retire(&mut self, form: &str) {
        self.retired.insert(form.to_owned());
        self.append(&json!({"retired": true, "form": form}));
    }

    fn accept(&mut self, form: &str, key: Option<&str>, body: &Value) -> Value {
        self.count += 1;
        let is_turn = self.count.is_multiple_of(EVERY);
        let last = self
            .records
            .get(form)
            .and_then(|records| records.last()?["seq"].as_u64());
        let seq = last.unwrap_or(0) + if is_turn && self.is("seq-hole") { 2 } else { 1 };
        let mut data = body.clone();
        if is_turn && self.is("alter-body") {
            data["text"] = "altered".into();
        }
        let index = self.count;
        let (minute, second, milli) = (index / 60_000 % 60, index / 1000 % 60, index % 1000);
        let record = json!({
            "seq": seq,
            "id": format!("00000000-0000-7000-8000-{index:012x}"),
            "received_at": format!("2026-01-01T00:{minute:02}:{second:02}.{milli:03}Z"),
            "form_version": 1,
            "index": index,
            "data": data,
        });
        if is_turn && self.is("drop-slot") {
            if let Some(key) = key {
                let kept = (body.clone(), receipt(form, &record));
                self.keys.insert((form.to_owned(), key.to_owned()), kept);
            }
        } else {
            self.append(&json!({"form": form, "key": key, "body": body, "record": record}));
            self.take(form, key, body, &record);
            self.count -= 1; // `take` counts too
            self.row(form, &record);
        }
        receipt(form, &record)
    }

    /// Into memory: what the log says.
    fn take(&mut self, form: &str, key: Option<&str>, body: &Value, record: &Value) {
        self.count = self.count.max(record["index"].as_u64().unwrap()) + 1;
        self.records
            .entry(form.to_owned())
            .or_default()
            .push(record.clone());
        if let Some(key) = key {
            let kept = (body.clone(), receipt(form, record));
            self.keys.insert((form.to_owned(), key.to_owned()), kept);
        }
    }

    fn append(&mut self, line: &Value) {
        let line = format!("{line}\n");
        if self.full == "lies" && self.is_full() {
            return;
        }
        if self.is("ack-before-write") {
            self.late.extend_from_slice(line.as_bytes());
            if self.late.len() > 20_000 {
                let late = std::mem::take(&mut self.late);
                self.read_to += u64::try_from(late.len()).unwrap();
                self.log.write_all(&late).unwrap();
            }
            return;
        }
        self.read_to += u64::try_from(line.len()).unwrap();
        self.log.write_all(line.as_bytes()).unwrap();
        if !self.is("skip-sync") {
            self.log.sync_data().unwrap();
        }
    }

    fn row(&mut self, form: &str, record: &Value) {
        if form == "jepsen-quiet" {
            return;
        }
        let row = row(form, record);
        if self.full == "drops" && record["seq"] == 2 {
            return;
        }
        let is_turn = record["seq"].as_u64().unwrap().is_multiple_of(EVERY);
        let mut rows = match () {
            () if is_turn && self.is("csv-drop-row") => return,
            () if is_turn && self.is("csv-double") => row.repeat(2),
            () if is_turn && self.is("csv-reorder") => {
                self.held = Some((form.to_owned(), row));
                return;
            }
            () => row,
        };
        if self.held.as_ref().is_some_and(|(held, _)| *held == form) {
            rows += &self.held.take().unwrap().1;
        }
        if self.has_sheets() {
            self.catch_up();
            self.write(form, rows);
        } else {
            self.waiting.push((form.to_owned(), rows));
        }
    }

    fn write(&self, form: &str, mut rows: String) {
        let path = self.data.join("sheets").join(format!("{form}.csv"));
        if !path.exists() {
            rows = header(form) + &rows;
        }
        let mut sheet = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        sheet.write_all(rows.as_bytes()).unwrap();
    }

    fn is(&self, mutant: &str) -> bool {
        self.mutant == mutant
    }
}

fn receipt(form: &str, record: &Value) -> Value {
    json!({
        "id": record["id"], "form": form, "seq": record["seq"],
        "received_at": record["received_at"], "index": record["index"],
        "durability": "fsync", "replicas": "1/1", "duplicate": false,
    })
}

fn columns(form: &str) -> &'static [&'static str] {
    match form {
        "student-data" => &[
            "name",
            "roll",
            "university",
            "cgpa",
            "gender",
            "age",
            "email",
            "mobile",
        ],
        _ => &["marker", "text", "count", "flag", "choices"],
    }
}

pub(crate) fn header(form: &str) -> String {
    format!("_seq,_id,_received_at,{}\n", columns(form).join(","))
}

pub(crate) fn row(form: &str, record: &Value) -> String {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    let mut cells = ["seq", "id", "received_at"]
        .map(|name| text(&record[name]))
        .to_vec();
    for name in columns(form) {
        let text = text(&record["data"][name]);
        let guard = if text.starts_with(['=', '+', '-', '@']) {
            "'"
        } else {
            ""
        };
        cells.push(format!("\"{guard}{}\"", text.replace('"', "\"\"")));
    }
    cells.join(",") + "\n"
}
