//! `formspool serve`: a node, from its start to its end.

use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::{debug, info, warn};

use super::error::Error;
use super::out::Out;
use crate::config::Loaded;
use crate::node::{self, Node};
use crate::telemetry;

/// Threads for work that blocks: reads of the log, sheets. Each may hold a stack and a heap of its
/// own, so the default of 512 is no bound for a small node.
const BLOCKING_THREADS_MAX: usize = 64;
/// What is left of blocking work when everything else has ended is waited for this long.
const LAST_WAIT: Duration = Duration::from_millis(200);

/// Runs until a signal, or until the node stops for good.
pub(super) fn run(out: Out, loaded: &Loaded) -> Result<(), Error> {
    telemetry::start(&loaded.config.log);
    raise_open_files();
    #[cfg(feature = "mutants")]
    if let Some(name) = crate::config::pick_mutant().map_err(|why| Error::Problems(vec![why]))? {
        warn!(name, "this process is wrong on purpose");
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("formspool")
        .enable_all()
        .build()
        .map_err(|source| node::Error::System {
            op: "start threads",
            source,
        })?;
    let result = runtime.block_on(async {
        let node = match Node::start(loaded).await {
            // As asked: nothing was taken in, so nothing is left undone.
            Err(node::Error::Interrupted(name)) => {
                info!(signal = name, "ended while starting");
                return Ok(());
            }
            started => started?,
        };
        let banner = node.banner();
        if let Err(error) = out.either(banner, &banner.in_words()) {
            warn!(%error, "nobody reads the banner");
        }
        node.run().await
    });
    runtime.shutdown_timeout(LAST_WAIT);
    Ok(result?)
}

/// Every connection is an open file; shells give a thousand, the system allows many more.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => debug!(files = ?limit.maximum, "open files raised"),
        Err(error) => warn!(%error, files = ?limit.current, "open files not raised"),
    }
}
