//! Forms: names, numbers, versions and definitions.
//!
//! Holds: a name keeps its number for ever, and with it its seqs: a form that is retired and
//! defined again goes on where it stopped. Versions only grow, and every one of them stays
//! readable, since records say which one they were checked against.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Apply;
use super::keys;
use super::overlay::get_pieces;
use super::view::load;
use crate::command::{DefineForm, Expect, RetireForm};
use crate::error::Error;
use crate::ids::{FormId, Seq};
use crate::outcome::Outcome;
use crate::rows::Read;

/// A longer name gets past no door; one that did would not fit into a row.
pub(super) const NAME_BYTES_MAX: usize = 255;

/// A form as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormRow {
    /// Its number.
    pub id: FormId,
    /// Its name.
    pub name: String,
    /// Its newest version.
    pub version: u32,
    /// It takes no more.
    pub is_retired: bool,
    /// Its last record's seq; 0: none yet.
    pub head: Seq,
    /// The newest definition.
    pub definition: Bytes,
}

/// A form's row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Form {
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) is_retired: bool,
}

/// Whether a writer's belief about the present version (`None`: absent or retired) holds.
/// `Absent` against something present is told apart by the caller: the same bytes are no conflict.
pub(super) fn check(expect: Expect, present: Option<u32>) -> Result<(), Outcome> {
    let holds = match expect {
        Expect::Any => true,
        Expect::Absent => present.is_none(),
        Expect::Version(version) => present == Some(version),
    };
    if holds {
        Ok(())
    } else {
        Err(Outcome::Conflict {
            version: present.unwrap_or(0),
        })
    }
}

impl Apply<'_> {
    pub(super) fn define_form(&mut self, command: &DefineForm) -> Result<Outcome, Error> {
        if command.name.is_empty() || command.name.len() > NAME_BYTES_MAX {
            return Ok(Outcome::Missing);
        }
        let Some((id, mut form)) = self.form(&command.name)? else {
            return match check(command.expect, None) {
                Ok(()) => self.create_form(command),
                Err(conflict) => Ok(conflict),
            };
        };
        let present = (!form.is_retired).then_some(form.version);
        let is_same = present.is_some()
            && definition_with(|key| self.over.get(key), id, form.version)?.as_deref()
                == Some(&*command.definition);
        if is_same && command.expect == Expect::Absent {
            return Ok(Outcome::Form {
                id,
                version: form.version,
                is_changed: false,
            });
        }
        if let Err(conflict) = check(command.expect, present) {
            return Ok(conflict);
        }
        if !is_same {
            form.version += 1;
            form.is_retired = false;
            self.store_form(id, &form, &command.definition)?;
        }
        Ok(Outcome::Form {
            id,
            version: form.version,
            is_changed: !is_same,
        })
    }

    pub(super) fn retire_form(&mut self, command: &RetireForm) -> Result<Outcome, Error> {
        let Some((id, mut form)) = self.form(&command.name)? else {
            return Ok(Outcome::Missing);
        };
        let is_changed = !form.is_retired;
        if is_changed {
            if let Err(conflict) = check(command.expect, Some(form.version)) {
                return Ok(conflict);
            }
            form.is_retired = true;
            self.over.store(keys::form(id), &form)?;
            self.has_new_definitions = true;
        }
        Ok(Outcome::Form {
            id,
            version: form.version,
            is_changed,
        })
    }

    fn form(&mut self, name: &str) -> Result<Option<(FormId, Form)>, Error> {
        let Some(id) = self
            .over
            .load::<FormId>(&keys::form_name(name), "a form's name")?
        else {
            return Ok(None);
        };
        let form = self.over.load(&keys::form(id), "a form")?;
        Ok(Some((
            id,
            form.ok_or(Error::Unfit {
                what: "a form's name has no form",
            })?,
        )))
    }

    fn create_form(&mut self, command: &DefineForm) -> Result<Outcome, Error> {
        let next = self
            .over
            .load(&keys::fact_next_form(), "the next form")?
            .unwrap_or(1);
        let id = FormId(next);
        self.over.store(keys::fact_next_form(), &(next + 1))?;
        self.over.store_new(keys::form_name(&command.name), &id);
        let form = Form {
            name: command.name.clone(),
            version: 1,
            is_retired: false,
        };
        self.store_form(id, &form, &command.definition)?;
        Ok(Outcome::Form {
            id,
            version: 1,
            is_changed: true,
        })
    }

    fn store_form(&mut self, id: FormId, form: &Form, definition: &[u8]) -> Result<(), Error> {
        let prefix = keys::definition(id, form.version);
        self.over.store(keys::form(id), form)?;
        self.over
            .store_new(prefix.clone(), &(definition.len() as u64));
        self.over.put_pieces(&prefix, definition, 0)?;
        self.has_new_definitions = true;
        Ok(())
    }
}

/// The definition of `form` in `version`.
pub(crate) fn definition(
    rows: &dyn Read,
    form: FormId,
    version: u32,
) -> Result<Option<Bytes>, Error> {
    definition_with(|key| rows.get(key), form, version)
}

fn definition_with(
    mut get: impl FnMut(&[u8]) -> Result<Option<Bytes>, Error>,
    form: FormId,
    version: u32,
) -> Result<Option<Bytes>, Error> {
    let prefix = keys::definition(form, version);
    let Some(head) = get(&prefix)? else {
        return Ok(None);
    };
    let len: u64 = crate::codec::decode_row("a definition's length", &head)?;
    get_pieces(get, &prefix, usize::try_from(len).unwrap_or(usize::MAX)).map(Some)
}

/// The form of that number, as it is shown.
pub(super) fn row(rows: &dyn Read, id: FormId) -> Result<Option<FormRow>, Error> {
    let Some(form) = load::<Form>(rows, &keys::form(id), "a form")? else {
        return Ok(None);
    };
    let definition = definition(rows, id, form.version)?;
    Ok(Some(FormRow {
        id,
        name: form.name,
        version: form.version,
        is_retired: form.is_retired,
        head: load(rows, &keys::head(id), "a head")?.unwrap_or_default(),
        definition: definition.ok_or(Error::Unfit {
            what: "a form has no definition",
        })?,
    }))
}
