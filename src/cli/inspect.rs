//! `formspool inspect`: identity, log and state of a data directory, item by item.

use std::path::Path;
use std::sync::Arc;

use storage::{Disk, OsDisk};

use super::error::Error;
use super::out::{Out, plain};
use crate::inspect::walk;

/// Prints it.
pub(super) fn run(out: Out, dir: &Path, has_payloads: bool) -> Result<(), Error> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let walked = walk(&disk, dir, has_payloads, &mut |item| {
        out.either(&item.json, &plain(&item.text))
    });
    match walked {
        Err(crate::inspect::Error::Out(error)) => Err(Error::Out(error)),
        other => Ok(other?),
    }
}
