//! What a form is: its definition, its compiled schema, what sanitising does, its hosted page.
//!
//! Holds: a definition is data (JSON in the replicated state); everything else here is derived
//! from it and can be thrown away. Nothing here knows HTTP, the log or a clock.

mod coerce;
mod definition;
mod fault;
mod field;
mod form;
mod page;
mod reader;
mod registry;
mod sanitise;
mod schema;
mod stored;
mod task;
mod words;

pub use definition::{DEFINITION_BYTES_MAX, Definition, Limits, RESERVED, Rule};
pub use fault::Fault;
pub(crate) use fault::pointer_step;
pub use field::{Choice, Field, Kind};
pub use form::Form;
pub use page::{PageInput, form_page, message_page, style_source, thanks_page};
pub use registry::{FormSummary, Registry};
#[cfg(test)]
pub(crate) use sanitise::document as sanitise_document;
pub use schema::Schema;
pub use stored::StoredTask;
pub use task::{Csv, OnPoison, SinkKind, Start, TaskDefinition};
