//! Batches of rows: columns, cells, caps, and what is guarded.

use super::*;
use crate::mutants::Mutant;
use crate::record::{Lane, Position};
use crate::sinks::sheets::api::{Edit, Spot};
use crate::sinks::sheets::mark::Mark;
use crate::sinks::sheets::plan::{Role, Slip};
use crate::testing::record;

const CAPS: Caps = Caps {
    records: 1000,
    cells: 50_000,
    bytes: 1 << 20,
};

fn names() -> Names {
    Names::new("c", &Lane::new("t", "f"))
}

fn settings(more: &serde_json::Value) -> Settings {
    let mut all = serde_json::json!({ "spreadsheet": "s", "received_at": "text" });
    let members = all.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    Settings::read(&all).unwrap()
}

/// A tab as it is after its set-up.
fn fresh() -> Layout {
    let mark = Mark::new(1, Position::default());
    Plan::set_up(&names(), mark, ("f".to_owned(), None), false, 0).layout
}

fn batch(bodies: &[&str], fields: &[&str]) -> Batch {
    let records = bodies.iter().zip(1..);
    let records = records.map(|(body, seq)| record("f", seq, body)).collect();
    Batch::new(
        records,
        fields.iter().map(|&name| name.to_owned()).collect(),
    )
}

fn plan(layout: &Layout, more: &serde_json::Value, batch: &Batch) -> Plan {
    let (names, settings) = (names(), settings(more));
    let draft = Draft::new(&names, &settings, layout);
    draft.plan(batch, CAPS, (true, 0)).unwrap()
}

fn appended(plan: &Plan) -> Vec<Vec<Cell>> {
    let rows = plan.edits.iter().find_map(|edit| {
        let Edit::Append { rows, .. } = edit else {
            return None;
        };
        Some(rows.clone())
    });
    rows.unwrap()
}

fn headers(plan: &Plan) -> Vec<(u32, Vec<String>)> {
    let headers = plan.edits.iter().filter_map(|edit| {
        let Edit::Header { at, texts, .. } = edit else {
            return None;
        };
        Some((*at, texts.clone()))
    });
    headers.collect()
}

fn none() -> serde_json::Value {
    serde_json::json!({})
}

fn as_text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

