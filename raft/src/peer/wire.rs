//! What members say to each other, as our own types: openraft's may change between its versions.
//!
//! Holds: a variant is only ever added at the end, a field never: a changed shape is a new variant
//! that is used once the connection's version allows it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use storage::{Entry, EntryKind, Floor, Index, LogId, NodeId, Outcome, Term, Vote};

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Keep these entries, behind that one.
    Append(Append),
    /// Vote for me.
    Vote(Ballot),
    /// Would you vote for me?
    PreVote(Ballot),
    /// Stand for election now.
    Transfer(Handover),
    /// A checkpoint follows, in pieces.
    Snapshot(Offer),
    /// Its next bytes; nothing more when empty.
    Piece(Bytes),
    /// Put this command into the log.
    Propose(Bytes),
    /// Up to where must one read to see everything acknowledged?
    ReadIndex,
    /// How do you stand?
    Ask(Asking),
    /// Be a founding member.
    Found(Founding),
    /// Give me a number.
    Join(Joining),
    /// Make me a member, in place of whoever had my address.
    Enroll(Enrolling),
    /// A person asks for this.
    Operate(Operation),
    /// Send me entries that I have lost.
    Fetch(Fetching),
}

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// To `Append`.
    Appended(Appended),
    /// To `Vote` and `PreVote`.
    Voted(Voted),
    /// To `Transfer`; words where it was refused.
    Transferred(Result<(), Declined>),
    /// To `Snapshot`, at its end: the vote of whoever took it or did not.
    Installed(Ballotless),
    /// To `Propose`.
    Proposed(Proposed),
    /// To `ReadIndex`: `None`, this node does not lead or cannot show that it does.
    ReadIndex(Option<Index>),
    /// To `Ask`.
    Facts(Box<Facts>),
    /// To `Found`, `Enroll` and `Operate`.
    Done(Result<String, String>),
    /// To `Join`.
    Joined(Result<Joined, String>),
    /// To `Fetch`.
    Entries(Vec<WireEntry>),
    /// The request cannot be answered, and why.
    Cannot(String),
}

/// A vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireVote {
    term: Term,
    node: NodeId,
    is_committed: bool,
}

impl From<Vote> for WireVote {
    fn from(vote: Vote) -> Self {
        Self {
            term: vote.term,
            node: vote.node,
            is_committed: vote.is_committed,
        }
    }
}

impl From<WireVote> for Vote {
    fn from(vote: WireVote) -> Self {
        Self {
            term: vote.term,
            node: vote.node,
            is_committed: vote.is_committed,
        }
    }
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireEntry {
    id: LogId,
    kind: WireKind,
    payload: Bytes,
}

impl WireEntry {
    pub(crate) const fn id(&self) -> LogId {
        self.id
    }

    pub(crate) const fn payload_len(&self) -> usize {
        self.payload.len()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum WireKind {
    Blank,
    Command,
    Membership,
}

impl From<Entry> for WireEntry {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id,
            kind: match entry.kind {
                EntryKind::Blank => WireKind::Blank,
                EntryKind::Command => WireKind::Command,
                EntryKind::Membership => WireKind::Membership,
            },
            payload: entry.payload,
        }
    }
}

impl From<WireEntry> for Entry {
    fn from(entry: WireEntry) -> Self {
        Self {
            id: entry.id,
            kind: match entry.kind {
                WireKind::Blank => EntryKind::Blank,
                WireKind::Command => EntryKind::Command,
                WireKind::Membership => EntryKind::Membership,
            },
            payload: entry.payload,
        }
    }
}

/// Entries behind `prev`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Append {
    pub(crate) vote: WireVote,
    pub(crate) prev: Option<LogId>,
    pub(crate) commit: Option<LogId>,
    pub(crate) entries: Vec<WireEntry>,
}

/// What became of them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Appended {
    /// They are durable here.
    All,
    /// Those up to this one are.
    Upto(Option<LogId>),
    /// `prev` is not in this log.
    Conflict,
    /// Somebody newer leads.
    Newer(WireVote),
}

/// A candidate.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Ballot {
    pub(crate) vote: WireVote,
    pub(crate) last: Option<LogId>,
    /// The present leader asked for it.
    pub(crate) is_handover: bool,
}

/// What a voter says.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Voted {
    pub(crate) vote: WireVote,
    pub(crate) is_granted: bool,
    pub(crate) last: Option<LogId>,
}

/// A leader that wants another to lead.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Handover {
    pub(crate) from: WireVote,
    pub(crate) to: NodeId,
    pub(crate) last: Option<LogId>,
}

/// Why it will not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Declined {
    /// It follows somebody else by now.
    Vote(WireVote),
    /// Its log does not reach so far, or may have lost its end.
    Log(Option<LogId>),
}

/// A checkpoint that is about to be sent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Offer {
    pub(crate) vote: WireVote,
    /// The last entry that it holds.
    pub(crate) id: LogId,
}

/// The receiver's vote when a checkpoint was taken, or was not.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Ballotless {
    pub(crate) vote: WireVote,
}

/// What became of a command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Proposed {
    /// Committed, and applied at the leader.
    Applied(LogId, Outcome),
    /// In no log: that node does not lead.
    NotLeader(Option<NodeId>),
    /// It may be applied yet.
    Unknown,
    /// In no log: that node is stopping or has stopped.
    Stopping,
}

