//! A pack as bytes: the one command of the hot path.
//!
//! Holds: reading borrows keys and bodies from the payload, so applying a pack touches no body,
//! and ids and digests are moved sixteen bytes at a time. The bytes are those of bincode's standard
//! configuration, pinned by the golden test below like every other kind.

use bincode::{BorrowDecode, Encode};

use super::{BYTES_MAX, format};
use crate::command::{Key, Pack, Sender, Submission};
use crate::error::Error;
use crate::ids::{FormId, NodeId};

/// [`Pack`], borrowed.
#[derive(Debug, Encode, BorrowDecode)]
pub(crate) struct WirePack<'a> {
    node: u32,
    boot: u64,
    pub(crate) number: u64,
    pub(crate) submissions: Vec<WireSubmission<'a>>,
}

/// [`Submission`], borrowed.
#[derive(Debug, Encode, BorrowDecode)]
pub(crate) struct WireSubmission<'a> {
    pub(crate) id: [u8; 16],
    form: u32,
    pub(crate) form_version: u32,
    pub(crate) received_ms: u64,
    pub(crate) key: Option<WireKey<'a>>,
    pub(crate) digest: [u8; 16],
    pub(crate) is_withheld: bool,
    pub(crate) body: &'a [u8],
}

/// [`Key`], borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub(crate) enum WireKey<'a> {
    Own(&'a str),
    Line { header: &'a str, line: u32 },
}

impl WirePack<'_> {
    pub(crate) const fn sender(&self) -> Sender {
        Sender {
            node: NodeId(self.node),
            boot: self.boot,
        }
    }

    pub(super) fn to_owned(&self) -> Pack {
        Pack {
            sender: self.sender(),
            number: self.number,
            submissions: self
                .submissions
                .iter()
                .map(WireSubmission::to_owned)
                .collect(),
        }
    }
}

impl WireSubmission<'_> {
    pub(crate) const fn form(&self) -> FormId {
        FormId(self.form)
    }

    fn to_owned(&self) -> Submission {
        Submission {
            id: self.id,
            form: self.form(),
            form_version: self.form_version,
            received_ms: self.received_ms,
            key: self.key.map(WireKey::to_owned),
            digest: self.digest,
            is_withheld: self.is_withheld,
            body: self.body.to_vec().into(),
        }
    }
}

impl<'a> WireKey<'a> {
    pub(crate) const fn from_key(key: &'a Key) -> Self {
        match key {
            Key::Own(own) => Self::Own(own.as_str()),
            Key::Line { header, line } => Self::Line {
                header: header.as_str(),
                line: *line,
            },
        }
    }

    fn to_owned(self) -> Key {
        match self {
            Self::Own(own) => Key::Own(own.to_owned()),
            Self::Line { header, line } => Key::Line {
                header: header.to_owned(),
                line,
            },
        }
    }
}

pub(super) fn write_pack(pack: &Pack, bytes: &mut Vec<u8>) {
    let wire = WirePack {
        node: pack.sender.node.0,
        boot: pack.sender.boot,
        number: pack.number,
        submissions: pack
            .submissions
            .iter()
            .map(|submission| WireSubmission {
                id: submission.id,
                form: submission.form.0,
                form_version: submission.form_version,
                received_ms: submission.received_ms,
                key: submission.key.as_ref().map(WireKey::from_key),
                digest: submission.digest,
                is_withheld: submission.is_withheld,
                body: &submission.body,
            })
            .collect(),
    };
    bytes.reserve(
        pack.submissions
            .iter()
            .map(|each| each.body.len() + 64)
            .sum(),
    );
    if let Err(error) = bincode::encode_into_std_write(wire, bytes, format()) {
        unreachable!("a pack of ours always encodes into memory: {error}");
    }
}

/// Who sent the pack of a `Submit` payload; `None`: the payload is something else.
pub(crate) fn sender(payload: &[u8]) -> Option<Sender> {
    let &[kind, version, ref body @ ..] = payload else {
        return None;
    };
    if kind != super::SUBMIT || version != super::VERSION {
        return None;
    }
    let (node, boot): (u32, u64) = bincode::decode_from_slice(body, format()).ok()?.0;
    Some(Sender {
        node: NodeId(node),
        boot,
    })
}

/// The pack of a `Submit` payload; its head is checked as well.
pub(crate) fn read_pack(payload: &[u8]) -> Result<WirePack<'_>, Error> {
    let &[kind, version, ref body @ ..] = payload else {
        return Err(Error::Decode {
            what: "a command: shorter than its head",
        });
    };
    if kind != super::SUBMIT || version != super::VERSION {
        return Err(Error::UnknownCommand { kind, version });
    }
    match bincode::borrow_decode_from_slice(body, format()) {
        Ok((pack, taken)) if taken == body.len() => Ok(pack),
        Ok(_) => Err(Error::Decode {
            what: "a command: bytes after its end",
        }),
        Err(_) => Err(Error::Decode {
            what: "a command: its pack",
        }),
    }
}

const _: () = assert!(
    crate::command::PACK_SUBMISSIONS_MAX * size_of::<WireSubmission<'static>>()
        + crate::command::PACK_BYTES_MAX
        < BYTES_MAX,
    "a full pack decodes"
);
