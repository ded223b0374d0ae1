//! A form ready for use: one version of a definition, compiled once.
//!
//! Holds: never changes; a new version is a new `Form`. What the door needs for each submission
//! (schema, coercion, rules) is worked out here and not again.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};
use storage::FormId;

use super::coerce::Coercion;
use super::definition::Definition;
use super::fault::Fault;
use super::field::Field;
use super::sanitise;
use super::schema::Schema;

/// One version of a form.
#[derive(Debug)]
pub struct Form {
    /// Its number.
    pub id: FormId,
    /// Its name, shared by every receipt.
    pub name: Arc<str>,
    /// Which version this is.
    pub version: u32,
    /// Takes no more submissions.
    pub is_retired: bool,
    /// What it was compiled from.
    pub definition: Definition,
    /// Its top-level fields, in the schema's order.
    pub fields: Vec<Field>,
    schema: Schema,
    coercion: Coercion,
}

impl Form {
    /// Compiles a definition.
    pub fn new(
        id: FormId,
        version: u32,
        is_retired: bool,
        definition: Definition,
    ) -> Result<Self, Vec<String>> {
        Ok(Self {
            id,
            name: Arc::from(definition.name.as_str()),
            version,
            is_retired,
            fields: Field::all(&definition.schema),
            schema: Schema::compile(&definition.schema)?,
            coercion: Coercion::new(&definition.schema),
            definition,
        })
    }

    /// Compiles a definition as the state carries it.
    pub fn from_bytes(
        id: FormId,
        version: u32,
        is_retired: bool,
        definition: &Bytes,
    ) -> Result<Self, Vec<String>> {
        Self::new(id, version, is_retired, Definition::from_json(definition)?)
    }

    /// Names of the columns that a table of this form has.
    pub fn columns(&self) -> Vec<String> {
        self.fields.iter().map(|field| field.name.clone()).collect()
    }

    /// Sanitises a document in place; says whether anything changed.
    pub fn sanitise(&self, document: &mut Value) -> bool {
        sanitise::document(document, &self.definition.sanitize)
    }

    /// Checks a document against the schema.
    pub fn check(&self, document: &Value) -> Result<(), Vec<Fault>> {
        self.schema.check(document)
    }

    /// The document that a page's pairs mean.
    pub fn document_of_pairs(&self, pairs: Vec<(String, String)>) -> Map<String, Value> {
        self.coercion.document(pairs)
    }
}
