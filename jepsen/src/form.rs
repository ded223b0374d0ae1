//! The forms that the workloads post to, and the documents that they post.
//!
//! Holds: every document carries a marker that no other carries, and is made from the marker
//! alone; so a record that anyone shows can be led back to the one submission that it came from,
//! and what it must look like can be made again.
//! Why clean text: a sanitised value must come back as it was typed, else "altered" would
//! mean nothing. So there is no white space at the ends, no CRLF and nothing to compose.

use serde_json::{Value, json};

use crate::checker::digest::Digests;
use crate::dice::Dice;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Form {
    /// The shipped one.
    StudentData,
    /// Free text, numbers, lists: `definitions/forms/jepsen.toml`.
    Free,
    /// Retired under way.
    Retire,
    /// Bad input.
    Door,
    /// No task takes it, so that nothing but a submission makes the disk work.
    Quiet,
}

impl Form {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::StudentData => "student-data",
            Self::Free => "jepsen",
            Self::Retire => "jepsen-retire",
            Self::Door => "jepsen-door",
            Self::Quiet => "jepsen-quiet",
        }
    }

    pub(crate) fn has_sheet(self) -> bool {
        self != Self::Quiet
    }

    /// The field that carries the marker.
    pub(crate) fn marker_field(self) -> &'static str {
        match self {
            Self::StudentData => "email",
            Self::Free | Self::Retire | Self::Door | Self::Quiet => "marker",
        }
    }
}

/// Makes documents; `nonce` tells this run's from all others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bodies {
    pub(crate) nonce: u32,
}

/// One document to post, once or more often.
#[derive(Clone, Debug)]
pub(crate) struct Submission {
    pub(crate) marker: u64,
    pub(crate) form: Form,
    pub(crate) key: Option<String>,
    pub(crate) data: Value,
    pub(crate) digests: Digests,
}

const WORDS: [&str; 16] = [
    "plain",
    "a,comma",
    "a \"quote\"",
    "line\nbreak",
    "tab\there",
    "=1+1",
    "+49 30",
    "-dash",
    "@at",
    "naïve",
    "日本語",
    "Ωmega",
    "😀",
    "'single'",
    "semi;colon",
    "<b>bold</b>",
];

impl Bodies {
    pub(crate) fn submission(self, form: Form, marker: u64, key: Option<String>) -> Submission {
        let data = self.data(form, marker);
        let digests = Digests::of(&data);
        Submission {
            marker,
            form,
            key,
            data,
            digests,
        }
    }

    pub(crate) fn marker_text(self, form: Form, marker: u64) -> String {
        let nonce = self.nonce;
        match form {
            Form::StudentData => format!("m{marker}x{nonce:08x}@example.com"),
            Form::Free | Form::Retire | Form::Door | Form::Quiet => {
                format!("m{marker}x{nonce:08x}")
            }
        }
    }

    /// The marker in a field's text; `None` where this run never made such a one.
    pub(crate) fn marker_of(self, form: Form, text: &str) -> Option<u64> {
        let (number, _) = text.strip_prefix('m')?.split_once('x')?;
        let marker = number.parse().ok()?;
        (self.marker_text(form, marker) == text).then_some(marker)
    }

    fn data(self, form: Form, marker: u64) -> Value {
        let mut dice = Dice::new(u64::from(self.nonce)).fork(marker);
        let text = self.marker_text(form, marker);
        match form {
            Form::StudentData => json!({
                "name": "Saurabh raj", "roll": "99999", "university": "BCE", "cgpa": "8.04",
                "gender": "F", "age": "10.11", "email": text, "mobile": "7004465984",
            }),
            Form::Free | Form::Retire | Form::Quiet => {
                let count = dice.below(1_000_000);
                let mut data = json!({ "marker": text, "count": count });
                if let Some(data) = data.as_object_mut() {
                    if dice.chance(80) {
                        data.insert("text".to_owned(), words(&mut dice).into());
                    }
                    if dice.chance(30) {
                        data.insert("flag".to_owned(), dice.chance(50).into());
                    }
                    if dice.chance(20) {
                        data.insert("choices".to_owned(), json!(["red", "a \"b\", c"]));
                    }
                }
                data
            }
            Form::Door => json!({ "marker": text, "email": "someone@example.com" }),
        }
    }
}

/// Mostly a few words, now and then some thousand characters.
fn words(dice: &mut Dice) -> String {
    let count = if dice.chance(3) {
        200
    } else {
        1 + dice.below(8)
    };
    let words = (0..count).filter_map(|_| {
        let at = usize::try_from(dice.below(16)).ok()?;
        WORDS.get(at).copied()
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{Bodies, Form};

    #[test]
    fn a_marker_is_found_again_and_a_foreign_one_is_not() {
        let (ours, theirs) = (Bodies { nonce: 5 }, Bodies { nonce: 6 });
        for form in [Form::StudentData, Form::Free, Form::Door] {
            let text = ours.marker_text(form, 42);
            assert_eq!(ours.marker_of(form, &text), Some(42));
            assert_eq!(theirs.marker_of(form, &text), None);
        }
        assert_eq!(ours.marker_of(Form::Free, "m42"), None);
    }

    #[test]
    fn the_same_marker_gives_the_same_document() {
        let bodies = Bodies { nonce: 5 };
        for marker in 0..200 {
            let first = bodies.submission(Form::Free, marker, None);
            assert_eq!(first.data, bodies.submission(Form::Free, marker, None).data);
        }
    }
}