/// Who asks how one stands, and how they themselves do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Asking {
    pub(crate) mine: Option<Box<Facts>>,
}

/// How a node stands.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is true or not by itself"
)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) address: String,
    /// `None`: it has no identity.
    pub(crate) node: Option<NodeId>,
    pub(crate) cluster: Option<[u8; 16]>,
    pub(crate) boot: u64,
    /// It has no vote and no log, so it can be a founder.
    pub(crate) is_pristine: bool,
    /// Its raft runs.
    pub(crate) is_running: bool,
    pub(crate) vote: Option<WireVote>,
    /// Who leads, as far as it knows, and where.
    pub(crate) leader: Option<(NodeId, String)>,
    pub(crate) last: Option<LogId>,
    pub(crate) committed: Option<LogId>,
    pub(crate) applied: Index,
    /// Who the members are, as of the newest membership in its log, and that entry.
    pub(crate) members: Vec<(NodeId, String)>,
    pub(crate) members_at: Index,
    pub(crate) floor: Option<WireFloor>,
    /// Entries that it cannot read.
    pub(crate) holes: u64,
    /// Its log, by its own random name: another one is another disk.
    pub(crate) wal: [u8; 16],
    pub(crate) free_bytes: u64,
    /// Its disk takes no more.
    pub(crate) is_full: bool,
    /// Its syncs have been slow.
    pub(crate) is_sick: bool,
    /// What it would need to serve all tasks and does not have, in words.
    pub(crate) lacks: Option<String>,
    /// Digests at indexes where all keep them, newest last.
    pub(crate) digests: Vec<(Index, [u8; 16], u128)>,
    /// The highest level of rules that it knows.
    pub(crate) level_max: u32,
    /// Up to here its own destinations have everything.
    pub(crate) delivered: Index,
    /// While it leads: up to where each follower has acknowledged its log.
    pub(crate) acked: Vec<(NodeId, LogId)>,
}

/// An amnesia floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum WireFloor {
    Upto(LogId),
    Unknown,
}

impl From<Floor> for WireFloor {
    fn from(floor: Floor) -> Self {
        match floor {
            Floor::Upto(id) => Self::Upto(id),
            Floor::Unknown => Self::Unknown,
        }
    }
}

impl From<WireFloor> for Floor {
    fn from(floor: WireFloor) -> Self {
        match floor {
            WireFloor::Upto(id) => Self::Upto(id),
            WireFloor::Unknown => Self::Unknown,
        }
    }
}

/// A cluster that is being founded, and the number in it of whoever is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Founding {
    pub(crate) cluster: [u8; 16],
    pub(crate) node: NodeId,
    pub(crate) members: Vec<(NodeId, String)>,
}

/// Somebody with an empty disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Joining {
    pub(crate) address: String,
}

/// The number that it got.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Joined {
    pub(crate) cluster: [u8; 16],
    pub(crate) node: NodeId,
}

/// A node with a number that is no member yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Enrolling {
    pub(crate) node: NodeId,
    pub(crate) address: String,
}

/// What a person may ask of the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Operation {
    Transfer(Option<NodeId>),
    Remove(NodeId),
    AcceptTailLoss,
}

/// Entries from `first` to `last`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Fetching {
    pub(crate) first: Index,
    pub(crate) last: Index,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::frame::frame;
    use crate::peer::hello::{Hello, Lane, MAGIC};

    fn from_hex(text: &str) -> Vec<u8> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let bytes = lines.flat_map(str::split_whitespace);
        bytes
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect()
    }

    const fn id(term: u64, node: u32, index: u64) -> LogId {
        LogId {
            term: Term(term),
            node: NodeId(node),
            index: Index(index),
        }
    }

    const fn leads(term: u64, node: u32) -> WireVote {
        WireVote {
            term: Term(term),
            node: NodeId(node),
            is_committed: true,
        }
    }

    #[test]
    fn the_bytes_of_a_hello_in_version_1_never_change() {
        let hello = Hello {
            versions: (1, 1),
            lane: Lane::Append,
            cluster: Some(std::array::from_fn(|at| u8::try_from(at).unwrap())),
            from: Some(NodeId(1)),
            to: Some(NodeId(2)),
        };
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&frame(0, &hello).unwrap());
        assert_eq!(bytes, from_hex(include_str!("../../testdata/hello.v1.hex")));
    }

    #[test]
    fn the_bytes_of_an_append_and_its_answers_in_version_1_never_change() {
        let entry = |index, kind, payload| WireEntry {
            id: id(3, 1, index),
            kind,
            payload: Bytes::from_static(payload),
        };
        let append = Request::Append(Append {
            vote: leads(3, 1),
            prev: Some(id(2, 2, 300)),
            commit: Some(id(2, 2, 299)),
            entries: vec![
                entry(301, WireKind::Blank, b""),
                entry(302, WireKind::Command, b"opaque"),
            ],
        });
        assert_eq!(
            frame(1, &append).unwrap(),
            from_hex(include_str!("../../testdata/append.v1.hex"))
        );
        let answers = [
            Appended::All,
            Appended::Upto(Some(id(3, 1, 301))),
            Appended::Conflict,
            Appended::Newer(leads(5, 2)),
        ];
        let answers = answers.map(|answer| frame(1, &Reply::Appended(answer)).unwrap());
        assert_eq!(
            answers.concat(),
            from_hex(include_str!("../../testdata/appended.v1.hex"))
        );
    }
}
