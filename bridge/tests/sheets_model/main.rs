//! The Sheets sink over a model of Google and a network that does its worst: three leaders, zombies,
//! requests that are lost, doubled, late and out of order, nodes that are killed and stopped, people who
//! edit the sheet. Every record comes once, in order, each value under its own column.
//!
//! The same runs with one promise broken must fail: otherwise they would prove nothing.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "a test"
)]

mod calm;
mod commands;
mod dice;
mod edits;
mod fair;
mod google;
mod net;
mod node;
mod people;
mod runs;
mod states;

use self::google::POISON;

/// How many records a form has.
const RECORDS: u64 = 40;

/// The members of a record, by name; what is in them says where they belong.
fn fields_of(seq: u64) -> Vec<(String, String)> {
    let mut fields = vec![("a".to_owned(), format!("a-{seq}"))];
    if !seq.is_multiple_of(3) {
        fields.push(("b".to_owned(), format!("b-{seq}")));
    }
    if seq.is_multiple_of(7) {
        // Members that no definition names.
        fields.push((format!("x{}", seq % 2), format!("x-{seq}")));
    }
    if seq == 23 {
        fields.push(("a".to_owned(), POISON.to_owned()));
    }
    fields
}

fn body_of(seq: u64) -> String {
    let members = fields_of(seq).into_iter();
    let members = members.map(|(name, value)| format!("\"{name}\":\"{value}\""));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}
