//! Entries on their way to one peer: many requests under way, answered in their order.
//!
//! Holds: bytes and requests under way are bounded; a peer that is silent for [`SILENCE_MAX`] while
//! something is under way is given up, however much is sent meanwhile; an answer of a life that the gate
//! does not let through is dropped.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "any other message is out of place, also one that is not invented yet"
)]

use std::collections::VecDeque;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use openraft::alias::LogIdOf;
use openraft::errors::RPCError;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::mutants::{self, Mutant};
use crate::network::Client;
use crate::peer::link::{Line, LinkError};
use crate::peer::wire::{Append, Appended, Reply, Request, WireEntry};
use crate::types::{self, Types};

/// Requests with entries under way to one peer.
const UNDER_WAY_MAX: usize = 64;
/// Bytes of entries under way to one peer.
const UNDER_WAY_BYTES_MAX: usize = 8 << 20;
/// A peer that answers nothing for so long is dialled anew: a connection that a partition has left
/// in TCP's own back-off may need minutes to find out.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Entries on their way to one peer.
pub(crate) struct Flow<'s, S> {
    client: &'s Client,
    input: S,
    line: Line,
    under_way: VecDeque<UnderWay>,
    bytes: usize,
    /// Since when an answer has been waited for: what is sent meanwhile does not make it wait longer.
    heard: Instant,
    /// Nothing more will come in.
    is_over: bool,
}

/// One request that is not answered yet.
struct UnderWay {
    prev: Option<LogIdOf<Types>>,
    last: Option<LogIdOf<Types>>,
    bytes: usize,
    answer: oneshot::Receiver<Reply>,
}

impl<'s, S: Stream<Item = AppendEntriesRequest<Types>> + Unpin> Flow<'s, S> {
    /// Over this connection.
    pub(crate) fn new(client: &'s Client, input: S, line: Line) -> Self {
        Self {
            client,
            input,
            line,
            under_way: VecDeque::new(),
            bytes: 0,
            heard: Instant::now(),
            is_over: false,
        }
    }

    /// The answer to the oldest request; sends more meanwhile.
    pub(crate) async fn next(
        &mut self,
    ) -> Option<Result<StreamAppendResult<Types>, RPCError<Types>>> {
        loop {
            let has_room = self.under_way.len() < UNDER_WAY_MAX && self.bytes < UNDER_WAY_BYTES_MAX;
            if self.is_over && self.under_way.is_empty() {
                return None;
            }
            tokio::select! {
                biased;
                answer = oldest(&mut self.under_way, self.heard + SILENCE_MAX), if !self.under_way.is_empty() => {
                    return Some(self.answered(answer));
                }
                request = self.input.next(), if has_room && !self.is_over => match request {
                    Some(request) => if let Err(error) = self.send(request).await {
                        return Some(Err(self.client.failed(&error)));
                    },
                    None => self.is_over = true,
                }
            }
        }
    }

    async fn send(&mut self, request: AppendEntriesRequest<Types>) -> Result<(), LinkError> {
        let prev = request.prev_log_id;
        let append = append_of(request);
        let bytes = append.entries.iter().map(WireEntry::payload_len).sum();
        let last = append
            .entries
            .last()
            .map(|entry| types::log_id_out(entry.id()));
        let answer = self.line.send(&Request::Append(append)).await?;
        if self.under_way.is_empty() {
            self.heard = Instant::now();
        }
        self.bytes += bytes;
        self.under_way.push_back(UnderWay {
            prev,
            last: last.or(prev),
            bytes,
            answer,
        });
        Ok(())
    }

    fn answered(
        &mut self,
        answer: Option<Reply>,
    ) -> Result<StreamAppendResult<Types>, RPCError<Types>> {
        let asked = self.under_way.pop_front();
        let (Some(reply), Some(asked)) = (answer, asked) else {
            self.line.hang_up();
            return Err(self.client.failed(&LinkError::Lost("no answer in time")));
        };
        self.bytes -= asked.bytes;
        if !self.client.gate.is_open(self.client.to, &self.line) {
            self.line.hang_up();
            return Err(self.client.failed(&LinkError::Lost("of an earlier life")));
        }
        self.heard = Instant::now();
        match reply {
            Reply::Appended(Appended::All) => Ok(Ok(asked.last)),
            Reply::Appended(Appended::Upto(last)) => Ok(Ok(last.map(types::log_id_out))),
            Reply::Appended(Appended::Conflict) => match asked.prev {
                Some(prev) => Ok(Err(StreamAppendError::Conflict(prev))),
                // Nothing can conflict with "from the beginning".
                None => Err(self
                    .client
                    .nonsense(&Reply::Cannot("an odd conflict".to_owned()))),
            },
            Reply::Appended(Appended::Newer(vote)) => Ok(Err(StreamAppendError::HigherVote(
                types::vote_out(&vote.into()),
            ))),
            other => Err(self.client.nonsense(&other)),
        }
    }
}

