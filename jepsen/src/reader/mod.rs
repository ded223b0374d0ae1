//! Readers: every way in which the product shows records, each read into a `Sight`.

pub(crate) mod cli;
pub(crate) mod http;
pub(crate) mod kafka;
pub(crate) mod sheet;
pub(crate) mod sheets;
