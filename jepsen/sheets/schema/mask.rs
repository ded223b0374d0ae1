//! Field masks: `a,b(c,d.e)`, as parameter `fields` and in the body of an update.
//!
//! Holds: a mask that is applied has been checked against the type that it selects from.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Kind, Schema};

/// What is selected; nothing below means all below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mask {
    below: BTreeMap<String, Self>,
}

/// `Err`: why it is none.
pub(crate) fn parse(text: &str) -> Result<Mask, String> {
    let mut rest = text;
    let mask = list(&mut rest)?;
    if rest.is_empty() {
        Ok(mask)
    } else {
        Err(format!("unexpected '{rest}'"))
    }
}

fn list(rest: &mut &str) -> Result<Mask, String> {
    let mut mask = Mask::default();
    loop {
        item(rest, &mut mask)?;
        match rest.strip_prefix(',') {
            Some(more) => *rest = more,
            None => return Ok(mask),
        }
    }
}

fn item(rest: &mut &str, mask: &mut Mask) -> Result<(), String> {
    let end = rest.find(|letter| ",()./".contains(letter));
    let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
    let name = name.trim();
    let is_name = |name: &str| {
        name.chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    if name.is_empty() || (name != "*" && !is_name(name)) {
        return Err(format!("'{name}' is no field"));
    }
    *rest = after;
    let below = if let Some(after) = rest.strip_prefix(['.', '/']) {
        *rest = after;
        let mut below = Mask::default();
        item(rest, &mut below)?;
        below
    } else if let Some(after) = rest.strip_prefix('(') {
        *rest = after;
        let below = list(rest)?;
        *rest = rest.strip_prefix(')').ok_or("a ')' is missing")?;
        below
    } else {
        Mask::default()
    };
    mask.add(name, below);
    Ok(())
}

impl Mask {
    fn add(&mut self, name: &str, below: Self) {
        match self.below.get_mut(name) {
            None => {
                self.below.insert(name.to_owned(), below);
            }
            // All of it was selected before, or is now.
            Some(before) if before.below.is_empty() || below.below.is_empty() => {
                before.below.clear();
            }
            Some(before) => {
                for (name, below) in below.below {
                    before.add(&name, below);
                }
            }
        }
    }

    /// It says nothing: all is selected.
    pub(crate) fn is_all(&self) -> bool {
        self.below.is_empty() || self.below.contains_key("*")
    }

    /// What it selects of the member `name`; `None`: nothing.
    pub(crate) fn of(&self, name: &str) -> Option<&Self> {
        if self.below.is_empty() {
            return Some(self);
        }
        self.below.get(name).or_else(|| self.below.get("*"))
    }

    pub(crate) fn selects(&self, path: &[&str]) -> bool {
        match path.split_first() {
            None => true,
            Some((first, rest)) => self.of(first).is_some_and(|below| below.selects(rest)),
        }
    }

    /// The first path of it that the message at `place` does not have.
    pub(crate) fn stray(&self, schema: &Schema, place: usize) -> Option<String> {
        self.below.iter().find_map(|(name, below)| {
            if name == "*" {
                return None;
            }
            let field = schema.message(place)?.fields.get(name);
            let Some(mut kind) = field.map(|field| &field.kind) else {
                return Some(name.clone());
            };
            while let Kind::List(inner) = kind {
                kind = inner;
            }
            match kind {
                Kind::Message(place) => {
                    let stray = below.stray(schema, *place)?;
                    Some(format!("{name}.{stray}"))
                }
                Kind::Any | Kind::Map(_) => None,
                Kind::Bool
                | Kind::Int32
                | Kind::Number
                | Kind::Text
                | Kind::Mask
                | Kind::Enum(..)
                | Kind::List(_) => {
                    let stray = below.below.keys().next()?;
                    Some(format!("{name}.{stray}"))
                }
            }
        })
    }

    /// Takes out of `value` what is not selected.
    pub(crate) fn apply(&self, value: &mut Value) {
        if self.below.is_empty() {
            return;
        }
        match value {
            Value::Array(values) => values.iter_mut().for_each(|value| self.apply(value)),
            Value::Object(members) => {
                members.retain(|name, value| {
                    let below = self.of(name);
                    if let Some(below) = below {
                        below.apply(value);
                    }
                    below.is_some()
                });
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// The names at its top.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.below.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::parse;
    use crate::schema::testing::SCHEMA;

    #[test]
    fn a_mask_keeps_what_it_names_and_nothing_else() {
        let mask = parse("replies,updatedSpreadsheet(sheets(properties(sheetId,title)))").unwrap();
        let mut value = json!({"spreadsheetId": "s", "replies": [{"a": 1}],
            "updatedSpreadsheet": {"sheets": [{"properties": {"sheetId": 0, "index": 1}, "data": []}]}});
        mask.apply(&mut value);
        let kept = json!({"replies": [{"a": 1}],
            "updatedSpreadsheet": {"sheets": [{"properties": {"sheetId": 0}}]}});
        assert_eq!(value, kept);
        assert!(mask.selects(&["updatedSpreadsheet", "sheets", "properties", "title"]));
        assert!(!mask.selects(&["updatedSpreadsheet", "sheets", "data"]));
    }

    #[test]
    fn dots_slashes_and_parentheses_say_the_same() {
        assert_eq!(parse("a.b,a.c").unwrap(), parse("a(b,c)").unwrap());
        assert_eq!(parse("a/b/c").unwrap(), parse("a(b(c))").unwrap());
        assert_eq!(parse("a.b,a").unwrap(), parse("a").unwrap());
        for bad in ["", "a,", "a(b", "a)", "a b", "a..b", "ä"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_that_the_type_does_not_have_is_named() {
        let place = SCHEMA.place("BatchUpdateSpreadsheetRequest").unwrap();
        let stray = |text| parse(text).unwrap().stray(&SCHEMA, place);
        assert_eq!(stray("requests(appendCells.sheetId)"), None);
        assert_eq!(stray("*"), None);
        assert_eq!(stray("requests.nope"), Some("requests.nope".to_owned()));
        let below = stray("requests.appendCells.sheetId.x");
        assert_eq!(below, Some("requests.appendCells.sheetId.x".to_owned()));
    }
}
