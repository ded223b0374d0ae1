//! What a batch does: the protocol's own requests, and every edit of a person between them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Caller, Outcome, Refusal, Rules, apply};
use crate::book::protect::{Area, Protected};
use crate::book::row::Content;
use crate::book::shift::Shift;
use crate::book::{Book, Dimension, Tab};
use crate::dice::Dice;
use crate::schema::testing::SCHEMA;

const CURSOR: i32 = 900;

fn rules() -> Rules {
    Rules {
        schema: Arc::clone(&SCHEMA),
        is_no_match_refused: false,
        is_lenient: false,
    }
}

fn caller() -> Caller {
    Caller {
        user: "robot".to_owned(),
        project: "p".to_owned(),
    }
}

/// As the server does it: on a copy, kept only when all went well.
fn run_by(book: &mut Book, requests: &[Value], rules: &Rules) -> Result<Outcome, String> {
    let mut copy = book.clone();
    let outcome = apply(&mut copy, requests, (rules, &caller()), &mut Dice::new(1));
    let outcome = outcome.map_err(|refusal| match refusal {
        Refusal::Invalid(words) => words,
        Refusal::Gap(what) => format!("gap: {what}"),
    })?;
    *book = copy;
    Ok(outcome)
}

fn run(book: &mut Book, requests: &[Value]) -> Result<Outcome, String> {
    run_by(book, requests, &rules())
}

fn column(at: usize) -> Value {
    json!({"dimensionRange": {
        "sheetId": 0, "dimension": "COLUMNS", "startIndex": at, "endIndex": at + 1}})
}

fn create(id: i32, location: &Value, value: &str) -> Value {
    json!({"createDeveloperMetadata": {"developerMetadata": {
        "metadataId": id, "metadataKey": "k", "metadataValue": value, "visibility": "DOCUMENT",
        "location": location}}})
}

fn delete(lookup: &Value) -> Value {
    json!({"deleteDeveloperMetadata": {"dataFilter": {"developerMetadataLookup": lookup}}})
}

fn swap(old: &str, new: &str) -> Vec<Value> {
    vec![
        delete(&json!({"metadataId": CURSOR, "metadataValue": old})),
        create(CURSOR, &json!({"sheetId": 0}), new),
    ]
}

/// Each column where it was seen, and the one behind the last.
fn guards(columns: &[usize]) -> Vec<Value> {
    let pair = |(id, at): (i32, &usize)| {
        let lookup = json!({"metadataId": id, "metadataLocation": column(*at),
            "locationMatchingStrategy": "EXACT_LOCATION"});
        [delete(&lookup), create(id, &column(*at), "")]
    };
    (1..).zip(columns).flat_map(pair).collect()
}

fn append(rows: &[&[Value]]) -> Value {
    let rows = rows.iter().map(|row| {
        let cells = row.iter().map(|value| match value {
            Value::Null => json!({}),
            Value::Number(_) => json!({"userEnteredValue": {"numberValue": value}}),
            Value::Bool(_) => json!({"userEnteredValue": {"boolValue": value}}),
            Value::String(_) | Value::Array(_) | Value::Object(_) => {
                json!({"userEnteredValue": {"stringValue": value}})
            }
        });
        json!({"values": cells.collect::<Value>()})
    });
    json!({"appendCells": {
        "sheetId": 0, "fields": "userEnteredValue", "rows": rows.collect::<Value>()}})
}

/// `count` mapped columns and a sentinel behind them, a header, the cursor at 0.
fn set_up(count: usize) -> Book {
    let mut book = Book::new("b", "b");
    book.tabs.push(Arc::new(Tab::new(0, "t", 1, count + 2)));
    let names = (0..count).map(|at| format!("c{at}").into());
    let names = names.collect::<Vec<Value>>();
    let mut requests = vec![
        append(&[&names]),
        create(CURSOR, &json!({"sheetId": 0}), "0"),
    ];
    let ids = (1..).zip(0..=count);
    requests.extend(ids.map(|(id, at)| create(id, &column(at), "")));
    run(&mut book, &requests).unwrap();
    book
}

fn cursor(book: &Book) -> Option<&str> {
    book.items.get(&CURSOR)?.value.as_deref()
}

/// The rows as numbers, blank cells as -1.
fn grid(book: &Book) -> Vec<Vec<f64>> {
    let tab = book.tab(0).unwrap();
    let number = |content: Content<'_>| match content {
        Content::Number(number) => number,
        Content::Blank | Content::Text(_) | Content::Bool(_) | Content::Formula(_) => -1.0,
    };
    let row = |row: &crate::book::row::Row| {
        let cells = row.ordered(&tab.slots).into_iter();
        cells.map(|cell| number(cell.content)).collect()
    };
    tab.rows.iter().skip(1).map(row).collect()
}

