//! What a crowd's spreadsheets and the log of calls show, beside what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;

use crate::checker::findings::{Findings, Kind};
use crate::checker::line::{Call, Wait};
use crate::checker::sheets::{self, Sheet};
use crate::process::sheets::Google;
use crate::workload::crowd::forms::{Asked, name};
use crate::workload::crowd::{CALLS, FIRST_CALLS, Plan};

/// All that the log of calls can hold.
const CALLS_MAX: u64 = 1_000_000;
/// How methods of the API are called; asking for a token is none.
const API: &str = "sheets.";
const WRITES: &str = "batchUpdate";

#[derive(Debug, Deserialize)]
struct Logged {
    at_ms: u64,
    method: String,
    status: u16,
}

/// Each kind has a quota of its own.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) writes: Vec<Call>,
    pub(super) reads: Vec<Call>,
}

/// All calls that the Google Sheets of the tests have had.
pub(super) async fn calls(google: &mut Google) -> anyhow::Result<Calls> {
    let log = google.get(&format!("/calls?limit={CALLS_MAX}")).await?;
    let log: Vec<Logged> = serde_json::from_value(log).context("no log of calls")?;
    let mut calls = Calls::default();
    for logged in log.iter().filter(|logged| logged.method.starts_with(API)) {
        let kind = if logged.method.ends_with(WRITES) {
            &mut calls.writes
        } else {
            &mut calls.reads
        };
        kind.push(Call {
            at_ms: logged.at_ms,
            status: logged.status,
        });
    }
    Ok(calls)
}

/// What was acknowledged, by form and seq, and how long each row waited.
pub(super) struct Forms<'a> {
    asked: BTreeMap<String, BTreeMap<u64, &'a Asked>>,
    plan: &'a Plan,
    pub(super) waits: Vec<Wait>,
}

impl<'a> Forms<'a> {
    pub(super) fn of(all: &'a [Asked], plan: &'a Plan) -> Self {
        let mut asked = BTreeMap::<_, BTreeMap<_, _>>::new();
        for one in all {
            let own = asked.entry(name(one.form)).or_default();
            own.insert(one.seq, one);
        }
        Self {
            asked,
            plan,
            waits: Vec::new(),
        }
    }

    /// Each row that was acknowledged went in once, in the order of seqs, and stands there so. Answers how
    /// many.
    pub(super) fn judge(&mut self, (title, sheet): (&str, &Sheet), findings: &mut Findings) -> u64 {
        sheets::check((title, sheet), true, findings);
        let none = BTreeMap::new();
        let asked = self.asked.get(title).unwrap_or(&none);
        let (mut seen, mut last, mut good) = (BTreeSet::new(), 0, 0);
        for line in &sheet.written {
            let Some(seq) = line.seq() else {
                findings.add(Kind::Altered, || format!("{title}: a row without a seq"));
                continue;
            };
            if !seen.insert(seq) {
                findings.add(Kind::Doubled, || {
                    format!("{title}: seq {seq} went in again")
                });
                continue;
            }
            if seq < last {
                let words = || format!("{title}: seq {seq} went in behind seq {last}");
                findings.add(Kind::Reordered, words);
            }
            last = last.max(seq);
            let marker = line.cells.get("marker").and_then(Value::as_str);
            match asked.get(&seq) {
                None => {
                    let words = || format!("{title}: seq {seq} was never acknowledged");
                    findings.add(Kind::Phantom, words);
                }
                Some(asked) if marker != Some(asked.marker.as_str()) => {
                    let words = || format!("{title}: seq {seq} is {marker:?}");
                    findings.add(Kind::Altered, words);
                }
                Some(_) => good += 1,
            }
        }
        for (seq, one) in asked {
            match sheet.arrived_ms.get(seq) {
                Some(arrived_ms) => self.waits.push(waited(self.plan, one, *arrived_ms)),
                None => findings.add(Kind::Lost, || format!("{title}: seq {seq} is not there")),
            }
        }
        good
    }
}

fn waited(plan: &Plan, asked: &Asked, arrived_ms: u64) -> Wait {
    let calls = if asked.seq == 1 { FIRST_CALLS } else { CALLS };
    let fair_ms = u64::try_from(plan.fair(calls).as_millis());
    Wait {
        who: format!("seq {} of {}", asked.seq, name(asked.form)),
        waited_ms: arrived_ms.saturating_sub(asked.at_ms),
        fair_ms: fair_ms.unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Asked, Forms};
    use crate::checker::findings::{Findings, Kind};
    use crate::checker::sheets::{Line, Sheet};
    use crate::workload::crowd::Plan;
    use crate::workload::sheets::Fake;

    fn line(seq: u64, marker: &str) -> Line {
        let cells = [("_seq", json!(seq)), ("marker", json!(marker))];
        let cells = cells.map(|(name, value)| (name.to_owned(), value));
        Line {
            cells: cells.into(),
        }
    }

    fn sheet(written: Vec<Line>) -> Sheet {
        let arrived = written.iter().filter_map(Line::seq);
        Sheet {
            arrived_ms: arrived.map(|seq| (seq, 1_000 * seq)).collect(),
            standing: written.clone(),
            written,
            ..Sheet::default()
        }
    }

    /// Rows as they must be, findings, and what was waited with what is fair.
    type Judged = (u64, Vec<(Kind, u64)>, Vec<(u64, u64)>);

    fn judged(sheet: &Sheet) -> Judged {
        let plan = Plan {
            fake: Fake::beside(None),
            forms: 300,
            busy: 0,
            rounds: 1,
            minute_ms: 60,
        };
        let asked = (1..=3).map(|seq| Asked {
            form: 7,
            seq,
            marker: format!("m{seq}"),
            at_ms: 900,
        });
        let asked = asked.collect::<Vec<_>>();
        let mut forms = Forms::of(&asked, &plan);
        let mut findings = Findings::default();
        let good = forms.judge(("crowd-007", sheet), &mut findings);
        let waits = forms.waits.iter();
        let waits = waits.map(|wait| (wait.waited_ms, wait.fair_ms));
        (good, findings.kinds().collect(), waits.collect())
    }

    #[test]
    fn rows_in_order_please_and_each_tells_how_long_it_waited() {
        let good = sheet(vec![line(1, "m1"), line(2, "m2"), line(3, "m3")]);
        let waits = vec![(100, 600), (1_100, 300), (2_100, 300)];
        assert_eq!(judged(&good), (3, Vec::new(), waits));
    }

    #[test]
    fn each_way_to_spoil_them_has_its_name() {
        let kinds = |written| judged(&sheet(written)).1;
        let short = vec![line(1, "m1"), line(2, "m2")];
        assert_eq!(kinds(short), [(Kind::Lost, 1)]);
        let swapped = vec![line(1, "m1"), line(3, "m3"), line(2, "m2")];
        assert_eq!(kinds(swapped), [(Kind::Reordered, 2)]);
        let other = vec![line(1, "m1"), line(2, "m1"), line(3, "m3")];
        assert_eq!(kinds(other), [(Kind::Altered, 1)]);
        let more = vec![line(1, "m1"), line(2, "m2"), line(3, "m3"), line(4, "m4")];
        assert_eq!(kinds(more), [(Kind::Phantom, 1)]);
        let twice = vec![line(1, "m1"), line(1, "m1"), line(2, "m2"), line(3, "m3")];
        let found = kinds(twice);
        assert!(
            found.iter().any(|(kind, _)| *kind == Kind::Doubled),
            "{found:?}"
        );
    }
}
