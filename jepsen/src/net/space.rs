//! A network namespace, held by its file alone: it has no name and lives as long as somebody
//! holds it or is in it.
//!
//! Why threads: a namespace belongs to a thread. One that is made for a piece of work and ends
//! with it can neither forget to come back nor be found in the wrong one by a scheduler.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::net::kernel;

#[derive(Clone, Debug)]
pub(crate) struct Space(Arc<File>);

impl Space {
    /// A new one, with nothing in it.
    pub(super) fn fresh() -> anyhow::Result<Self> {
        on_a_thread(|| {
            kernel::new_network().context("cannot make a network namespace")?;
            Self::own()
        })?
    }

    /// The one that this thread is in.
    pub(super) fn own() -> anyhow::Result<Self> {
        let path = "/proc/thread-self/ns/net";
        let file = std::fs::OpenOptions::new().read(true).open(path);
        let file = file.with_context(|| format!("cannot open {path}"))?;
        Ok(Self(Arc::new(file)))
    }

    /// Does it in there, on a thread of its own. What that starts stays in there.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        on_a_thread(|| {
            move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                .context("cannot enter a network namespace")?;
            anyhow::Ok(work())
        })?
    }
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
    let done = std::thread::scope(|scope| scope.spawn(work).join());
    done.map_err(|_| anyhow!("a thread died"))
}