#[test]
fn a_cursor_is_swapped_from_what_it_is_and_from_nothing_else() {
    for is_no_match_refused in [false, true] {
        let rules = Rules {
            is_no_match_refused,
            ..rules()
        };
        let mut book = set_up(1);
        let send = |book: &mut Book, old: &str, new: &str, n: u64| {
            let mut requests = swap(old, new);
            requests.push(append(&[&[n.into()]]));
            run_by(book, &requests, &rules)
        };
        send(&mut book, "0", "1", 1).unwrap();
        let words = send(&mut book, "0", "9", 9).unwrap_err();
        let expected = if is_no_match_refused {
            "Invalid requests[0].deleteDeveloperMetadata: No developer metadata matches the data filter."
        } else {
            "Invalid requests[1].createDeveloperMetadata: Cannot add developer metadata with ID \
             [900] because developer metadata with that ID already exists."
        };
        assert_eq!(words, expected);
        send(&mut book, "1", "2", 2).unwrap();
        assert_eq!(cursor(&book), Some("2"));
        let first = grid(&book).iter().map(|row| row[0]).collect::<Vec<_>>();
        assert_eq!(first, [1.0, 2.0]);
    }
}

#[test]
fn rows_go_behind_the_last_with_anything_in_a_column_that_is_there() {
    let mut book = set_up(1);
    book.resize(0, Dimension::Rows, 100);
    run(&mut book, &[append(&[&[1.into()]])]).unwrap();
    let checkbox = json!({"updateCells": {"start": {"sheetId": 0, "rowIndex": 50, "columnIndex": 2},
        "fields": "userEnteredValue", "rows": [{"values": [{"userEnteredValue": {"boolValue": false}}]}]}});
    run(&mut book, &[checkbox]).unwrap();
    let outcome = run(&mut book, &[append(&[&[2.into()]])]).unwrap();
    assert_eq!(outcome.appended[0].row, 51);
    // What stood in a column that is gone is no data.
    book.shift(0, Dimension::Columns, &Shift::Remove(2..3));
    book.shift(0, Dimension::Rows, &Shift::Remove(51..52));
    let outcome = run(&mut book, &[append(&[&[3.into()]])]).unwrap();
    assert_eq!(
        (outcome.appended[0].row, book.tab(0).unwrap().rows.len()),
        (2, 99)
    );
}

/// Every single insertion, deletion and move of columns.
fn edits(width: usize) -> Vec<Shift> {
    let mut edits = Vec::new();
    for a in 0..=width {
        edits.push(Shift::Insert { at: a, count: 1 });
        for b in a + 1..=width {
            if b - a < width {
                edits.push(Shift::Remove(a..b));
            }
            let others = (0..=width).filter(|to| *to < a || *to > b);
            edits.extend(others.map(|to| Shift::Move { from: a..b, to }));
        }
    }
    edits
}

/// Whether a batch made for the layout of the set-up writes into a wrong column after `edit`.
fn slips(edit: &Shift, has_sentinel: bool) -> bool {
    const COUNT: usize = 5;
    let mut book = set_up(COUNT);
    let own = book.tab(0).unwrap().slots[..COUNT].to_vec();
    book.shift(0, Dimension::Columns, edit);
    let columns = (0..COUNT + usize::from(has_sentinel)).collect::<Vec<_>>();
    let mut requests = swap("0", "1");
    requests.extend(guards(&columns));
    let row = (0..COUNT).map(Into::into).collect::<Vec<Value>>();
    requests.push(append(&[&row]));
    if run(&mut book, &requests).is_err() {
        assert_eq!(
            (cursor(&book), grid(&book).len()),
            (Some("0"), 0),
            "{edit:?}"
        );
        return false;
    }
    assert_eq!(cursor(&book), Some("1"));
    book.tab(0).unwrap().slots[..COUNT] != own
}

#[test]
fn guards_with_a_sentinel_let_no_edit_slip_and_without_one_they_do() {
    let all = edits(7);
    assert!(all.len() > 100);
    let slipped = all.iter().filter(|edit| slips(edit, true));
    assert_eq!(slipped.collect::<Vec<_>>(), [&Shift::Remove(0..0); 0]);
    assert!(all.iter().any(|edit| slips(edit, false)));
}

#[test]
fn a_new_column_and_its_first_values_come_in_one_batch() {
    let mut book = set_up(2);
    let mut requests = swap("0", "1");
    requests.extend(guards(&[0, 1, 2]));
    requests.push(json!({"insertDimension": {"range": {
        "sheetId": 0, "dimension": "COLUMNS", "startIndex": 2, "endIndex": 3}}}));
    requests.push(create(50, &column(2), ""));
    requests.push(append(&[&[1.into(), 2.into(), 3.into()]]));
    run(&mut book, &requests).unwrap();
    assert_eq!(grid(&book), [[1.0, 2.0, 3.0, -1.0, -1.0]]);
    // The sentinel has made room, and can be guarded where it is now.
    let mut requests = swap("1", "2");
    requests.extend(guards(&[0, 1, 3]));
    run(&mut book, &requests).unwrap();
}

