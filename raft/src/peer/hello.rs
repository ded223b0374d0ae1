//! The first words on a connection: who speaks to whom, in which version, about what.
//!
//! ```text
//!  caller:    ├ "FSPLPEER" ┼ frame: Hello ──┤
//!  listener:  ├ frame: Welcome | Refusal ───┤
//! ```
//! Holds: a listener of another cluster or another number refuses, in words, and answers nothing
//! else: so mail for a node that was replaced never reaches the one that now has its address. Only
//! [`Lane::Talk`] may be opened without naming cluster and number, because a node without an identity
//! must be able to ask.

use std::io;

use serde::{Deserialize, Serialize};
use storage::NodeId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::frame::{frame, read_frame};
use super::transport::Pipe;

pub(crate) const MAGIC: [u8; 8] = *b"FSPLPEER";
/// What a stranger may make this node read: a hello is forty bytes, a refusal a sentence.
const WORDS_BYTES_MAX: usize = 4096;
/// The oldest version of the protocol that this program speaks.
pub(crate) const VERSION_MIN: u16 = 1;
/// The newest.
pub(crate) const VERSION_MAX: u16 = 1;

/// What a connection is for: a long one of one kind never holds up another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Lane {
    /// Entries for a follower.
    Append,
    /// Votes, heartbeats, handing over.
    Vote,
    /// Checkpoints.
    Snapshot,
    /// Commands for the leader.
    Forward,
    /// Everything else: how one stands, founding, joining, operations.
    Talk,
}

/// What the caller says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Versions that it speaks, both ends included.
    pub(crate) versions: (u16, u16),
    pub(crate) lane: Lane,
    /// `None`: it has none yet.
    pub(crate) cluster: Option<[u8; 16]>,
    /// `None`: it has no number yet.
    pub(crate) from: Option<NodeId>,
    /// Whom it wants to speak to; `None`: whoever is there.
    pub(crate) to: Option<NodeId>,
}

/// What the listener answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Welcome {
    /// In this version, then.
    Version {
        /// Which.
        version: u16,
        /// Which life of the listener this is; 0 where it has no identity.
        boot: u64,
    },
    /// No, and why, for people.
    Refused(String),
}

/// Who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Me {
    pub(crate) cluster: [u8; 16],
    pub(crate) node: NodeId,
    /// 0 before its life has begun.
    pub(crate) boot: u64,
}

impl Hello {
    /// What a listener answers to this.
    pub(crate) fn judge(&self, me: Option<Me>) -> Welcome {
        let (low, high) = self.versions;
        let version = high.min(VERSION_MAX);
        if version < low.max(VERSION_MIN) {
            return Welcome::Refused(format!(
                "this program speaks versions {VERSION_MIN} to {VERSION_MAX} of the peer \
                 protocol, the caller speaks {low} to {high}: upgrade the older one"
            ));
        }
        let welcome = Welcome::Version {
            version,
            boot: me.map_or(0, |me| me.boot),
        };
        let is_stranger = self.cluster.is_none() && self.to.is_none();
        match me {
            _ if is_stranger && self.lane == Lane::Talk => welcome,
            None => Welcome::Refused("this node is not a member of any cluster yet".to_owned()),
            Some(me) if self.cluster != Some(me.cluster) => Welcome::Refused(format!(
                "this node belongs to cluster {}, the caller to {}",
                crate::identity::ClusterId(me.cluster),
                self.cluster.map_or_else(
                    || "none".to_owned(),
                    |id| crate::identity::ClusterId(id).to_string()
                ),
            )),
            Some(me) if self.to.is_some_and(|to| to != me.node) => Welcome::Refused(format!(
                "this is node {}, not node {}",
                me.node,
                self.to.unwrap_or_default()
            )),
            Some(me) if self.from == Some(me.node) => {
                Welcome::Refused(format!("the caller says that it is node {} too", me.node))
            }
            // Only a life that has begun takes part.
            Some(me) if me.boot == 0 && self.lane != Lane::Talk => {
                Welcome::Refused("this node is still starting".to_owned())
            }
            Some(_) => welcome,
        }
    }
}

