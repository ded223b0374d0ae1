//! One question over HTTP, for what a benchmark must know before it begins: is it ready, who leads.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What `path` answers with 200. HTTP/1.0, so that the body ends where the connection does.
pub(crate) async fn get(address: SocketAddr, path: &str, token: Option<&str>) -> Result<String> {
    send(address, ("GET", path), token, ("", b"")).await
}

/// What a call answers with a 2xx; `content` is a media type and a body.
pub(crate) async fn send(
    address: SocketAddr,
    (method, path): (&str, &str),
    token: Option<&str>,
    (media, body): (&str, &[u8]),
) -> Result<String> {
    let token = token.map_or_else(String::new, |token| {
        format!("authorization: Bearer {token}\r\n")
    });
    let content = if media.is_empty() {
        String::new()
    } else {
        format!(
            "content-type: {media}\r\ncontent-length: {}\r\n",
            body.len()
        )
    };
    let request = format!(
        "{method} {path} HTTP/1.0\r\nhost: {address}\r\nconnection: close\r\n{token}{content}\r\n"
    );
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("an answer without a head")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    ensure!(
        status.starts_with('2'),
        "{method} {path} of {address}: {status} {body}"
    );
    Ok(body.to_owned())
}

/// The first sample of `name` in a text of metrics.
pub(crate) fn sample<'a>(metrics: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = metrics.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_found_by_its_whole_name() {
        let text = "# HELP is_leader x\nis_leader_changes 4\nis_leader 1\n";
        assert_eq!(Some("1"), sample(text, "is_leader"));
        assert_eq!(None, sample(text, "leader"));
    }
}
