//! The report of one run: what was promised, what was found, what was measured, and the verdict.
//!
//! Holds: a run that could not have shown a fault does not pass: it is vacuous, and fails.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::checker::findings::{Findings, Kind};

#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) command: &'static str,
    pub(crate) seed: u64,
    pub(crate) acked: u64,
    /// Acknowledged and in every reader's sight.
    pub(crate) found: u64,
    pub(crate) findings: Findings,
    /// Why the run proves nothing.
    pub(crate) vacuous: Vec<String>,
    /// What was measured, by name.
    pub(crate) facts: BTreeMap<&'static str, Value>,
    /// The run's directory, where it was kept.
    pub(crate) kept: Option<PathBuf>,
}

impl Report {
    pub(crate) fn new(command: &'static str, seed: u64) -> Self {
        Self {
            command,
            seed,
            acked: 0,
            found: 0,
            findings: Findings::default(),
            vacuous: Vec::new(),
            facts: BTreeMap::new(),
            kept: None,
        }
    }

    pub(crate) fn fact(&mut self, name: &'static str, value: impl Into<Value>) {
        self.facts.insert(name, value.into());
    }

    /// One more of that name, behind those that are there.
    pub(crate) fn also(&mut self, name: &'static str, words: &str) {
        let before = self.facts.get(name).and_then(Value::as_str);
        let all = before.map_or_else(|| words.to_owned(), |before| format!("{before}; {words}"));
        self.fact(name, all);
    }

    /// Takes in another one's, as a stage of this.
    pub(crate) fn absorb(&mut self, stage: Self) {
        self.acked += stage.acked;
        self.found += stage.found;
        self.findings.merge(stage.findings);
        self.vacuous.extend(stage.vacuous);
        self.facts.extend(stage.facts);
        self.kept = self.kept.take().or(stage.kept);
    }

    /// Demands at least `least` of something, else the run is vacuous.
    pub(crate) fn demand(&mut self, what: &str, got: u64, least: u64) {
        if got < least {
            self.vacuous
                .push(format!("{got} {what}, at least {least} are needed"));
        }
    }

    pub(crate) fn is_pass(&self) -> bool {
        self.findings.is_clean() && self.vacuous.is_empty() && self.found == self.acked
    }

    /// The line that scripts look for.
    pub(crate) fn summary(&self) -> String {
        let mut line = format!("acked {}  found {}", self.acked, self.found);
        for kind in Kind::SHOWN {
            write!(line, "  {} {}", kind.name(), self.findings.count(kind)).ok();
        }
        let others = self
            .findings
            .kinds()
            .filter(|(kind, _)| !Kind::SHOWN.contains(kind));
        for (kind, count) in others {
            write!(line, "  {} {count}", kind.name()).ok();
        }
        line
    }

    /// For people: facts, examples, the verdict, and the summary as the last line.
    pub(crate) fn words(&self) -> String {
        let mut words = String::new();
        for (name, value) in &self.facts {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            writeln!(words, "  {name}: {value}").ok();
        }
        for (kind, example) in self.findings.examples() {
            writeln!(words, "  {}: {example}", kind.name()).ok();
        }
        for why in &self.vacuous {
            writeln!(words, "  proves nothing: {why}").ok();
        }
        if let Some(kept) = &self.kept {
            writeln!(words, "  kept: {}", kept.display()).ok();
        }
        let verdict = if self.is_pass() { "pass" } else { "FAIL" };
        writeln!(words, "{} (seed {}): {verdict}", self.command, self.seed).ok();
        words + &self.summary()
    }

    pub(crate) fn json(&self) -> Value {
        let counts = Kind::SHOWN
            .into_iter()
            .map(|kind| (kind, self.findings.count(kind)));
        let counts = counts.chain(self.findings.kinds());
        let counts = counts
            .map(|(kind, count)| (kind.name(), count))
            .collect::<BTreeMap<_, _>>();
        let examples = self.findings.examples();
        let examples = examples.map(|(kind, words)| json!({"kind": kind.name(), "words": words}));
        json!({
            "command": self.command,
            "seed": self.seed,
            "pass": self.is_pass(),
            "acked": self.acked,
            "found": self.found,
            "findings": counts,
            "examples": examples.collect::<Vec<_>>(),
            "vacuous": self.vacuous,
            "facts": self.facts,
            "kept": self.kept,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Report;
    use crate::checker::findings::Kind;

    #[test]
    fn the_summary_counts_every_kind_and_a_clean_run_passes() {
        let mut report = Report::new("crash", 1);
        (report.acked, report.found) = (10, 10);
        assert!(report.is_pass());
        let line = "acked 10  found 10  lost 0  doubled 0  reordered 0  altered 0  phantom 0";
        assert_eq!(report.summary(), line);
        assert!(report.words().ends_with(line));
        report.findings.add(Kind::Hole, || "a hole".to_owned());
        assert_eq!(report.summary(), format!("{line}  holes 1"));
        assert!(!report.is_pass());
    }

    #[test]
    fn a_run_that_proves_nothing_or_finds_too_few_fails() {
        let mut vacuous = Report::new("crash", 1);
        vacuous.demand("receipts", 3, 1000);
        assert!(!vacuous.is_pass());
        let mut few = Report::new("crash", 1);
        (few.acked, few.found) = (10, 9);
        assert!(!few.is_pass());
    }
}
