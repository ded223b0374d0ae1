//! Faults that a test asks for: which calls are spoilt, and how.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::quota::Class;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Not applied; `status` is answered.
    Answer,
    /// Applied, and then `status` is answered.
    ApplyThenAnswer,
    /// Not applied; the connection closes.
    Drop,
    /// Applied; the connection closes without an answer.
    ApplyThenDrop,
    /// Applied; the answer breaks off in its middle.
    Truncate,
    /// Applied after `delay_ms`, whether or not the client is still there.
    Slow,
    /// The connection closes at once; applied after `delay_ms`.
    Zombie,
    /// Not applied and never answered.
    Hang,
    /// The batch is under way for `delay_ms`, in the way of others.
    Work,
    /// People do `before` when the call has arrived, and `after` when it is done and not answered.
    Edit,
    /// 429, whatever the quota says.
    Throttle,
    /// The caller's tokens end now: 401.
    Expire,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum On {
    Write,
    Read,
    Token,
    /// Reads and writes.
    Any,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    #[serde(default = "on_write")]
    pub(crate) on: On,
    /// Only on this spreadsheet.
    #[serde(default)]
    pub(crate) spreadsheet: Option<String>,
    /// So many calls, then no more.
    #[serde(default)]
    pub(crate) next: Option<u64>,
    /// Each call with this chance.
    #[serde(default)]
    pub(crate) percent: Option<u64>,
    #[serde(default)]
    pub(crate) delay_ms: u64,
    #[serde(default = "status_503")]
    pub(crate) status: u16,
    /// The answer is a page, as Google's front end gives for 408 and now and then for 5xx.
    #[serde(default)]
    pub(crate) html: bool,
    /// Instead of Google's usual words for that status.
    #[serde(default)]
    pub(crate) message: Option<String>,
    /// Deeds of people in that spreadsheet; what is not possible at that moment is not done.
    #[serde(default)]
    pub(crate) before: Vec<Value>,
    #[serde(default)]
    pub(crate) after: Vec<Value>,
    /// `details[].reason` of the error.
    #[serde(default)]
    pub(crate) reason: Option<String>,
}

fn on_write() -> On {
    On::Write
}

fn status_503() -> u16 {
    503
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    next_id: u64,
    rules: Vec<(u64, Fault, u64)>,
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) -> u64 {
        self.next_id += 1;
        self.rules.push((self.next_id, fault, 0));
        self.next_id
    }

    /// Removes one, or all; answers how many there were.
    pub(crate) fn remove(&mut self, id: Option<u64>) -> usize {
        let before = self.rules.len();
        self.rules
            .retain(|(own, ..)| id.is_some_and(|id| id != *own));
        before - self.rules.len()
    }

    /// The first fault that falls on this call. `class`: `None` for the token endpoint.
    pub(crate) fn pick(
        &mut self,
        class: Option<Class>,
        spreadsheet: &str,
        dice: &mut Dice,
    ) -> Option<Fault> {
        for (_, fault, fired) in &mut self.rules {
            let is_meant = match fault.on {
                On::Write => class == Some(Class::Write),
                On::Read => class == Some(Class::Read),
                On::Any => class.is_some(),
                On::Token => class.is_none(),
            };
            let is_here = fault
                .spreadsheet
                .as_ref()
                .is_none_or(|own| own == spreadsheet);
            let is_left = fault.next.is_none_or(|next| *fired < next);
            if is_meant
                && is_here
                && is_left
                && fault.percent.is_none_or(|percent| dice.chance(percent))
            {
                *fired += 1;
                return Some(fault.clone());
            }
        }
        None
    }

    pub(crate) fn to_json(&self) -> Value {
        let rules = self.rules.iter();
        let rules =
            rules.map(|(id, fault, fired)| json!({"id": id, "fault": fault, "fired": fired}));
        rules.collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Faults, Kind};
    use crate::dice::Dice;
    use crate::quota::Class;

    fn faults(fault: serde_json::Value) -> Faults {
        let mut faults = Faults::default();
        faults.add(serde_json::from_value(fault).unwrap());
        faults
    }

    #[test]
    fn a_fault_falls_on_the_next_calls_that_it_is_meant_for() {
        let mut dice = Dice::new(1);
        let mut faults = faults(json!({"kind": "drop", "spreadsheet": "a", "next": 2}));
        let mut pick = |class, book| faults.pick(class, book, &mut dice).map(|fault| fault.kind);
        assert_eq!(pick(Some(Class::Read), "a"), None);
        assert_eq!(pick(Some(Class::Write), "b"), None);
        assert_eq!(pick(None, "a"), None);
        for expected in [Some(Kind::Drop), Some(Kind::Drop), None] {
            assert_eq!(pick(Some(Class::Write), "a"), expected);
        }
    }

    #[test]
    fn a_chance_falls_as_often_as_it_says_and_as_before_under_the_same_seed() {
        let fired = |seed| {
            let mut dice = Dice::new(seed);
            let mut faults = faults(json!({"kind": "apply_then_drop", "percent": 30, "on": "any"}));
            let picked =
                (0..1000).map(|_| faults.pick(Some(Class::Write), "a", &mut dice).is_some());
            picked.collect::<Vec<_>>()
        };
        let count = fired(1).iter().filter(|fired| **fired).count();
        assert!((250..350).contains(&count), "{count}");
        assert_eq!(fired(1), fired(1));
        assert_ne!(fired(1), fired(2));
    }

    #[test]
    fn one_or_all_are_taken_back() {
        let mut faults = faults(json!({"kind": "hang"}));
        let second = faults.add(serde_json::from_value(json!({"kind": "drop"})).unwrap());
        assert_eq!(faults.remove(Some(second)), 1);
        assert_eq!(faults.remove(None), 1);
        assert_eq!(faults.remove(None), 0);
    }
}
