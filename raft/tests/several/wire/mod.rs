//! The peer protocol by hand: what an older program says, byte for byte.
//!
//! Nothing here uses the crate's own encoding: it is what that is compared with.
#![expect(clippy::unwrap_used, reason = "a test")]

pub(crate) mod lossy;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use raft::{Node, Setup};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::site::{LIMIT, Site, start};

pub(crate) const APPEND: u8 = 0;
pub(crate) const SNAPSHOT: u8 = 2;
pub(crate) const FORWARD: u8 = 3;
pub(crate) const TALK: u8 = 4;

/// A frame around a body.
pub(crate) fn frame(number: u64, body: &[u8]) -> Vec<u8> {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&number.to_le_bytes());
    crc.update(body);
    let mut bytes = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
    bytes.extend_from_slice(&crc.finalize().to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// The first words of a caller. Numbers below 251 are one byte each.
pub(crate) fn hello(
    versions: (u8, u8),
    lane: u8,
    cluster: Option<[u8; 16]>,
    from: Option<u8>,
    to: Option<u8>,
) -> Vec<u8> {
    let mut body = vec![versions.0, versions.1, lane];
    match cluster {
        Some(id) => {
            body.push(1);
            body.extend_from_slice(&id);
        }
        None => body.push(0),
    }
    for node in [from, to] {
        match node {
            Some(node) => body.extend_from_slice(&[1, node]),
            None => body.push(0),
        }
    }
    let mut bytes = b"FSPLPEER".to_vec();
    bytes.extend_from_slice(&frame(0, &body));
    bytes
}

/// A hello of somebody who belongs nowhere.
pub(crate) fn stranger() -> Vec<u8> {
    hello((1, 1), TALK, None, None, None)
}

/// `How do you stand?`
pub(crate) fn ask(number: u64) -> Vec<u8> {
    frame(number, &[8, 0])
}

/// The next frame's number and body; an error where there is none.
pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(u64, Vec<u8>)> {
    let whole = async {
        let len = from.read_u32_le().await?;
        let crc = from.read_u32_le().await?;
        let number = from.read_u64_le().await?;
        let mut body = vec![0; len as usize];
        from.read_exact(&mut body).await?;
        assert_eq!(frame(number, &body).get(4..8), Some(&crc.to_le_bytes()[..]));
        Ok((number, body))
    };
    tokio::time::timeout(LIMIT, whole).await.unwrap()
}

/// Says `words`, and what is answered.
pub(crate) async fn say(
    to: &mut (impl AsyncRead + AsyncWrite + Unpin),
    words: &[u8],
) -> io::Result<Vec<u8>> {
    to.write_all(words).await?;
    to.flush().await?;
    Ok(read(to).await?.1)
}

/// What a refusal says, `None` for a welcome.
pub(crate) fn refusal(answer: &[u8]) -> Option<String> {
    match answer {
        [0, ..] => None,
        // Longer ones tell their length in more bytes.
        [1, 251, _, _, words @ ..] | [1, _, words @ ..] => {
            Some(String::from_utf8_lossy(words).into_owned())
        }
        _ => panic!("{answer:?}"),
    }
}

/// A connection that was let in.
pub(crate) async fn connect(address: SocketAddr, hello: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let answer = say(&mut stream, hello).await.unwrap();
    assert_eq!(refusal(&answer), None);
    stream
}

/// Whether the other end closes `stream`, whatever else it says before.
pub(crate) async fn is_closed(stream: &mut TcpStream, within: Duration) -> bool {
    let mut rest = Vec::new();
    let end = tokio::time::timeout(within, stream.read_to_end(&mut rest));
    end.await.is_ok()
}

/// Starts all nodes, each with its settings changed by `change`.
pub(crate) async fn start_each(site: &Site, change: impl Fn(usize, &mut Setup)) -> Vec<Node> {
    let setups = (0..site.disks.len()).map(|at| {
        let mut setup = site.setup(at);
        change(at, &mut setup);
        setup
    });
    let started = futures::future::join_all(setups.map(start)).await;
    started.into_iter().map(|(node, _)| node).collect()
}
