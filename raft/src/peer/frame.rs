//! One frame: a numbered body, and proof that it arrived as it was sent.
//!
//! ```text
//!  0      4        8          16     16+len
//!  ├ len ─┼ crc32 ─┼ number ──┼ body ┤          little-endian; crc32 over number and body
//! ```
//! Holds: a body longer than its reader takes, [`BODY_BYTES_MAX`] at most, is refused before it is read;
//! an answer carries the number of its request. Why a crc over TCP: its own sum lets one error in
//! 65,536 through, and what goes by here becomes log.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::codec;

/// Four times what one request to a peer carries of the log.
pub(crate) const BODY_BYTES_MAX: usize = 16 << 20;
const HEAD_LEN: usize = 16;

/// What came in one frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) number: u64,
    pub(crate) body: Bytes,
}

impl Frame {
    /// What the body says.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> io::Result<T> {
        decode(&self.body)
    }
}

/// A frame as bytes.
pub(crate) fn frame<T: Serialize>(number: u64, body: &T) -> io::Result<Bytes> {
    let mut out = BytesMut::zeroed(HEAD_LEN).writer();
    codec::write_wire(body, &mut out)?;
    let mut out = out.into_inner();
    let len = out.len() - HEAD_LEN;
    if len > BODY_BYTES_MAX {
        return Err(io::Error::other(format!("a frame of {len} bytes")));
    }
    let mut head = [0; HEAD_LEN];
    let mut put = head.as_mut_slice();
    put.put_u32_le(u32::try_from(len).unwrap_or(u32::MAX));
    put.put_u32_le(0);
    put.put_u64_le(number);
    let (before, body) = out.split_at_mut(HEAD_LEN);
    before.copy_from_slice(&head);
    let crc = sum(number, body);
    if let Some(place) = before.get_mut(4..8) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
    Ok(out.freeze())
}

/// The next frame, its body not above `bytes_max`; `None` at the orderly end of the stream.
pub(crate) async fn read_frame<R>(from: &mut R, bytes_max: usize) -> io::Result<Option<Frame>>
where
    R: AsyncRead + Unpin + ?Sized,
{
    let len = match from.read_u32_le().await {
        Ok(len) => len as usize,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if len > bytes_max {
        return Err(io::Error::other(format!("a frame of {len} bytes")));
    }
    let crc = from.read_u32_le().await?;
    let number = from.read_u64_le().await?;
    let mut body = BytesMut::with_capacity(len).limit(len);
    while body.has_remaining_mut() {
        if from.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let body = body.into_inner().freeze();
    if sum(number, &body) != crc {
        return Err(io::Error::other("a frame was damaged on its way"));
    }
    Ok(Some(Frame { number, body }))
}

/// What bytes of a peer say. A length in them never makes this node take more memory than a frame.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    let (body, read) = codec::read_wire::<T, BODY_BYTES_MAX>(bytes)?;
    if read == bytes.len() {
        Ok(body)
    } else {
        Err(io::Error::other(
            "a frame says more than this program knows",
        ))
    }
}

fn sum(number: u64, body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&number.to_le_bytes());
    crc.update(body);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_out_as_they_went_in_and_the_end_is_an_end() {
        let mut bytes = Vec::new();
        for number in 0..3_u64 {
            bytes.extend_from_slice(&frame(number, &format!("body {number}")).unwrap());
        }
        let mut from = bytes.as_slice();
        for number in 0..3 {
            let frame = read_frame(&mut from, BODY_BYTES_MAX)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(frame.number, number);
            assert_eq!(frame.read::<String>().unwrap(), format!("body {number}"));
        }
        assert!(
            read_frame(&mut from, BODY_BYTES_MAX)
                .await
                .unwrap()
                .is_none()
        );
    }

    #[tokio::test]
    async fn any_flipped_bit_is_refused() {
        let bytes = frame(7, &vec![1_u64, 2, 3]).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = read_frame(&mut flipped.as_slice(), BODY_BYTES_MAX).await;
            assert!(read.is_err(), "bit {bit}: {read:?}");
        }
    }

    #[tokio::test]
    async fn a_length_beyond_the_limit_takes_no_memory() {
        let mut bytes = frame(7, &1_u8).unwrap().to_vec();
        bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        let refused = read_frame(&mut bytes.as_slice(), BODY_BYTES_MAX)
            .await
            .unwrap_err();
        assert!(
            refused.to_string().contains("4294967295 bytes"),
            "{refused}"
        );
    }
}
