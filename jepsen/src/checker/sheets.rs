//! Sheet == what was written: every row that went in and that nobody took out stands there, once, with
//! its cells in its columns, whatever people did around it.
//!
//! Holds: what was written is judged against the history by the other checkers, on the same rows as a
//! `Sight`, in the order in which they went in; here it is judged against what stands there in the end.
//! People sort, so the order is judged only where `is_ordered`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::checker::findings::{Findings, Kind};

/// One row: the cells that are not blank, by the names of their columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Line {
    pub(crate) cells: BTreeMap<String, Value>,
}

impl Line {
    pub(crate) fn seq(&self) -> Option<u64> {
        self.cells.get("_seq").and_then(Value::as_u64)
    }
}

/// A tab, and how it came to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sheet {
    /// In the order in which they went in.
    pub(crate) written: Vec<Line>,
    /// Seqs of those that a person took out.
    pub(crate) removed: BTreeSet<u64>,
    /// From top to bottom.
    pub(crate) standing: Vec<Line>,
    /// When each seq first went in, in ms of the Google Sheets' clock.
    pub(crate) arrived_ms: BTreeMap<u64, u64>,
}

/// Answers how many stand there as they were written.
pub(crate) fn check(
    (name, sheet): (&str, &Sheet),
    is_ordered: bool,
    findings: &mut Findings,
) -> u64 {
    let mut standing = BTreeMap::<u64, Vec<&Line>>::new();
    let mut last = 0;
    for line in &sheet.standing {
        let Some(seq) = line.seq() else {
            findings.add(Kind::Altered, || {
                format!("{name}: a row without _seq: {:?}", line.cells)
            });
            continue;
        };
        standing.entry(seq).or_default().push(line);
        if is_ordered && seq < last {
            findings.add(Kind::Reordered, || {
                format!("{name}: seq {seq} stands below seq {last}")
            });
        }
        last = last.max(seq);
    }
    let mut good = 0;
    for line in &sheet.written {
        // One that went in without a seq is noted by its reader.
        let Some(seq) = line.seq() else {
            continue;
        };
        let found = standing.remove(&seq).unwrap_or_default();
        match found.as_slice() {
            [] if sheet.removed.contains(&seq) => good += 1,
            [] => findings.add(Kind::Lost, || {
                format!("{name}: seq {seq} was written and does not stand there")
            }),
            [one] if *one == line => good += 1,
            [one] => findings.add(Kind::Altered, || {
                let (cells, now) = (&line.cells, &one.cells);
                format!("{name}: seq {seq} was written as {cells:?} and stands there as {now:?}")
            }),
            [_, ..] => findings.add(Kind::Doubled, || {
                format!("{name}: seq {seq} stands there {} times", found.len())
            }),
        }
    }
    for seq in standing.keys() {
        findings.add(Kind::Phantom, || {
            format!("{name}: seq {seq} stands there and was never written")
        });
    }
    good
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Line, Sheet, check};
    use crate::checker::findings::{Findings, Kind};

    fn line(seq: u64) -> Line {
        let cells = [("_seq", json!(seq)), ("a", json!(format!("text {seq}")))];
        let cells = cells.map(|(name, value)| (name.to_owned(), value));
        Line {
            cells: cells.into(),
        }
    }

    fn good() -> Sheet {
        let lines = (1..=5).map(line).collect::<Vec<_>>();
        Sheet {
            written: lines.clone(),
            standing: lines,
            ..Sheet::default()
        }
    }

    fn kinds(sheet: &Sheet, is_ordered: bool) -> Vec<(Kind, u64)> {
        let mut findings = Findings::default();
        check(("t", sheet), is_ordered, &mut findings);
        findings.kinds().collect()
    }

    #[test]
    fn a_good_sheet_pleases_also_sorted_or_with_rows_that_a_person_took_out() {
        let mut sheet = good();
        assert_eq!(check(("t", &sheet), true, &mut Findings::default()), 5);
        sheet.standing.reverse();
        assert_eq!(kinds(&sheet, false), []);
        assert_eq!(kinds(&sheet, true), [(Kind::Reordered, 4)]);
        sheet.standing.retain(|line| line.seq() != Some(3));
        assert_eq!(kinds(&sheet, false), [(Kind::Lost, 1)]);
        sheet.removed.insert(3);
        assert_eq!(kinds(&sheet, false), []);
    }

    #[test]
    fn each_way_to_spoil_it_has_its_name() {
        let mut sheet = good();
        sheet.standing.push(line(2));
        assert_eq!(kinds(&sheet, false), [(Kind::Doubled, 1)]);
        let mut sheet = good();
        sheet.standing.push(line(9));
        assert_eq!(kinds(&sheet, false), [(Kind::Phantom, 1)]);
        let mut sheet = good();
        let cells = &mut sheet.standing[1].cells;
        let value = cells.remove("a").unwrap();
        cells.insert("b".to_owned(), value);
        assert_eq!(kinds(&sheet, false), [(Kind::Altered, 1)]);
        let mut sheet = good();
        sheet.standing[1].cells.remove("_seq");
        assert_eq!(kinds(&sheet, false), [(Kind::Lost, 1), (Kind::Altered, 1)]);
        // Written twice: the second finds nothing that is its own.
        let mut sheet = good();
        sheet.written.push(line(5));
        assert_eq!(kinds(&sheet, false), [(Kind::Lost, 1)]);
    }
}