/// The caller's side.
pub(crate) async fn greet(pipe: &mut dyn Pipe, hello: &Hello) -> io::Result<Welcome> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&frame(0, hello)?);
    pipe.write_all(&out).await?;
    pipe.flush().await?;
    match read_frame(pipe, WORDS_BYTES_MAX).await? {
        Some(answer) => answer.read(),
        None => Err(io::Error::other("the connection was closed without a word")),
    }
}

/// The listener's side: what the caller said, to be answered by [`answer`].
pub(crate) async fn hear(pipe: &mut dyn Pipe) -> io::Result<Hello> {
    let mut magic = [0; MAGIC.len()];
    pipe.read_exact(&mut magic).await?;
    if magic != MAGIC {
        return Err(io::Error::other("the caller does not speak this protocol"));
    }
    match read_frame(pipe, WORDS_BYTES_MAX).await? {
        Some(hello) => hello.read(),
        None => Err(io::Error::other("the caller said nothing")),
    }
}

/// Tells the caller.
pub(crate) async fn answer(pipe: &mut dyn Pipe, welcome: &Welcome) -> io::Result<()> {
    pipe.write_all(&frame(0, welcome)?).await?;
    pipe.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Me = Me {
        cluster: [7; 16],
        node: NodeId(2),
        boot: 5,
    };

    fn hello(lane: Lane) -> Hello {
        Hello {
            versions: (VERSION_MIN, VERSION_MAX),
            lane,
            cluster: Some(ME.cluster),
            from: Some(NodeId(1)),
            to: Some(ME.node),
        }
    }

    fn welcome(version: u16) -> Welcome {
        Welcome::Version { version, boot: 5 }
    }

    fn words(welcome: Welcome) -> String {
        match welcome {
            Welcome::Refused(words) => words,
            Welcome::Version { version, .. } => panic!("welcome in version {version}"),
        }
    }

    #[test]
    fn a_member_is_welcome_and_a_stranger_may_only_talk() {
        for lane in [
            Lane::Append,
            Lane::Vote,
            Lane::Snapshot,
            Lane::Forward,
            Lane::Talk,
        ] {
            assert_eq!(hello(lane).judge(Some(ME)), welcome(VERSION_MAX));
            let stranger = Hello {
                cluster: None,
                from: None,
                to: None,
                ..hello(lane)
            };
            let may = matches!(stranger.judge(Some(ME)), Welcome::Version { .. });
            assert_eq!(may, lane == Lane::Talk, "{lane:?}");
            assert_eq!(
                matches!(stranger.judge(None), Welcome::Version { .. }),
                lane == Lane::Talk
            );
        }
    }

    #[test]
    fn a_life_that_has_not_begun_may_be_asked_and_takes_no_part() {
        let starting = Me { boot: 0, ..ME };
        let talk = hello(Lane::Talk).judge(Some(starting));
        assert!(matches!(talk, Welcome::Version { boot: 0, .. }));
        for lane in [Lane::Append, Lane::Vote, Lane::Snapshot, Lane::Forward] {
            assert!(words(hello(lane).judge(Some(starting))).contains("still starting"));
        }
    }

    #[test]
    fn another_cluster_number_or_double_is_refused_in_words() {
        let other = Hello {
            cluster: Some([8; 16]),
            ..hello(Lane::Vote)
        };
        assert!(words(other.judge(Some(ME))).contains("belongs to cluster 07070707-"));
        let old = Hello {
            to: Some(NodeId(9)),
            ..hello(Lane::Vote)
        };
        assert_eq!(words(old.judge(Some(ME))), "this is node 2, not node 9");
        let double = Hello {
            from: Some(ME.node),
            ..hello(Lane::Vote)
        };
        assert!(words(double.judge(Some(ME))).contains("node 2 too"));
        assert!(words(hello(Lane::Vote).judge(None)).contains("not a member"));
    }

    #[test]
    fn an_older_and_a_newer_program_meet_in_a_version_that_both_speak_or_say_why_not() {
        let speaks = |low, high| {
            Hello {
                versions: (low, high),
                ..hello(Lane::Vote)
            }
            .judge(Some(ME))
        };
        assert_eq!(speaks(0, 1), welcome(1));
        assert_eq!(speaks(1, 9), welcome(VERSION_MAX));
        assert!(words(speaks(8, 9)).contains("the caller speaks 8 to 9"));
        assert!(words(speaks(0, 0)).contains("upgrade the older one"));
    }
}
