//! The door as a whole: a log in memory stands behind it, over the real state.

mod batches;
mod door;
mod leaders;
mod log;

use proptest::prelude::*;
use serde_json::Value;

/// Any document, up to a few levels.
pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        (-1e6..1e6_f64).prop_map(Value::from),
        any_text().prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            proptest::collection::vec((any_text(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Text with everything that JSON has to escape, but U+0000.
fn any_text() -> impl Strategy<Value = String> {
    "[a-c \\\\\"{}:,\\[\\]\t\n\r\u{1}\u{7f}é\u{301}😀]{0,8}"
}