/// `None`: lost.
async fn oldest(under_way: &mut VecDeque<UnderWay>, until: Instant) -> Option<Reply> {
    let oldest = under_way.front_mut()?;
    if mutants::is(Mutant::AckBeforeCommit) {
        return Some(Reply::Appended(Appended::All));
    }
    let answer = tokio::time::timeout_at(until, &mut oldest.answer);
    answer.await.ok()?.ok()
}

pub(crate) fn append_of(request: AppendEntriesRequest<Types>) -> Append {
    Append {
        vote: types::vote_in(&request.vote).into(),
        prev: request.prev_log_id.map(types::log_id_in),
        commit: request.leader_commit.map(types::log_id_in),
        entries: request
            .entries
            .into_iter()
            .map(|entry| types::entry_in(entry).into())
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;
    use std::sync::Arc;

    use futures::stream;
    use storage::{NodeId, Wal};
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::gate::Gate;
    use crate::network::Network;
    use crate::peer::hello::Lane;
    use crate::peer::hello::{Welcome, answer, hear};
    use crate::peer::link::Dialer;
    use crate::peer::transport::{Listener, Pipe, Transport};
    use crate::sending::Sending;
    use crate::types::Peer;

    /// Lets callers in and says nothing more.
    struct Silent;

    impl Transport for Silent {
        fn dial<'a>(
            &'a self,
            _: &'a str,
        ) -> futures::future::BoxFuture<'a, io::Result<Box<dyn Pipe>>> {
            Box::pin(async {
                let (near, mut far) = tokio::io::duplex(1 << 20);
                #[expect(clippy::disallowed_methods, reason = "ends with the test")]
                tokio::spawn(async move {
                    hear(&mut far).await.unwrap();
                    let welcome = Welcome::Version {
                        version: 1,
                        boot: 1,
                    };
                    answer(&mut far, &welcome).await.unwrap();
                    std::future::pending::<()>().await;
                });
                Ok(Box::new(near) as Box<dyn Pipe>)
            })
        }

        fn listen(
            &self,
            _: SocketAddr,
        ) -> futures::future::BoxFuture<'_, io::Result<Box<dyn Listener>>> {
            unreachable!("nobody calls")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_noticed_in_time_however_much_is_sent_meanwhile() {
        let disk = Arc::new(storage::FaultDisk::new());
        let settings = storage::WalConfig::simulated();
        let (wal, _) = Wal::open(disk, std::path::Path::new("/wal"), &settings).unwrap();
        let network = Network {
            dialer: Dialer {
                transport: Arc::new(Silent),
                stop: CancellationToken::new(),
                tasks: TaskTracker::new(),
                me: None,
            },
            sending: Sending::default(),
            gate: Gate::default(),
            wal: Wal::open(
                Arc::new(storage::FaultDisk::new()),
                std::path::Path::new("/wal"),
                &storage::WalConfig::simulated(),
            )
            .unwrap()
            .0,
        };
        let peer = Peer {
            address: "somewhere:1".to_owned(),
        };
        let client = network.client(2, &peer, Lane::Append);
        let line = client.appends.line(SILENCE_MAX).await.unwrap();
        // One a second, for ever.
        let input = stream::unfold((), async |()| {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let vote = storage::Vote {
                term: storage::Term(1),
                node: NodeId(1),
                is_committed: true,
            };
            let request = AppendEntriesRequest::<Types> {
                vote: types::vote_out(&vote),
                prev_log_id: None,
                leader_commit: None,
                entries: Vec::new(),
            };
            Some((request, ()))
        });
        let mut flow = Flow::new(&client, Box::pin(input), line);
        let since = Instant::now();
        assert!(matches!(flow.next().await, Some(Err(_))));
        let took = since.elapsed();
        assert!(took <= SILENCE_MAX + Duration::from_secs(1), "{took:?}");
        assert!(flow.line.is_gone());
        wal.close().unwrap();
    }
}
