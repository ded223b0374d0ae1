//! How far a lane is behind: records, bytes, the oldest.
//!
//! Holds: records are counted by places, so it costs the same however many there are. Bytes are exact
//! while there are few; of more than one look reads, they are what the log has written since, with
//! whatever else lies there: never fewer than there are.

use bridge::{Behind, FeedError, Lane, Limit, Position};
use storage::Index;

use super::{LogFeed, again, inward};

/// What one look reads.
const LOOK: Limit = Limit {
    count_max: 1024,
    bytes_max: 256 << 10,
};

pub(super) async fn of(feed: &LogFeed, lane: &Lane, after: Position) -> Result<Behind, FeedError> {
    let forms = feed.covers.get(lane)?;
    let (mut records, mut head_seq) = (0, 0);
    for form in &forms.ids {
        let head = feed.view.head(*form).map_err(again)?;
        let next = feed.view.undelivered(*form, inward(after)).map_err(again)?;
        // What was accepted after the head was read is counted the next time.
        let next = next.map_or(head.next(), |(next, _)| next);
        records += head.next().0.saturating_sub(next.0);
        head_seq += head.0;
    }
    let read = feed.read_after(lane, after, LOOK).await?;
    let twice = feed.unparked_after(lane, &forms, after)?;
    let bytes = if wide(read.len()) < records {
        feed.node.wal().bytes_behind(Index(after.index))
    } else {
        wide(read.iter().map(|record| record.body.len()).sum())
    };
    let bytes_twice = wide(twice.iter().map(|record| record.body.len()).sum());
    Ok(Behind {
        records: records + wide(twice.len()),
        head_seq,
        bytes: Some(bytes + bytes_twice),
        oldest_received_at_ms: read.first().map(|first| first.received_ms),
    })
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
