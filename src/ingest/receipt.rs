//! The receipt: what a client may rely on from now on.
//!
//! Holds: its wire shape is what `Serialize` writes here, for pages, programs and lines alike.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use storage::{Placed, Policy, Terms};

/// Proof that a submission was accepted (or withheld: no seq).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// UUID version 7, as text.
    pub id: String,
    /// The form's name.
    pub form: String,
    /// Its place in the form's order; `None`: withheld.
    pub seq: Option<u64>,
    /// Accept time, milliseconds since 1970 UTC.
    #[serde(serialize_with = "instant")]
    pub received_at: u64,
    /// The log entry that carries it.
    pub index: u64,
    /// `fsync`, `interval:50ms` or `never`.
    pub durability: Cow<'static, str>,
    /// Who has it: quorum of voters, such as `2/3`.
    pub replicas: String,
    /// It was there before: this repeats the first receipt.
    pub duplicate: bool,
}

impl Receipt {
    /// The receipt of a submission at its place.
    pub fn new(form: &str, placed: &Placed, is_duplicate: bool) -> Self {
        let Terms { policy, voters } = placed.terms;
        Self {
            id: uuid::Uuid::from_bytes(placed.id).to_string(),
            form: form.to_owned(),
            seq: placed.seq.map(|seq| seq.0),
            received_at: placed.received_ms,
            index: placed.index.0,
            durability: durability_text(policy),
            replicas: format!("{}/{}", voters.quorum, voters.count),
            duplicate: is_duplicate,
        }
    }
}

/// A policy as receipts and the banner name it.
pub fn durability_text(policy: Policy) -> Cow<'static, str> {
    match policy {
        Policy::Always => Cow::Borrowed("fsync"),
        Policy::IntervalMs(ms) => Cow::Owned(format!("interval:{ms}ms")),
        Policy::Never => Cow::Borrowed("never"),
    }
}

/// Milliseconds since 1970 as RFC 3339 in UTC, always with three digits of a second.
pub fn instant_text(at_ms: u64) -> String {
    let at = i64::try_from(at_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    // Beyond the year 9999 there is no such text; the last instant that has one stands for it.
    format!("{:.3}", at.unwrap_or(jiff::Timestamp::MAX))
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn instant<S: Serializer>(at_ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&instant_text(*at_ms))
}

#[cfg(test)]
mod tests {
    use storage::{Index, Seq, Voters};

    use super::*;

    #[test]
    fn the_wire_shape_is_fixed() {
        let placed = Placed {
            id: [7; 16],
            seq: Some(Seq(17)),
            index: Index(4711),
            received_ms: 1_700_000_000_005,
            terms: Terms {
                policy: Policy::Always,
                voters: Voters {
                    quorum: 2,
                    count: 3,
                },
            },
        };
        let text = serde_json::to_string(&Receipt::new("demo", &placed, false)).unwrap();
        let expected = concat!(
            r#"{"id":"07070707-0707-0707-0707-070707070707","form":"demo","seq":17,"#,
            r#""received_at":"2023-11-14T22:13:20.005Z","index":4711,"#,
            r#""durability":"fsync","replicas":"2/3","duplicate":false}"#,
        );
        assert_eq!(text, expected);
        let withheld = Placed {
            seq: None,
            ..placed
        };
        let text = serde_json::to_string(&Receipt::new("demo", &withheld, true)).unwrap();
        assert!(text.contains("\"seq\":null") && text.contains("\"duplicate\":true"));
    }

    #[test]
    fn an_instant_has_milliseconds_and_a_clock_gone_mad_has_a_text_too() {
        assert_eq!(instant_text(0), "1970-01-01T00:00:00.000Z");
        assert!(instant_text(u64::MAX).starts_with("9999-"));
        assert_eq!(durability_text(Policy::IntervalMs(50)), "interval:50ms");
    }
}
