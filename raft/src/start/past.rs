//! What a node was, from what lies on its disk: opened, repaired by its peers, or set aside.
//!
//! Holds: nothing is set aside before the others lead without it.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use storage::Wal;
use tracing::error;

use super::{Beginning, Progress, blocking};
use crate::aside;
use crate::error::Error;
use crate::identity::Identity;
use crate::mend::{self, Helpers};
use crate::opening::{Opened, Past, Place, open_log, open_state};

/// Between two looks at whether the others lead.
const GIVE_UP_AGAIN: Duration = Duration::from_millis(200);

/// What there was.
pub(super) enum Found {
    Nothing,
    Opened(Box<Opened>),
    /// It was damaged beyond repair, and lies here now.
    SetAside(PathBuf),
}

impl Beginning {
    /// What a node was, if it still is that. One of several whose log has holes has them filled by
    /// its peers before anything else reads it.
    pub(super) async fn open_past(&self, past: Past) -> Result<Found, Error> {
        let (identity, why) = match past {
            Past::None => return Ok(Found::Nothing),
            Past::Of(identity) => match self.open_or_mend(identity).await? {
                Ok(opened) => return Ok(Found::Opened(Box::new(opened))),
                Err(why) => (Some(identity), why),
            },
            Past::Broken(_, error) if !self.has_peers => return Err(error),
            Past::Broken(identity, error) => (identity, error.to_string()),
        };
        self.give_up(identity.as_ref(), &why)
            .await
            .map(Found::SetAside)
    }

    /// Opens what is no one's but this node's, or of a node that is not damaged.
    pub(super) async fn open(&self, identity: Identity) -> Result<Opened, Error> {
        let opened = self.open_or_mend(identity).await?;
        opened.map_err(|what| Error::Start { what })
    }

    /// Opening may read gigabytes, so it gets a thread that nobody else waits for. `Ok(Err(words))`:
    /// what it holds is damaged, and nobody can repair it.
    async fn open_or_mend(&self, identity: Identity) -> Result<Result<Opened, String>, Error> {
        let identity = Identity {
            // Once one of several, never single again: durable before the first peer hears of it.
            ever_had_peers: identity.ever_had_peers || self.has_peers,
            ..identity
        };
        let gives_up = |error: &Error| {
            let is_lost = aside::is_loss(error) || matches!(error, Error::Identity { .. });
            identity.ever_had_peers && is_lost
        };
        let place = Place {
            disk: Arc::clone(&self.setup.disk),
            data_dir: self.setup.data_dir.clone(),
            config: self.setup.storage.clone(),
        };
        let here = place.clone();
        let log = blocking(move || open_log(&here, &identity)).await;
        let (wal, recovered) = match log {
            Ok(log) => log,
            Err(error) if gives_up(&error) => return Ok(Err(error.to_string())),
            Err(error) => return Err(error),
        };
        loop {
            if identity.ever_had_peers
                && 0 < wal.holes()
                && let Err(why) = self.mend(&identity, &wal).await?
            {
                close(wal).await;
                return Ok(Err(why));
            }
            let progress = Arc::clone(&self.progress);
            let tell = move |step| {
                let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
                progress(Progress::Storage(step));
            };
            let (here, log) = (place.clone(), (wal.clone(), recovered.clone()));
            let opened = blocking(move || open_state(&here, log, identity, tell));
            match opened.await {
                Ok(opened) => return Ok(Ok(opened)),
                // A footer was believed, and building the state read what lies under it.
                Err(_) if identity.ever_had_peers && 0 < wal.holes() => {}
                Err(error) if gives_up(&error) => {
                    close(wal).await;
                    return Ok(Err(error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn mend(&self, identity: &Identity, wal: &Wal) -> Result<Result<(), String>, Error> {
        let mut helpers = self.helpers(identity);
        self.desk.set_mending(&self.address, identity, wal);
        let callers = || self.desk.callers();
        mend::mend(wal, &mut helpers, &callers, &|words| self.tell(words)).await
    }

    fn helpers(&self, identity: &Identity) -> Helpers {
        let cluster = identity.cluster.0;
        let mut helpers = Helpers::new(&self.dialer, &self.address, Some(cluster));
        helpers.learn(self.setup.cluster.peers.iter().cloned());
        helpers
    }

    /// This node's past cannot be repaired: once the others lead without it, it is set aside.
    async fn give_up(&self, identity: Option<&Identity>, why: &str) -> Result<PathBuf, Error> {
        error!(error = why, "this node's data is damaged beyond repair");
        self.desk.forget(&self.address);
        let crowd = self.crowd();
        let mut told = String::new();
        loop {
            let callers = self.desk.callers();
            match crowd.others_lead(identity, &callers).await {
                Ok(()) => break,
                Err(whom) => {
                    let words = format!(
                        "this node's data is damaged beyond repair ({why}); before it is set aside the others must \
                         lead without it: waiting for {whom}"
                    );
                    if told != words {
                        self.tell(words.clone());
                        told = words;
                    }
                    tokio::time::sleep(GIVE_UP_AGAIN).await;
                }
            }
        }
        let (disk, dir) = (Arc::clone(&self.setup.disk), self.setup.data_dir.clone());
        let path = blocking(move || aside::set_aside(&*disk, &dir)).await?;
        error!(
            path = %path.display(), error = why,
            "this node's data was set aside as it was found; it joins under a fresh number"
        );
        Ok(path)
    }
}

/// Lets go of a log that is set aside.
async fn close(wal: Wal) {
    // What it could not write any more is no loss: it holds nothing that counts.
    drop(blocking(move || Ok(wal.close()?)).await);
}
