//! JSON text becomes a tree, with what plain parsing lets pass refused: a name twice in one object
//! (which of the two was meant?), and U+0000 in text (half of all destinations cannot hold it).
//!
//! Holds: runs after `scan`, so depth and number of members are bounded. Lone surrogates never get
//! this far: the parser refuses them.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::refused::Refused;
use super::scan::scan;
use crate::forms::{Fault, pointer_step};

/// A form's document seldom has more, and grows from there.
const MEMBERS_USUAL: usize = 8;

/// Parses a whole text.
pub(crate) fn tree(text: &[u8]) -> Result<Value, Refused> {
    let trouble = RefCell::new(Trouble::default());
    let mut parser = serde_json::Deserializer::from_slice(text);
    let parsed = Branch(&trouble).deserialize(&mut parser).and_then(|tree| {
        parser.end()?;
        Ok(tree)
    });
    parsed.map_err(|error| trouble.into_inner().refusal(&error))
}

/// Parses a text under its own bounds; `None`: it is no JSON, or beyond them.
pub(crate) fn tree_within(text: &[u8], depth_max: usize, fields_max: usize) -> Option<Value> {
    scan(text, depth_max, fields_max).ok()?;
    tree(text).ok()
}

/// What was refused besides syntax, and the way to it, innermost step first.
#[derive(Debug, Default)]
struct Trouble {
    detail: Option<&'static str>,
    steps: Vec<String>,
}

impl Trouble {
    fn refusal(mut self, error: &serde_json::Error) -> Refused {
        self.steps.reverse();
        match self.detail {
            Some(detail) => Refused::Malformed {
                detail: "the document cannot be taken as it is".to_owned(),
                faults: vec![Fault::new(self.steps.concat(), detail)],
            },
            None => Refused::malformed(format!("not JSON: {error}")),
        }
    }
}

#[derive(Clone, Copy)]
struct Branch<'a>(&'a RefCell<Trouble>);

impl Branch<'_> {
    fn refuse<E: Error>(self, detail: &'static str) -> E {
        self.0.borrow_mut().detail = Some(detail);
        E::custom(detail)
    }

    /// While an error is on its way up, each level adds its step.
    fn step<T, E>(self, result: Result<T, E>, step: impl FnOnce() -> String) -> Result<T, E> {
        if result.is_err() {
            let mut trouble = self.0.borrow_mut();
            if trouble.detail.is_some() {
                trouble.steps.push(step());
            }
        }
        result
    }

    fn text<E: Error>(self, text: String) -> Result<String, E> {
        if text.contains('\0') {
            Err(self.refuse("contains U+0000"))
        } else {
            Ok(text)
        }
    }
}

impl<'de> DeserializeSeed<'de> for Branch<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Branch<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        self.text(text).map(Value::String)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) =
            self.step(from.next_element_seed(self), || format!("/{}", items.len()))?
        {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = from.next_key::<String>()? {
            if members.is_empty() {
                members = Map::with_capacity(MEMBERS_USUAL); // never for an empty one: those are not counted
            }
            let name = self.text(name)?;
            let value = self.step(from.next_value_seed(self), || pointer_step(&name))?;
            match members.entry(name) {
                serde_json::map::Entry::Vacant(free) => {
                    free.insert(value);
                }
                serde_json::map::Entry::Occupied(taken) => {
                    let twice = Err(self.refuse("is there twice"));
                    return self.step(twice, || pointer_step(taken.key()));
                }
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ingest::tests::any_json;

    fn fault(text: &str) -> (String, String) {
        match tree(text.as_bytes()) {
            Err(Refused::Malformed { faults, .. }) if faults.len() == 1 => {
                (faults[0].pointer.clone(), faults[0].detail.clone())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_name_that_is_there_twice_is_pointed_at() {
        let twice = "is there twice".to_owned();
        assert_eq!(fault(r#"{"a":1,"a":1}"#), ("/a".to_owned(), twice.clone()));
        assert_eq!(
            fault(r#"{"x":[0,{"a/b":1,"a\u002fb":2}]}"#),
            ("/x/1/a~1b".to_owned(), twice)
        );
        assert!(tree(br#"{"a":{"b":1},"b":1}"#).is_ok());
    }

    #[test]
    fn nul_and_lone_surrogates_are_refused() {
        assert_eq!(fault(r#"{"a":["x\u0000"]}"#).0, "/a/0");
        assert_eq!(fault(r#"{"b":{"\u0000":1}}"#).0, "/b");
        for text in [
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\udc00x"}"#,
            "{\"a\":\"\u{0}\"}",
            "{}x",
            "",
            "{",
        ] {
            assert!(
                matches!(tree(text.as_bytes()), Err(Refused::Malformed { .. })),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_tree_is_the_one_that_serde_json_builds(tree_in in any_json()) {
            let text = serde_json::to_vec(&tree_in).unwrap();
            let plain: Value = serde_json::from_slice(&text).unwrap();
            prop_assert_eq!(tree(&text).unwrap(), plain);
        }
    }
}
