//! Kafka's requests, as far as a gate reads them.
//!
//! ```text
//! ├ len i32 ─┼ key i16 ─┼ version i16 ─┼ correlation i32 ─┼ client (i16 len, text) ─┤
//! ├ tags (flexible versions only) ─┼ transactional id ─┼ …                           │
//!   EndTxn goes on: producer id i64, epoch i16, is_commit i8
//!   AddPartitionsToTxn goes on: producer id i64, epoch i16, topics (name, partitions) …
//! ├ len i32 ─┼ correlation i32 ─┼ …                     a reply; its key is its request's
//! ```
//! Holds: what is not understood is passed on like everything else; nothing is ever changed.

/// The kinds of request that a gate can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Produce,
    InitProducerId,
    AddPartitionsToTxn,
    EndTxn,
    Other,
}

impl Api {
    fn of(key: i16) -> Self {
        match key {
            0 => Self::Produce,
            22 => Self::InitProducerId,
            24 => Self::AddPartitionsToTxn,
            26 => Self::EndTxn,
            _ => Self::Other,
        }
    }

    /// From this version on lengths are packed and there are tags.
    fn first_flexible(self) -> i16 {
        match self {
            Self::Produce => 9,
            Self::InitProducerId => 2,
            Self::AddPartitionsToTxn | Self::EndTxn => 3,
            Self::Other => i16::MAX,
        }
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) api: Api,
    pub(super) version: i16,
    pub(super) correlation: i32,
    /// Where the producer has one.
    pub(crate) id: Option<String>,
    /// Of an `EndTxn`.
    pub(crate) is_commit: bool,
    /// Of an `AddPartitionsToTxn`, as librdkafka writes it.
    pub(super) topics: Vec<String>,
    /// The transaction holds records, not only the product's own cursor: known to the gate.
    pub(super) has_records: bool,
}

/// Reads a request behind its length; `None`: it is none.
pub(super) fn request(frame: &[u8]) -> Option<Request> {
    let mut cursor = Cursor(frame);
    let (key, version) = (cursor.i16()?, cursor.i16()?);
    let (api, correlation) = (Api::of(key), cursor.i32()?);
    let mut request = Request {
        api,
        version,
        correlation,
        id: None,
        is_commit: false,
        topics: Vec::new(),
        has_records: false,
    };
    if api == Api::Other {
        return Some(request);
    }
    cursor.text(false)?;
    let is_flexible = version >= api.first_flexible();
    if is_flexible {
        cursor.tags()?;
    }
    let id = cursor.text(is_flexible)?;
    request.id = (!id.is_empty()).then_some(id);
    if api == Api::EndTxn {
        cursor.take(8 + 2)?;
        request.is_commit = *cursor.take(1)?.first()? != 0;
    }
    if api == Api::AddPartitionsToTxn && !is_flexible {
        cursor.take(8 + 2)?;
        for _ in 0..cursor.i32()? {
            request.topics.push(cursor.text(false)?);
            for _ in 0..cursor.i32()? {
                cursor.i32()?;
            }
        }
    }
    Some(request)
}

/// The correlation of a reply.
pub(super) fn correlation(frame: &[u8]) -> Option<i32> {
    Cursor(frame).i32()
}

/// The error code in the reply to an `EndTxn`.
pub(super) fn end_error(frame: &[u8], version: i16) -> Option<i16> {
    let mut cursor = Cursor(frame);
    cursor.take(4)?;
    if version >= Api::EndTxn.first_flexible() {
        cursor.tags()?;
    }
    cursor.take(4)?; // how long it is throttled
    cursor.i16()
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// Seven bits a byte, the lowest first.
    fn packed(&mut self) -> Option<usize> {
        let mut value = 0_usize;
        for shift in (0..28).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// One that is null reads as empty.
    fn text(&mut self, is_packed: bool) -> Option<String> {
        let len = if is_packed {
            self.packed()?.checked_sub(1)
        } else {
            usize::try_from(self.i16()?).ok()
        };
        let bytes = self.take(len.unwrap_or(0))?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    fn tags(&mut self) -> Option<()> {
        for _ in 0..self.packed()? {
            self.packed()?;
            let len = self.packed()?;
            self.take(len)?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Api, Request, correlation, end_error, request};

    /// An `EndTxn` of version 1, as librdkafka writes it.
    fn end(is_commit: bool) -> Vec<u8> {
        let mut frame = vec![0, 26, 0, 1, 0, 0, 0, 9];
        for text in ["rdkafka", "formspool-x"] {
            frame.extend(i16::try_from(text.len()).unwrap().to_be_bytes());
            frame.extend(text.as_bytes());
        }
        frame.extend([0; 8 + 2]);
        frame.push(u8::from(is_commit));
        frame
    }

    #[test]
    fn an_end_of_a_transaction_is_known_with_whose_and_which() {
        let expected = Request {
            api: Api::EndTxn,
            version: 1,
            correlation: 9,
            id: Some("formspool-x".to_owned()),
            is_commit: true,
            topics: Vec::new(),
            has_records: false,
        };
        assert_eq!(request(&end(true)), Some(expected.clone()));
        let is_commit = false;
        assert_eq!(
            request(&end(false)),
            Some(Request {
                is_commit,
                ..expected
            })
        );
    }

    #[test]
    fn a_flexible_request_is_read_past_its_tags() {
        // InitProducerId 4: client "c", one tag of two bytes, the id packed.
        let mut frame = vec![0, 22, 0, 4, 0, 0, 0, 7, 0, 1, b'c', 1, 0, 2, 8, 8];
        frame.extend([4, b'a', b'b', b'c', 0, 0, 0, 1]);
        let found = request(&frame).unwrap();
        assert_eq!(
            (found.api, found.id.as_deref()),
            (Api::InitProducerId, Some("abc"))
        );
        // A null id, as of one that is only idempotent.
        let null = [0, 22, 0, 4, 0, 0, 0, 7, 255, 255, 0, 0];
        assert_eq!(request(&null).unwrap().id, None);
    }

    #[test]
    fn partitions_that_are_added_name_their_topics() {
        let mut frame = vec![0, 24, 0, 0, 0, 0, 0, 7, 0, 1, b'c', 0, 1, b'i'];
        frame.extend([0; 8 + 2]);
        frame.extend([0, 0, 0, 2]);
        for topic in [b'a', b'b'] {
            frame.extend([0, 1, topic, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1]);
        }
        assert_eq!(request(&frame).unwrap().topics, ["a", "b"]);
        assert_eq!(request(&frame[..frame.len() - 1]), None);
    }

    #[test]
    fn what_ends_too_early_is_no_request_and_others_are_passed_on() {
        let whole = end(true);
        for len in 0..whole.len() {
            assert_eq!(request(&whole[..len]), None, "{len}");
        }
        let fetch = request(&[0, 1, 0, 11, 0, 0, 0, 5]).unwrap();
        assert_eq!((fetch.api, fetch.correlation), (Api::Other, 5));
    }

    #[test]
    fn a_reply_names_its_request_and_its_error() {
        let reply = [0, 0, 0, 9, 0, 0, 0, 0, 0, 47];
        assert_eq!(
            (correlation(&reply), end_error(&reply, 1)),
            (Some(9), Some(47))
        );
        assert_eq!(correlation(&[0, 0]), None);
    }
}