#[test]
fn a_first_batch_makes_the_columns_of_the_form_and_of_what_else_came() {
    let batch = batch(&[r#"{"b":"2","z":true}"#, r#"{"a":"=1"}"#], &["a", "b"]);
    let plan = plan(&fresh(), &none(), &batch);
    let made: Vec<String> = ["a", "b", "z"].map(str::to_owned).to_vec();
    assert_eq!(headers(&plan), [(3, made)]);
    let rows = appended(&plan);
    assert_eq!(rows[0][0], Cell::Number(1.0));
    assert_eq!(rows[0][3..], [Cell::Empty, as_text("2"), as_text("true")]);
    assert_eq!(rows[1][3..], [as_text("=1")]);
    assert_eq!(plan.layout.mark.at, batch.upto);
    assert_eq!(plan.layout.end.map(|end| end.at), Some(6), "moved right");

    // The next one needs no more, and guards what is there.
    let next = self::plan(&plan.layout, &none(), &batch);
    assert_eq!(headers(&next), []);
    // Cursor, six columns, the sentinel; a deletion and a creation each; the rows.
    assert_eq!(next.edits.len(), 2 * (1 + 6 + 1) + 1);
    assert_eq!(appended(&next), rows);
}

#[test]
fn every_guard_names_the_place_at_which_its_column_was_read() {
    let mut layout = fresh();
    for (place, tag) in layout.columns.values_mut().zip([9, 2, 5]) {
        place.at = tag;
    }
    layout.end = Some(super::super::layout::Tag { id: 77, at: 12 });
    let plan = plan(&layout, &none(), &batch(&["{}"], &[]));
    let guards = plan.edits.iter().filter_map(|edit| {
        let Edit::Delete(lookup) = edit else {
            return None;
        };
        Some((lookup.id, lookup.spot?))
    });
    let mut places = layout
        .columns
        .values()
        .map(|tag| (tag.id, tag.at))
        .collect::<Vec<_>>();
    places.push((77, 12));
    let tab = layout.tab;
    let expected: Vec<_> = places
        .iter()
        .map(|&(id, at)| (id, Spot::Column { tab, at }))
        .collect();
    assert_eq!(guards.collect::<Vec<_>>(), expected);
    let row = &appended(&plan)[0];
    let seq = layout.columns["seq"].at;
    assert_eq!(row[usize::try_from(seq).unwrap()], Cell::Number(1.0));
}

#[test]
fn a_sentinel_that_is_gone_or_out_of_place_is_made_anew() {
    for end in [None, Some(super::super::layout::Tag { id: 77, at: 1 })] {
        let layout = Layout { end, ..fresh() };
        let plan = plan(&layout, &none(), &batch(&["{\"a\":1}"], &[]));
        assert_eq!(plan.layout.end.map(|end| end.at), Some(4));
        let deletes_old = plan
            .edits
            .iter()
            .any(|edit| matches!(edit, Edit::Delete(one) if one.id == 77));
        assert_eq!(deletes_old, end.is_some());
        let inserts = Edit::InsertColumns {
            tab: layout.tab,
            at: 3,
            count: 2,
        };
        assert!(plan.edits.contains(&inserts));
    }
}

#[test]
fn a_column_that_a_person_deleted_comes_back_stays_away_or_stops_the_lane() {
    let one = batch(&["{\"a\":\"1\",\"b\":\"2\"}"], &["a", "b"]);
    let mut layout = plan(&fresh(), &none(), &one).layout;
    layout.columns.remove("field:a");
    let policy = |policy: &str| serde_json::json!({ "on_deleted_column": policy });

    let again = plan(&layout, &policy("recreate"), &one);
    assert_eq!(headers(&again), [(5, vec!["a".to_owned()])]);
    assert_eq!(appended(&again)[0][5], as_text("1"));

    let dropped = plan(&layout, &policy("drop"), &one);
    assert_eq!(headers(&dropped), []);
    assert!(!appended(&dropped)[0].contains(&as_text("1")));
    // What was never there is new all the same.
    let new = batch(&["{\"a\":\"1\",\"c\":\"3\"}"], &[]);
    assert_eq!(
        headers(&plan(&layout, &policy("drop"), &new)),
        [(5, vec!["c".to_owned()])]
    );

    let (names, settings) = (names(), settings(&policy("pause")));
    let refused = Draft::new(&names, &settings, &layout).plan(&one, CAPS, (true, 0));
    assert_eq!(refused.unwrap_err(), ["a"]);
}

#[test]
fn a_column_whose_metadata_got_onto_another_one_is_given_back() {
    let one = batch(&["{\"a\":\"1\"}"], &["a"]);
    let mut layout = plan(&fresh(), &none(), &one).layout;
    let wrong = layout.columns["field:a"].id;
    layout.distrust("field:a");
    let plan = plan(&layout, &none(), &one);
    let gives_back = |edit: &Edit| matches!(edit, Edit::Delete(lookup) if lookup.id == wrong && lookup.spot.is_none());
    let deleted = plan.edits.iter().position(gives_back).unwrap();
    let made = |edit: &Edit| matches!(edit, Edit::Create(item) if item.id == wrong);
    assert!(deleted < plan.edits.iter().position(made).unwrap());
    assert!(plan.layout.stale.is_empty());
}

#[test]
fn a_batch_stays_below_every_cap_but_for_its_first_record() {
    let bodies: Vec<String> = (0..50).map(|n| format!("{{\"a\":\"{n}\"}}")).collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    let whole = batch(&bodies, &["a"]);
    let (names, settings, layout) = (names(), settings(&none()), fresh());
    let count = |caps: Caps| {
        let draft = Draft::new(&names, &settings, &layout);
        let plan = draft.plan(&whole, caps, (true, 0)).unwrap();
        assert_eq!(
            plan.layout.mark.at,
            whole.records[plan.records - 1].position
        );
        plan.records
    };
    assert_eq!(count(CAPS), 50);
    assert_eq!(count(Caps { records: 7, ..CAPS }), 7);
    assert_eq!(count(Caps { cells: 41, ..CAPS }), 10);
    assert_eq!(count(Caps { bytes: 10, ..CAPS }), 1);

    // A column that only a later record needs is not made by an earlier batch.
    let late = batch(&["{\"a\":1}", "{\"b\":1}"], &[]);
    let draft = Draft::new(&names, &settings, &layout);
    let plan = draft
        .plan(&late, Caps { records: 1, ..CAPS }, (true, 0))
        .unwrap();
    assert_eq!(headers(&plan), [(3, vec!["a".to_owned()])]);
}

#[test]
fn past_the_widest_sheet_members_go_together() {
    let body: Vec<String> = (0..300).map(|n| format!("\"m{n}\":{n}")).collect();
    let body = format!("{{{}}}", body.join(","));
    let plan = plan(&fresh(), &none(), &batch(&[&body, "[1,2]"], &[]));
    let (_, made) = headers(&plan).remove(0);
    assert_eq!(made.len() + 3, COLUMNS_MAX + 1);
    let rows = appended(&plan);
    let Some(Cell::Text(more)) = rows[0].last() else {
        panic!("no text");
    };
    assert!(
        more.starts_with("{\"m253\":253,") && more.ends_with(":299}"),
        "{more}"
    );
    assert_eq!(rows[1].last(), Some(&as_text("[1,2]")));
}

#[test]
fn a_record_that_is_sent_again_says_so() {
    let mut one = batch(&["{}", "{}"], &[]);
    one.records[1].is_replay = true;
    let plan = plan(&fresh(), &none(), &one);
    assert_eq!(headers(&plan), [(3, vec!["_replay".to_owned()])]);
    assert_eq!(appended(&plan)[0].len(), 3);
    assert_eq!(appended(&plan)[1][3], as_text("replay"));
}

#[test]
fn a_batch_without_records_moves_the_cursor_alone() {
    let upto = Position { index: 9, slot: 1 };
    let empty = Batch {
        upto,
        ..batch(&[], &["a"])
    };
    let plan = plan(&fresh(), &none(), &empty);
    assert_eq!((plan.edits.len(), plan.layout.mark.at), (2, upto));
}

#[test]
fn an_answer_of_success_is_held_against_every_guard() {
    let one = batch(&["{\"a\":\"1\"}"], &["a"]);
    let plan = plan(&plan(&fresh(), &none(), &one).layout, &none(), &one);
    let mut deleted: Vec<usize> = plan
        .edits
        .iter()
        .map(|edit| usize::from(matches!(edit, Edit::Delete(_))))
        .collect();
    assert_eq!(plan.slips(&deleted), Some(vec![]));
    assert_eq!(
        plan.slips(&deleted[1..]),
        None,
        "an answer to something else"
    );
    deleted[0] = 0;
    deleted[2] = 0;
    let first = plan.layout.columns.keys().next().unwrap();
    let slips = vec![Slip::Cursor, Slip::Column(first.clone())];
    assert_eq!(plan.slips(&deleted), Some(slips));
    let refusal = format!("Invalid requests[{}].appendCells: x", deleted.len() - 1);
    assert_eq!(plan.role_of(&refusal), Some(Role::Rows));
    assert_eq!(
        plan.role_of("Invalid requests[1].createDeveloperMetadata"),
        Some(Role::Cursor)
    );
    assert_eq!(plan.role_of("Invalid requests[999].x"), None);
}

#[test]
fn what_is_broken_on_purpose_is_broken() {
    use crate::sinks::sheets::Flaws;
    let one = batch(&["{}"], &[]);
    let plan = plan(&fresh(), &none(), &one);
    let whole = vec![plan.edits.clone()];
    assert_eq!(Flaws::default().spoil(plan.edits.clone()), whole);
    let spoilt = Flaws(Some(Mutant::SheetsNoCas)).spoil(plan.edits.clone());
    assert!(matches!(&spoilt[0][0], Edit::Delete(lookup) if lookup.value.is_none()));
    assert_eq!(
        Flaws(Some(Mutant::SheetsTwoCalls)).spoil(plan.edits).len(),
        2
    );
}
