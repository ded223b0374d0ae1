//! Membership <-> bytes: our own encoding, because openraft's may change between its versions. And the
//! one place that knows how messages between members become bytes.
//!
//! ```text
//! version u8 = 1
//! configs u8 (1, or 2 in a joint change), each: count u8, then count x node u32
//! members u8, each: node u32, address length u16, address (UTF-8)
//! ```
//! All numbers little-endian, all lists in rising order of the node's number, so that equal
//! memberships have equal bytes. Decoding consumes exactly all of it.
//! Holds: there is no checksum here; the WAL record around it has one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use storage::{NodeId, Voters};

use crate::types::{Membership, Peer};

const VERSION: u8 = 1;

/// Why bytes are no membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("membership of version {0}, this program reads {VERSION}")]
    Version(u8),
    #[error("membership is cut short or overlong")]
    Length,
    #[error("membership is malformed: {0}")]
    Malformed(&'static str),
}

/// Writes a message to a peer.
pub(crate) fn write_wire<T: Serialize>(message: &T, to: &mut impl io::Write) -> io::Result<()> {
    let options = bincode::config::standard();
    let written = bincode::serde::encode_into_std_write(message, to, options);
    written.map(drop).map_err(io::Error::other)
}

/// Reads one, and says how long it was. A length in it never makes this node take more memory than
/// `BYTES_MAX`.
pub(crate) fn read_wire<T: DeserializeOwned, const BYTES_MAX: usize>(
    bytes: &[u8],
) -> io::Result<(T, usize)> {
    let options = bincode::config::standard().with_limit::<BYTES_MAX>();
    bincode::serde::decode_from_slice(bytes, options).map_err(io::Error::other)
}

pub(crate) fn encode_membership(members: &Membership) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(VERSION);
    let configs = members.get_joint_config();
    out.put_u8(count(configs.len()));
    for config in configs {
        out.put_u8(count(config.len()));
        for node in config {
            out.put_u32_le(number(*node));
        }
    }
    out.put_u8(count(members.nodes().count()));
    for (node, peer) in members.nodes() {
        out.put_u32_le(number(*node));
        let address = peer.address.as_bytes();
        let length = u16::try_from(address.len());
        let length = length.unwrap_or_else(|_| panic!("an address of {} bytes", address.len()));
        out.put_u16_le(length);
        out.put_slice(address);
    }
    out.freeze()
}

pub(crate) fn decode_membership(bytes: &[u8]) -> Result<Membership, DecodeError> {
    let mut input = Input(bytes);
    let version = input.u8()?;
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    let mut configs = Vec::new();
    for _ in 0..input.u8()? {
        let mut config = BTreeSet::new();
        for _ in 0..input.u8()? {
            config.insert(u64::from(input.u32()?));
        }
        configs.push(config);
    }
    let mut nodes = BTreeMap::new();
    for _ in 0..input.u8()? {
        let node = u64::from(input.u32()?);
        let length = input.u16()?;
        let address = std::str::from_utf8(input.take(usize::from(length))?)
            .map_err(|_| DecodeError::Malformed("an address is not UTF-8"))?
            .to_owned();
        nodes.insert(node, Peer { address });
    }
    if !input.0.is_empty() {
        return Err(DecodeError::Length);
    }
    Membership::new(configs, nodes)
        .map_err(|_| DecodeError::Malformed("a voter is not among the members"))
}

/// How many nodes vote by these bytes. The state asks at each membership entry that it applies.
///
/// # Panics
///
/// When a newer program wrote them: to go on would put a wrong number into receipts.
pub fn voters_of(bytes: &[u8]) -> Voters {
    match decode_membership(bytes) {
        Ok(members) => voters(&members),
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn voters(members: &Membership) -> Voters {
    let quorum = |config: &BTreeSet<u64>| config.len() / 2 + 1;
    let quorum = members.get_joint_config().iter().map(quorum).max();
    Voters {
        quorum: count(quorum.unwrap_or(0)),
        count: count(members.voter_ids().count()),
    }
}

/// All members and their addresses.
pub(crate) fn members(membership: &Membership) -> Vec<(NodeId, String)> {
    let all = membership.nodes();
    all.map(|(node, peer)| (crate::types::node_in(*node), peer.address.clone()))
        .collect()
}

fn count(len: usize) -> u8 {
    u8::try_from(len).unwrap_or_else(|_| panic!("{len} members"))
}

fn number(node: u64) -> u32 {
    crate::types::node_in(node).0
}

/// What is left to decode.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(DecodeError::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(DecodeError::Length)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer {
            address: address.to_owned(),
        }
    }

    fn joint() -> Membership {
        Membership::new(
            vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3, 4])],
            BTreeMap::from([
                (1, peer("a:1")),
                (2, peer("b:1")),
                (3, peer("")),
                (4, peer("d:1")),
            ]),
        )
        .unwrap()
    }

    #[test]
    fn the_bytes_of_a_membership_never_change() {
        let single = Membership::new(
            vec![BTreeSet::from([1])],
            BTreeMap::from([(1, peer("a:7"))]),
        )
        .unwrap();
        let bytes = [1, 1, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 3, 0, b'a', b':', b'7'];
        assert_eq!(encode_membership(&single).as_ref(), bytes);
        assert_eq!(decode_membership(&bytes), Ok(single));
    }

    #[test]
    fn a_joint_membership_comes_back_whole() {
        assert_eq!(decode_membership(&encode_membership(&joint())), Ok(joint()));
    }

    #[test]
    fn no_prefix_and_no_extension_of_the_bytes_is_taken() {
        let bytes = encode_membership(&joint());
        for end in 0..bytes.len() {
            assert!(decode_membership(&bytes[..end]).is_err(), "{end} bytes");
        }
        let mut long = bytes.to_vec();
        long.push(0);
        assert_eq!(decode_membership(&long), Err(DecodeError::Length));
    }

    #[test]
    fn a_newer_version_is_named_not_guessed() {
        assert_eq!(decode_membership(&[2, 0, 0]), Err(DecodeError::Version(2)));
    }

    #[test]
    fn a_receipt_counts_the_larger_majority_of_a_joint_change() {
        assert_eq!(
            voters(&joint()),
            Voters {
                quorum: 2,
                count: 4
            }
        );
        let wide = Membership::new(
            vec![BTreeSet::from([1]), BTreeSet::from([1, 2, 3, 4, 5])],
            (1..=5)
                .map(|node| (node, Peer::default()))
                .collect::<BTreeMap<_, _>>(),
        )
        .unwrap();
        assert_eq!(
            voters(&wide),
            Voters {
                quorum: 3,
                count: 5
            }
        );
    }
}
