//! Who this node is: `node.meta` in the data directory.
//!
//! ```text
//!  0         8         10      12        16        24            40       44
//!  ├ magic ──┼ version ┼ flags ┼ node ───┼ boot ───┼ cluster ────┼ crc32 ─┤
//! ```
//! Numbers are little-endian; `crc32` covers the 40 bytes before it. Flags: 1 = had peers,
//! 2 = provisional, 4 = joining.
//!
//! Holds: the file is replaced atomically and synced before anything is done under the new `boot`,
//! so two lives of a node never carry the same one; an address is no part of it.
//! Why *provisional*: at genesis the file is written before the log has its first entry. Until that
//! entry is applied an empty log is a genesis cut short; after it, an empty log is a lost log.

use std::fmt;
use std::path::{Path, PathBuf};

use storage::{Disk, NodeId, Sender};

use crate::Error;

const MAGIC: [u8; 8] = *b"FSPLNODE";
const VERSION: u16 = 1;
const LEN: usize = 44;
const HAD_PEERS: u16 = 1;
const PROVISIONAL: u16 = 2;
const JOINING: u16 = 4;

/// A cluster's name: 128 random bits, shown as a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// What `node.meta` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// This member; never reused.
    pub node: NodeId,
    /// How often it has started.
    pub boot: u64,
    /// Once one of several, a node is never treated as single again.
    pub ever_had_peers: bool,
    /// Its first membership entry is not applied yet.
    pub is_provisional: bool,
    /// It has a number and does not vote yet.
    pub is_joining: bool,
}

impl Identity {
    /// Where it is kept.
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("node.meta")
    }

    /// The first node of a new cluster.
    pub(crate) fn genesis(data_dir: &Path) -> Result<Self, Error> {
        let mut cluster = [0; 16];
        storage::simulation::fill(&mut cluster).map_err(|error| Error::Identity {
            path: Self::path(data_dir),
            what: format!("the system gives no random bytes for a cluster id: {error}"),
        })?;
        // The bits that mark a UUID as random.
        let [.., version, _, variant, _, _, _, _, _, _, _] = &mut cluster;
        *version = *version & 0x0f | 0x40;
        *variant = *variant & 0x3f | 0x80;
        Ok(Self {
            cluster: ClusterId(cluster),
            node: NodeId(1),
            boot: 0,
            ever_had_peers: false,
            is_provisional: true,
            is_joining: false,
        })
    }

    /// Reads it; `None` where there is none.
    pub fn load(disk: &dyn Disk, data_dir: &Path) -> Result<Option<Self>, Error> {
        let path = Self::path(data_dir);
        let bytes = match disk.read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(Error::Io {
                    op: "read",
                    path,
                    source,
                });
            }
        };
        match decode(&bytes) {
            Ok(identity) => Ok(Some(identity)),
            Err(what) => Err(Error::Identity { path, what }),
        }
    }

    /// Writes it: durable on return.
    pub(crate) fn save(&self, disk: &dyn Disk, data_dir: &Path) -> Result<(), Error> {
        let path = Self::path(data_dir);
        let bytes = encode(self);
        debug_assert_eq!(
            decode(&bytes).as_ref(),
            Ok(self),
            "what is written reads back"
        );
        match disk.write_atomic(&path, &bytes) {
            Ok(()) => Ok(()),
            Err(source) => Err(Error::Io {
                op: "write",
                path,
                source,
            }),
        }
    }

    /// This life of this node.
    pub fn sender(&self) -> Sender {
        Sender {
            node: self.node,
            boot: self.boot,
        }
    }
}

fn encode(identity: &Identity) -> Vec<u8> {
    let mut flags = 0;
    if identity.ever_had_peers {
        flags |= HAD_PEERS;
    }
    if identity.is_provisional {
        flags |= PROVISIONAL;
    }
    if identity.is_joining {
        flags |= JOINING;
    }
    let mut out = Vec::with_capacity(LEN);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&identity.node.0.to_le_bytes());
    out.extend_from_slice(&identity.boot.to_le_bytes());
    out.extend_from_slice(&identity.cluster.0);
    out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
    assert_eq!(out.len(), LEN, "node.meta has one length");
    out
}

fn decode(bytes: &[u8]) -> Result<Identity, String> {
    let rest = bytes.strip_prefix(&MAGIC).ok_or("it is not a node.meta")?;
    let (version, rest) = number::<2>(rest)?;
    let version = u16::from_le_bytes(version);
    if version != VERSION {
        return Err(format!(
            "it has version {version}, this program reads {VERSION}"
        ));
    }
    let (flags, rest) = number::<2>(rest)?;
    let (node, rest) = number::<4>(rest)?;
    let (boot, rest) = number::<8>(rest)?;
    let (cluster, rest) = number::<16>(rest)?;
    let (crc, rest) = number::<4>(rest)?;
    let covered = bytes
        .len()
        .checked_sub(crc.len())
        .and_then(|end| bytes.get(..end));
    if !rest.is_empty() || covered.map(crc32fast::hash) != Some(u32::from_le_bytes(crc)) {
        return Err("it is damaged: the checksum does not fit".to_owned());
    }
    let flags = u16::from_le_bytes(flags);
    if flags & !(HAD_PEERS | PROVISIONAL | JOINING) != 0 {
        return Err(format!("it has unknown flags {flags:#x}"));
    }
    Ok(Identity {
        cluster: ClusterId(cluster),
        node: NodeId(u32::from_le_bytes(node)),
        boot: u64::from_le_bytes(boot),
        ever_had_peers: flags & HAD_PEERS != 0,
        is_provisional: flags & PROVISIONAL != 0,
        is_joining: flags & JOINING != 0,
    })
}

fn number<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), String> {
    match bytes.split_first_chunk() {
        Some((number, rest)) => Ok((*number, rest)),
        None => Err("it is damaged: it is cut short".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            cluster: ClusterId(*b"0123456789abcdef"),
            node: NodeId(0x0403_0201),
            boot: 5,
            ever_had_peers: true,
            is_provisional: false,
            is_joining: false,
        }
    }

    #[test]
    fn the_bytes_of_node_meta_never_change() {
        let head = b"FSPLNODE\x01\0\x01\0\x01\x02\x03\x04\x05\0\0\0\0\0\0\x000123456789abcdef";
        let bytes = encode(&identity());
        assert_eq!(bytes.get(..40), Some(head.as_slice()));
        assert_eq!(
            bytes.get(40..),
            Some(crc32fast::hash(head).to_le_bytes().as_slice())
        );
        assert_eq!(decode(&bytes), Ok(identity()));
    }

    #[test]
    fn any_flipped_bit_and_any_other_length_is_refused() {
        let bytes = encode(&identity());
        for at in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            assert!(decode(&flipped).is_err(), "bit {at}");
        }
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_err(), "{end} bytes");
        }
        assert!(decode(&[bytes, vec![0]].concat()).is_err());
    }

    #[test]
    fn a_cluster_id_reads_like_a_uuid() {
        assert_eq!(
            identity().cluster.to_string(),
            "30313233-3435-3637-3839-616263646566"
        );
    }
}
