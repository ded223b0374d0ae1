//! The forms that there are, compiled and at hand.
//!
//! Holds: what `get` returns is never older than the moment of the call: the state's number of
//! definitions is read before the form is, and a form that was seen under another number is looked
//! up again. Only a form whose version moved is compiled again.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use storage::{FormRow, StateView};

use super::form::Form;

/// Compiled forms by name. Cheap to clone; clones share the compiled forms.
#[derive(Clone)]
pub struct Registry {
    view: StateView,
    seen: Arc<RwLock<HashMap<String, Seen>>>,
}

/// A form in a list.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FormSummary {
    /// Its name in URLs.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// Its version.
    pub version: u32,
    /// Takes no more submissions.
    pub is_retired: bool,
    /// Its last record's seq; 0: none yet.
    pub head: u64,
}

struct Seen {
    form: Arc<Form>,
    /// The state's number of definitions when this was right.
    at: u64,
}

impl Registry {
    /// Forms of this state.
    pub fn new(view: StateView) -> Self {
        Self {
            view,
            seen: Arc::new(RwLock::new(HashMap::new())),
        }
    }

    /// The form of that name, retired or not.
    pub fn get(&self, name: &str) -> Option<Arc<Form>> {
        let now = self.view.definitions_version();
        let held = self.held(name);
        if let Some((form, at)) = &held
            && *at == now
        {
            return Some(Arc::clone(form));
        }
        let held = held.map(|(form, _)| form);
        match self.view.form(name) {
            Ok(Some(row)) => self.renew(&row, held, now),
            Ok(None) => None,
            Err(error) => {
                tracing::error!(form = name, %error, "form not readable");
                held
            }
        }
    }

    /// All forms, by name.
    pub fn list(&self) -> Vec<FormSummary> {
        let rows = self.view.forms().unwrap_or_else(|error| {
            tracing::error!(%error, "forms not readable");
            Vec::new()
        });
        rows.into_iter().map(|row| self.summary(row)).collect()
    }

    fn summary(&self, row: FormRow) -> FormSummary {
        let title = self
            .get(&row.name)
            .map(|form| form.definition.title.clone());
        FormSummary {
            title: title.unwrap_or_else(|| row.name.clone()),
            name: row.name,
            version: row.version,
            is_retired: row.is_retired,
            head: row.head.0,
        }
    }

    fn held(&self, name: &str) -> Option<(Arc<Form>, u64)> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        seen.get(name).map(|seen| (Arc::clone(&seen.form), seen.at))
    }

    fn renew(&self, row: &FormRow, held: Option<Arc<Form>>, at: u64) -> Option<Arc<Form>> {
        let is_same = |form: &Arc<Form>| {
            (form.id, form.version, form.is_retired) == (row.id, row.version, row.is_retired)
        };
        let form = match held.filter(is_same) {
            Some(form) => form,
            None => compile(row)?,
        };
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        seen.insert(
            row.name.clone(),
            Seen {
                form: Arc::clone(&form),
                at,
            },
        );
        Some(form)
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

/// A definition was checked before it was proposed; one that does not compile was checked by
/// another release.
fn compile(row: &FormRow) -> Option<Arc<Form>> {
    match Form::from_bytes(row.id, row.version, row.is_retired, &row.definition) {
        Ok(form) => Some(Arc::new(form)),
        Err(problems) => {
            let problems = problems.join("; ");
            tracing::error!(
                form = row.name,
                version = row.version,
                problems,
                "form unusable"
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use storage::{
        Command, DefineForm, Entry, EntryKind, Expect, Index, LogId, NodeId, RetireForm, State,
        Term, Voters, encode_command,
    };

    use super::*;

    struct Rig {
        state: State,
        index: u64,
    }

    impl Rig {
        fn new() -> Self {
            Self {
                state: State::in_memory(|_| Voters {
                    quorum: 1,
                    count: 1,
                }),
                index: 0,
            }
        }

        fn apply(&mut self, command: &Command) {
            self.index += 1;
            let id = LogId {
                term: Term(1),
                node: NodeId(1),
                index: Index(self.index),
            };
            let payload = encode_command(command);
            self.state
                .apply(&Entry {
                    id,
                    kind: EntryKind::Command,
                    payload,
                })
                .unwrap();
        }

        fn define(&mut self, name: &str, title: &str) {
            let text =
                format!(r#"{{"name":"{name}","title":"{title}","schema":{{"type":"object"}}}}"#);
            self.define_raw(name, text);
        }

        fn define_raw(&mut self, name: &str, text: String) {
            let (name, definition) = (name.to_owned(), Bytes::from(text));
            self.apply(&Command::DefineForm(DefineForm {
                name,
                expect: Expect::Any,
                definition,
            }));
        }
    }

    #[test]
    fn a_form_is_compiled_once_a_version_and_never_stale() {
        let mut rig = Rig::new();
        let registry = Registry::new(rig.state.view());
        assert!(registry.get("a").is_none());
        rig.define("a", "One");
        let first = registry.get("a").unwrap();
        assert_eq!((first.version, first.definition.title.as_str()), (1, "One"));
        rig.define("b", "Other");
        let same = registry.get("a").unwrap();
        assert!(
            Arc::ptr_eq(&first, &same),
            "another form's change compiles nothing"
        );
        assert!(Arc::ptr_eq(&first, &registry.clone().get("a").unwrap()));
        rig.define("a", "Two");
        assert_eq!(registry.get("a").unwrap().definition.title, "Two");
        let name = "a".to_owned();
        rig.apply(&Command::RetireForm(RetireForm {
            name,
            expect: Expect::Any,
        }));
        assert!(registry.get("a").unwrap().is_retired);
        let list = registry.list();
        let seen: Vec<_> = list
            .iter()
            .map(|one| (one.title.as_str(), one.is_retired))
            .collect();
        assert_eq!(seen, [("Two", true), ("Other", false)]);
    }

    #[test]
    fn a_definition_of_another_release_is_listed_and_not_used() {
        let mut rig = Rig::new();
        rig.define_raw("odd", r#"{"name":"odd","later":1}"#.to_owned());
        let registry = Registry::new(rig.state.view());
        assert!(registry.get("odd").is_none());
        assert_eq!(registry.list()[0].title, "odd");
    }
}
