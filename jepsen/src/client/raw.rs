//! A bare socket, for what no HTTP library would send.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

const ANSWER_BYTES_MAX: usize = 64 << 10;

/// How a conversation over a bare socket ended.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    /// The status line's number; `None`: closed without an answer.
    pub(crate) status: Option<u16>,
    pub(crate) sent: usize,
    /// The other side let it go on until our own time was over.
    pub(crate) is_patient: bool,
}

/// Sends `head`, then `piece` every `pause` until an answer comes, the other side closes, or
/// `time` is over.
pub(crate) async fn drip(
    address: SocketAddr,
    head: &[u8],
    piece: &[u8],
    pause: Duration,
    time: Duration,
) -> std::io::Result<Ending> {
    let end = Instant::now() + time;
    let stream = TcpStream::connect(address).await?;
    let (mut from, mut to) = stream.into_split();
    let mut sent = 0;
    let send = async {
        to.write_all(head).await?;
        loop {
            to.write_all(piece).await?;
            sent += piece.len();
            tokio::time::sleep(pause).await;
        }
        #[expect(unreachable_code, reason = "names the type of an endless block")]
        std::io::Result::Ok(())
    };
    let mut text = Vec::new();
    let is_over = {
        let receive = async {
            let mut buffer = [0; 4096];
            loop {
                match from.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(len) => text.extend_from_slice(buffer.get(..len).unwrap_or_default()),
                }
                let has_head = text.windows(4).any(|window| window == b"\r\n\r\n");
                if has_head || text.len() >= ANSWER_BYTES_MAX {
                    break;
                }
            }
        };
        tokio::pin!(receive);
        // A broken pipe while sending is no answer yet: one may wait to be read.
        let both = async {
            tokio::select! {
                biased;
                () = &mut receive => return,
                _ = send => {}
            }
            receive.await;
        };
        timeout_at(end, both).await.is_err()
    };
    let text = String::from_utf8_lossy(&text).into_owned();
    let status = text
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok());
    Ok(Ending {
        status,
        sent,
        is_patient: is_over,
    })
}
