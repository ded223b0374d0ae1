//! A form's rows beside its records.

use std::collections::{BTreeMap, BTreeSet};

use bridge::sheets::SheetReport;
use serde_json::{Value, json};

/// One record of the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logged<'a> {
    pub(super) seq: u64,
    pub(super) id: &'a str,
    /// The cursor has passed it.
    pub(super) is_due: bool,
}

/// Rows of one seq.
#[derive(Clone, Debug, Default)]
struct Rows {
    count: usize,
    /// Of these, sent again because a person asked for it.
    replays: usize,
    ids: BTreeSet<String>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    spreadsheets: Vec<String>,
    rows: BTreeMap<u64, Rows>,
    row_count: usize,
    other_rows: u64,
    parked: BTreeMap<u64, String>,
    compared: u64,
    /// Records before this are not compared.
    from: u64,
    begins_late: bool,
    pub(super) missing: Vec<u64>,
    doubles: Vec<u64>,
    /// Rows whose id is another record's.
    strange: Vec<u64>,
    /// Rows that stand above one with a lower seq: people sort.
    moved: usize,
}

impl Found {
    pub(super) fn new(report: &SheetReport, begins_late: bool) -> Self {
        let mut found = Self {
            spreadsheets: report.spreadsheets.clone(),
            row_count: report.rows.len(),
            other_rows: report.other_rows,
            begins_late,
            ..Self::default()
        };
        let mut highest = 0;
        for row in &report.rows {
            let rows = found.rows.entry(row.seq).or_default();
            rows.count += 1;
            rows.replays += usize::from(row.is_replay);
            rows.ids.extend(row.id.clone());
            found.moved += usize::from(row.seq < highest && !row.is_replay);
            highest = highest.max(row.seq);
        }
        for (seq, rows) in &found.rows {
            // The first sending and one by replay are no doubles; two of one kind are.
            if rows.count - rows.replays > 1 || (rows.replays > 1 && rows.count == rows.replays) {
                found.doubles.push(*seq);
            }
        }
        found
    }

    /// What was set aside needs no row.
    pub(super) fn is_parked(&mut self, seq: u64, id: String) {
        self.parked.insert(seq, id);
    }

    /// The first record that the log still holds.
    pub(super) fn log_begins(&mut self, seq: u64) {
        let first = self.rows.keys().next().copied();
        let starts_at = first.filter(|_| self.begins_late).unwrap_or(0);
        self.from = seq.max(starts_at);
    }

    pub(super) fn compare(&mut self, logged: &Logged<'_>) {
        if logged.seq < self.from {
            return;
        }
        match self.rows.get(&logged.seq) {
            Some(rows) => {
                self.compared += 1;
                if !rows.ids.is_empty() && !rows.ids.contains(logged.id) {
                    self.strange.push(logged.seq);
                }
            }
            None if logged.is_due && !self.parked.contains_key(&logged.seq) => {
                self.compared += 1;
                self.missing.push(logged.seq);
            }
            None => {}
        }
    }

    /// How much is wrong.
    pub(super) fn count(&self) -> usize {
        self.missing.len() + self.doubles.len() + self.strange.len()
    }

    pub(super) fn told(&self, (task, form): (&str, &str), findings_max: usize) -> Value {
        let some = |seqs: &[u64]| {
            seqs.iter()
                .take(findings_max)
                .copied()
                .collect::<Vec<u64>>()
        };
        json!({
            "task": task,
            "form": form,
            "spreadsheets": self.spreadsheets,
            "rows": self.row_count,
            "rows_without_seq": self.other_rows,
            "records_compared": self.compared,
            "compared_from": self.from,
            "parked": self.parked.len(),
            "missing": { "count": self.missing.len(), "first": some(&self.missing) },
            "doubles": { "count": self.doubles.len(), "first": some(&self.doubles) },
            "other_id": { "count": self.strange.len(), "first": some(&self.strange) },
            "moved_by_hand": self.moved,
        })
    }