#[test]
fn a_text_is_a_text_whatever_it_looks_like_and_not_too_long() {
    let mut book = set_up(1);
    let outcome = run(&mut book, &[append(&[&["=1+1".into()]])]).unwrap();
    let cell = outcome.appended[0].rows[0].cell(0);
    assert_eq!(cell.content, Content::Text("=1+1"));
    run(&mut book, &[append(&[&["😀".repeat(25_000).into()]])]).unwrap();
    let words = run(&mut book, &[append(&[&["😀".repeat(25_001).into()]])]).unwrap_err();
    assert!(words.ends_with("more than the maximum of 50000 characters in a single cell."));
}

#[test]
fn protected_cells_are_refused_and_all_else_is_not() {
    let mut book = set_up(3);
    book.protected.push(Protected {
        id: 1,
        range: Area {
            tab: 0,
            rows: (0, None),
            columns: (1, Some(2)),
        },
        editors: Vec::new(),
        is_warning: false,
        description: String::new(),
    });
    run(&mut book, &[append(&[&[1.into()]])]).unwrap();
    let words = run(&mut book, &[append(&[&[1.into(), 2.into()]])]).unwrap_err();
    assert!(words.contains("You are trying to edit a protected cell or object."));
    let insert = json!({"insertDimension": {"range": {
        "sheetId": 0, "dimension": "COLUMNS", "startIndex": 3, "endIndex": 4}}});
    run(&mut book, &[insert]).unwrap();
}

#[test]
fn the_limits_are_those_of_google() {
    let mut book = set_up(1);
    book.tabs
        .push(Arc::new(Tab::new(1, "big", 10_000 - 1, 1000)));
    book.tabs.push(Arc::new(Tab::new(2, "more", 997, 1)));
    assert_eq!(book.cells(), 10_000_000);
    let words = run(&mut book, &[append(&[&[1.into()]])]).unwrap_err();
    assert!(
        words.contains("above the limit of 10000000 cells"),
        "{words}"
    );
    book.remove_tab(2);
    let wide = json!({"appendDimension": {"sheetId": 0, "dimension": "COLUMNS", "length": 18_276}});
    let words = run(&mut book, &[wide]).unwrap_err();
    assert!(words.contains("18278 columns"), "{words}");
    let many = vec![delete(&json!({"metadataId": 1})); 100_001];
    let words = run(&mut book, &many).unwrap_err();
    assert_eq!(words, "Cannot exceed 100000 requests in a single batch");
    let words = run(&mut book, &[append(&[&vec![1.into(); 4]])]).unwrap_err();
    let beyond = "Attempting to write column: 3, beyond the last requested column of: 2";
    assert!(words.ends_with(beyond), "{words}");
    let long = "x".repeat(29_000);
    run(
        &mut book,
        &[create(70, &json!({"spreadsheet": true}), &long)],
    )
    .unwrap();
    run(&mut book, &[create(71, &json!({"sheetId": 0}), &long)]).unwrap();
    let words = run(&mut book, &[create(72, &column(0), &long)]).unwrap_err();
    assert!(words.contains("30000 characters"), "{words}");
}

#[test]
fn lookups_select_what_meets_everything_that_they_name() {
    let mut book = set_up(2);
    let foreign = json!({"createDeveloperMetadata": {"developerMetadata": {
        "metadataId": 60, "metadataKey": "k", "visibility": "PROJECT", "location": {"sheetId": 0}}}});
    run(
        &mut book,
        &[foreign, create(61, &json!({"spreadsheet": true}), "")],
    )
    .unwrap();
    let select = |project: &str, lookup: Value| {
        let lookup: crate::book::metadata::Lookup = serde_json::from_value(lookup).unwrap();
        assert_eq!(lookup.problem(), None);
        let found = lookup.select(&book, project).into_iter();
        found.map(|item| item.id).collect::<Vec<_>>()
    };
    let in_tab = json!({"metadataLocation": {"sheetId": 0}});
    assert_eq!(select("p", in_tab.clone()), [1, 2, 3, 60, CURSOR]);
    assert_eq!(select("q", in_tab), [1, 2, 3, CURSOR]);
    let exact =
        json!({"metadataLocation": {"sheetId": 0}, "locationMatchingStrategy": "EXACT_LOCATION"});
    assert_eq!(select("p", exact), [60, CURSOR]);
    let cross = json!({"metadataLocation": column(1), "locationType": "COLUMN"});
    assert_eq!(select("p", cross), [2]);
    assert_eq!(
        select("p", json!({"metadataId": 1, "metadataKey": "x"})),
        [0; 0]
    );
    assert_eq!(
        select("p", json!({"metadataLocation": {"sheetId": 5}})),
        [0; 0]
    );
    assert_eq!(select("p", json!({"locationType": "SPREADSHEET"})), [61]);
}

