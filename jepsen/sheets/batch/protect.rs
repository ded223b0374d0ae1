//! Requests on protected ranges. Who makes one may edit it.

use serde_json::{Value, json};

use super::cells::read_area;
use super::{Fault, Turn};
use crate::book::protect::Protected;

impl Turn<'_> {
    pub(super) fn add_protected_range(&mut self, body: &Value) -> Result<Value, Fault> {
        let new = body.get("protectedRange").unwrap_or(&Value::Null);
        for name in ["namedRangeId", "tableId", "unprotectedRanges"] {
            if new.get(name).is_some() {
                return Err(Fault::Gap(format!("this fake does not know {name}")));
            }
        }
        let range = new.get("range").ok_or("A range must be specified.")?;
        let range = read_area(range)?;
        self.grid(range.tab)?;
        let id = new.get("protectedRangeId").and_then(Value::as_i64);
        let id = id.and_then(|id| i32::try_from(id).ok());
        let id = id.unwrap_or_else(|| self.dice.id());
        if self.book.protected.iter().any(|other| other.id == id) {
            return Err(format!("A protected range with id {id} already exists.").into());
        }
        let users = new.pointer("/editors/users").and_then(Value::as_array);
        let users = users.into_iter().flatten().filter_map(Value::as_str);
        let mut editors = users.map(str::to_owned).collect::<Vec<_>>();
        if !editors.contains(&self.caller.user) {
            editors.push(self.caller.user.clone());
        }
        let description = new.get("description").and_then(Value::as_str);
        let protected = Protected {
            id,
            range,
            editors,
            is_warning: new.get("warningOnly") == Some(&Value::Bool(true)),
            description: description.unwrap_or_default().to_owned(),
        };
        let shown = protected.to_json(&self.caller.user);
        self.book.protected.push(protected);
        Ok(json!({"addProtectedRange": {"protectedRange": shown}}))
    }

    pub(super) fn delete_protected_range(&mut self, body: &Value) -> Result<Value, Fault> {
        let id = body
            .get("protectedRangeId")
            .and_then(Value::as_i64)
            .unwrap_or(0);
        let found = self
            .book
            .protected
            .iter()
            .position(|other| i64::from(other.id) == id);
        let found = found.ok_or_else(|| format!("No protected range with id: {id}"))?;
        if let Some(protected) = self.book.protected.get(found) {
            let area = protected.range.clone();
            self.may_edit(&area)?;
        }
        self.book.protected.remove(found);
        Ok(json!({}))
    }
}