    pub(super) fn in_words(&self, (task, form): (&str, &str), findings_max: usize) -> String {
        let mut lines = vec![format!(
            "task {task}, form {form}: {} rows in {} spreadsheet(s), {} records compared from #{}",
            self.row_count,
            self.spreadsheets.len(),
            self.compared,
            self.from
        )];
        let findings = [
            ("missing", &self.missing),
            ("stand twice", &self.doubles),
            ("carry another record's id", &self.strange),
        ];
        for (what, seqs) in findings {
            if !seqs.is_empty() {
                let named: Vec<String> = ranges(seqs).into_iter().take(findings_max).collect();
                lines.push(format!("  {} {what}: {}", seqs.len(), named.join(", ")));
            }
        }
        if self.moved > 0 {
            lines.push(format!("  {} rows were moved by hand", self.moved));
        }
        if !self.parked.is_empty() {
            lines.push(format!("  {} records are set aside", self.parked.len()));
        }
        if self.count() == 0 {
            lines.push("  every record that is due is there, once".to_owned());
        }
        lines.join("\n")
    }
}

/// Seqs as people write them: #3, #7-#9.
fn ranges(seqs: &[u64]) -> Vec<String> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for seq in seqs {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *seq => *last = *seq,
            _ => ranges.push((*seq, *seq)),
        }
    }
    let words = ranges.into_iter().map(|(first, last)| {
        if first == last {
            format!("#{first}")
        } else {
            format!("#{first}-#{last}")
        }
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use bridge::Position;
    use bridge::sheets::SheetRow;

    use super::*;

    fn report(rows: &[(u64, &str, bool)]) -> SheetReport {
        let rows = rows.iter().map(|&(seq, id, is_replay)| SheetRow {
            seq,
            id: (!id.is_empty()).then(|| id.to_owned()),
            is_replay,
        });
        SheetReport {
            spreadsheets: vec!["s".to_owned()],
            incarnation: 1,
            position: Position::default(),
            rows: rows.collect(),
            other_rows: 1,
        }
    }

    fn compared(report: &SheetReport, begins_late: bool) -> Found {
        let mut found = Found::new(report, begins_late);
        found.is_parked(5, "e".to_owned());
        found.log_begins(1);
        for (seq, id) in (1..).zip(["a", "b", "c", "d", "e", "f"]) {
            let is_due = seq < 6;
            found.compare(&Logged { seq, id, is_due });
        }
        found
    }

    #[test]
    fn rows_that_are_sorted_sent_again_or_a_person_s_own_are_no_findings() {
        let rows = [
            (4, "d", false),
            (1, "a", false),
            (2, "b", false),
            (3, "c", false),
        ];
        let found = compared(&report(&rows), false);
        assert_eq!((found.count(), found.moved), (0, 3));
        let again = [rows[1], rows[2], rows[3], rows[0], (2, "b", true)];
        assert_eq!(compared(&report(&again), false).count(), 0);
        assert!(
            found
                .in_words(("t", "f"), 20)
                .contains("every record that is due is there")
        );
    }

    #[test]
    fn what_is_missing_doubled_or_another_one_is_named() {
        let rows = [(1, "a", false), (1, "a", false), (3, "x", false)];
        let found = compared(&report(&rows), false);
        assert_eq!(found.missing, [2, 4]);
        assert_eq!((&*found.doubles, &*found.strange), (&[1][..], &[3][..]));
        assert_eq!(found.count(), 4);
        let words = found.in_words(("t", "f"), 20);
        assert!(words.contains("2 missing: #2, #4"), "{words}");
        assert_eq!(found.told(("t", "f"), 1)["missing"]["first"], json!([2]));
    }

    #[test]
    fn a_task_that_began_late_lacks_nothing_before_its_first_row() {
        let found = compared(&report(&[(3, "c", false), (4, "d", false)]), true);
        assert_eq!((found.count(), found.from), (0, 3));
        assert_eq!(ranges(&[1, 2, 3, 7]), ["#1-#3", "#7"]);
    }
}