#[test]
fn an_id_is_in_use_also_for_those_who_cannot_see_the_item() {
    let mut book = set_up(0);
    let item = |id: i32| {
        json!({"createDeveloperMetadata": {"developerMetadata": {
        "metadataId": id, "metadataKey": "k", "visibility": "PROJECT", "location": {"sheetId": 0}}}})
    };
    run(&mut book, &[item(5)]).unwrap();
    Arc::make_mut(&mut book.items).get_mut(&5).unwrap().project = "other".to_owned();
    let outcome = run(&mut book, &[delete(&json!({"metadataId": 5}))]).unwrap();
    assert_eq!(outcome.replies, [json!({"deleteDeveloperMetadata": {}})]);
    assert!(
        run(&mut book, &[item(5)])
            .unwrap_err()
            .contains("already exists")
    );
}

#[test]
fn two_batches_that_are_merged_may_both_leave_their_rows() {
    let mut book = set_up(1);
    let mut requests = swap("0", "1");
    requests.push(append(&[&[1.into()]]));
    run(&mut book, &requests).unwrap();
    let lenient = Rules {
        is_lenient: true,
        ..rules()
    };
    run_by(&mut book, &requests, &lenient).unwrap();
    assert_eq!((cursor(&book), grid(&book).len()), (Some("1"), 2));
}

#[test]
fn what_this_fake_does_not_know_is_no_error_of_the_client() {
    let mut book = set_up(1);
    let words = run(&mut book, &[json!({"addChart": {}})]).unwrap_err();
    assert!(words.starts_with("gap: requests[0].addChart"));
    let words = run(&mut book, &[json!({})]).unwrap_err();
    assert_eq!(words, "Invalid requests[0]: No request set.");
    assert_eq!(
        run(&mut book, &[]).unwrap_err(),
        "Must specify at least one request."
    );
}

#[test]
fn rows_at_the_end_take_the_styles_of_the_last() {
    let mut book = set_up(1);
    book.resize(0, Dimension::Rows, 2);
    let dates = json!({"repeatCell": {
        "range": {"sheetId": 0, "startRowIndex": 1, "startColumnIndex": 0, "endColumnIndex": 1},
        "cell": {"userEnteredFormat": {"numberFormat": {"type": "DATE"}}},
        "fields": "userEnteredFormat.numberFormat"}});
    run(&mut book, &[dates, append(&[&[1.into()], &[2.into()]])]).unwrap();
    let tab = book.tab(0).unwrap();
    let shown = tab
        .rows
        .iter()
        .skip(1)
        .map(|row| book.formatted(row.cell(0)));
    assert_eq!(shown.collect::<Vec<_>>(), ["1899-12-31", "1900-01-01"]);
}

#[test]
fn a_tab_is_added_frozen_renamed_and_removed() {
    let mut book = set_up(1);
    let add = json!({"addSheet": {"properties": {
        "sheetId": 8, "title": "new", "gridProperties": {"rowCount": 2, "columnCount": 3}}}});
    let outcome = run(&mut book, std::slice::from_ref(&add)).unwrap();
    let grid = &outcome.replies[0]["addSheet"]["properties"]["gridProperties"];
    assert_eq!(*grid, json!({"rowCount": 2, "columnCount": 3}));
    assert!(
        run(&mut book, &[add])
            .unwrap_err()
            .contains("already exists")
    );
    let update = |properties: Value, fields: &str| json!({"updateSheetProperties": {"properties": properties, "fields": fields}});
    let frozen = json!({"sheetId": 8, "title": "kept", "gridProperties": {"frozenRowCount": 1}});
    run(
        &mut book,
        &[update(frozen, "gridProperties.frozenRowCount")],
    )
    .unwrap();
    let tab = book.tab(8).unwrap();
    assert_eq!((tab.frozen_rows, tab.title.as_str()), (1, "new"));
    let renamed = json!({"sheetId": 8, "title": "T"});
    assert!(
        run(&mut book, &[update(renamed, "title")]).is_err(),
        "titles know no case"
    );
    let gone = run(&mut book, &[json!({"deleteSheet": {"sheetId": 8}})]);
    assert!(gone.is_ok() && book.tab(8).is_none());
    let last = run(&mut book, &[json!({"deleteSheet": {"sheetId": 0}})]).unwrap_err();
    assert!(last.ends_with("You can't remove all the sheets in a document."));
}
