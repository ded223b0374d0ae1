//! The cursor that lies in the spreadsheet, as text.
//!
//! ```text
//! {"v":1,"cluster":"…","task":"…","form":"…","life":12,"at":"4711:3"}
//! {"v":1,…,"at":"4711:3","next":"<spreadsheet>"}        sealed: it goes on there
//! ```
//! Holds: a batch replaces the very text that was read, so two that start from the same cursor
//! cannot both be applied, however late one of them comes. A sealed cursor is never the start of
//! a batch again.

use serde::{Deserialize, Serialize};

use super::names::Names;
use crate::record::Position;

#[derive(Serialize, Deserialize)]
struct Wire {
    v: u32,
    cluster: String,
    task: String,
    form: String,
    life: u64,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Where a sheet stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The incarnation that wrote it.
    pub(super) life: u64,
    /// Everything up to here is in this sheet, or in those before it, or parked.
    pub(super) at: Position,
    /// The spreadsheet that goes on; `None`: this one does.
    pub(super) next: Option<String>,
}

impl Mark {
    pub(super) fn new(life: u64, at: Position) -> Self {
        Self {
            life,
            at,
            next: None,
        }
    }

    pub(super) fn to_text(&self, names: &Names) -> String {
        let wire = Wire {
            v: 1,
            cluster: names.cluster.clone(),
            task: names.task.clone(),
            form: names.form.clone(),
            life: self.life,
            at: self.at.to_string(),
            next: self.next.clone(),
        };
        // Strings and numbers have no way to fail; an empty text is no mark.
        serde_json::to_string(&wire).unwrap_or_default()
    }

    /// `None` if it is not this lane's, or of a release that wrote another shape.
    pub(super) fn of_text(names: &Names, text: &str) -> Option<Self> {
        let wire: Wire = serde_json::from_str(text).ok()?;
        let is_ours =
            wire.cluster == names.cluster && wire.task == names.task && wire.form == names.form;
        let (index, slot) = wire.at.split_once(':')?;
        let mark = Self {
            life: wire.life,
            at: Position {
                index: index.parse().ok()?,
                slot: slot.parse().ok()?,
            },
            next: wire.next,
        };
        (wire.v == 1 && is_ours).then_some(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Lane;

    #[test]
    fn a_mark_reads_as_it_was_written_and_only_for_its_lane() {
        let names = Names::new("c1", &Lane::new("t", "student-data"));
        let mut mark = Mark::new(
            12,
            Position {
                index: 4711,
                slot: 3,
            },
        );
        assert_eq!(
            mark.to_text(&names),
            r#"{"v":1,"cluster":"c1","task":"t","form":"student-data","life":12,"at":"4711:3"}"#
        );
        assert_eq!(
            Mark::of_text(&names, &mark.to_text(&names)),
            Some(mark.clone())
        );
        mark.next = Some("1AbC".to_owned());
        let text = mark.to_text(&names);
        assert_eq!(Mark::of_text(&names, &text), Some(mark));
        let other = Names::new("c2", &Lane::new("t", "student-data"));
        assert_eq!(Mark::of_text(&other, &text), None);
        for text in ["", "{}", "form7:100", &text.replace("\"v\":1", "\"v\":2")] {
            assert_eq!(Mark::of_text(&names, text), None, "{text}");
        }
    }
}
