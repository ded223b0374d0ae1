//! `formspool config`: all settings, explained or as they are.

use serde_json::json;

use super::error::Error;
use super::out::{self, Out};
use crate::config::{Config, Loaded, default_file};

/// Every setting with its default and what it means.
pub(super) fn default(out: Out) -> Result<(), Error> {
    Ok(out.either(&Config::default(), &default_file())?)
}

/// Every setting as it is, and where it was set if it is not the default.
pub(super) fn show(out: Out, loaded: &Loaded) -> Result<(), Error> {
    if out.is_json {
        return Ok(out::json(
            &json!({ "settings": loaded.config, "set": loaded.set }),
        )?);
    }
    let mut text = toml::to_string(&loaded.config).unwrap_or_default();
    for (key, from) in &loaded.set {
        text.extend(["# ", key, ": ", from, "\n"]);
    }
    Ok(out::text(&text)?)
}
