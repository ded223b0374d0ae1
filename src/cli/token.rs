//! `formspool token`: the admin token, read from its file or made anew.

use std::path::Path;

use bytes::Bytes;
use hyper::Method;
use serde_json::json;
use storage::OsDisk;

use super::client::Client;
use super::error::Error;
use super::out::Out;
use crate::token;

/// The token of this machine's node, if this user may read it.
pub(super) fn read(path: &Path) -> Option<String> {
    token::read(path).ok().flatten()
}

/// Makes a new one: written beside the old, told to the node by its hash, then put in its place.
///
/// In this order no moment leaves the owner without a token that works: until the node answers,
/// the old one is in the file; from then on the new one is, or lies beside it.
pub(super) async fn rotate(out: Out, client: &Client, path: &Path) -> Result<(), Error> {
    let fresh = token::make()?;
    let beside = path.with_extension("token.next");
    let file = |op| {
        move |source| Error::File {
            op,
            path: path.to_owned(),
            source,
        }
    };
    token::write(&OsDisk, &beside, &fresh).map_err(file("write the token beside"))?;
    let hash = token::hash(&fresh)
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let body = Bytes::from(json!({ "hash": format!("sha256:{hash}") }).to_string());
    client.send(Method::PUT, "/v1/token", body).await?;
    token::write(&OsDisk, path, &fresh).map_err(file("replace"))?;
    std::fs::remove_file(&beside).map_err(file("tidy up beside"))?;
    let text = format!(
        "{fresh}\nwritten to {}; the old token has ended",
        path.display()
    );
    Ok(out.either(&json!({ "token": fresh, "file": path }), &text)?)
}
