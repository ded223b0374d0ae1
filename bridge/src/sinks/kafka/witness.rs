//! Whether the last record that we wrote to a partition still lies where it lay.
//!
//! Holds: one record a partition is read, never what follows it; a few partitions at once, so memory
//! stays small however many there are. What is not answered is a fault, never a loss.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use super::cursor::Name;
use super::fault::Fault;
use super::own::Own as _;

/// Partitions that are read at once.
const AT_ONCE: usize = 32;

/// What does not come together with others is asked for alone.
const TOGETHER: Duration = Duration::from_secs(2);

/// For one alone.
const ALONE: Duration = Duration::from_secs(5);

const POLL: Duration = Duration::from_millis(50);

const LOOK: &str = "look at our last records";

/// Where a record of ours must lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) name: Name,
}

/// What lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    Ours,
    Other,
    /// The offset is none of a record: one of a marker, or a gap.
    Nothing,
    /// It was deleted while we looked.
    Unknown,
}

/// How a reader is set up for it.
pub(super) fn reader(mut client: ClientConfig) -> ClientConfig {
    client
        .own("queued.min.messages", "1")
        // By default a reader that has enough fetches nothing for a second, wherever it is sent meanwhile.
        .own("fetch.queue.backoff.ms", "10")
        .own("fetch.message.max.bytes", "65536");
    client
}

/// What lies at each of `places`.
pub(super) fn look(
    reader: &BaseConsumer,
    cluster: &str,
    places: &[Place],
) -> Result<Vec<Sight>, Fault> {
    let mut sights = Vec::with_capacity(places.len());
    for some in places.chunks(AT_ONCE) {
        let together = together(reader, cluster, some)?;
        for (place, sight) in some.iter().zip(together) {
            sights.push(match sight {
                Some(sight) => sight,
                None => alone(reader, cluster, place)?,
            });
        }
    }
    // A reader that is asked something else must not go on fetching.
    assign(reader, &[])?;
    Ok(sights)
}

/// Those that come in time; most of the time all do.
fn together(
    reader: &BaseConsumer,
    cluster: &str,
    places: &[Place],
) -> Result<Vec<Option<Sight>>, Fault> {
    assign(reader, places)?;
    let mut sights = vec![None; places.len()];
    let deadline = Instant::now() + TOGETHER;
    while sights.contains(&None) && Instant::now() < deadline {
        // An error, or an end, does not say of which topic: see `alone`.
        let Some(Ok(message)) = reader.poll(POLL) else {
            continue;
        };
        for (place, sight) in places.iter().zip(&mut sights) {
            if place.topic == message.topic() && place.partition == message.partition() {
                sight.get_or_insert_with(|| of(&message, cluster, place));
            }
        }
    }
    Ok(sights)
}

fn alone(reader: &BaseConsumer, cluster: &str, place: &Place) -> Result<Sight, Fault> {
    assign(reader, std::slice::from_ref(place))?;
    let deadline = Instant::now() + ALONE;
    while Instant::now() < deadline {
        match reader.poll(POLL) {
            Some(Ok(message)) => return Ok(of(&message, cluster, place)),
            // Nothing but markers up to the end.
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(Sight::Nothing),
            Some(Err(error))
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) =>
            {
                return Ok(Sight::Unknown);
            }
            Some(Err(error)) => tracing::debug!(%error, topic = place.topic, "looking"),
            None => {}
        }
    }
    Err(Fault::late(&format!(
        "{LOOK}, in partition {} of topic {}",
        place.partition, place.topic
    )))
}

fn assign(reader: &BaseConsumer, places: &[Place]) -> Result<(), Fault> {
    let mut list = TopicPartitionList::new();
    for place in places {
        let offset = Offset::Offset(place.offset);
        list.add_partition_offset(&place.topic, place.partition, offset)
            .map_err(|error| Fault::of(LOOK, &error))?;
    }
    reader
        .assign(&list)
        .map_err(|error| Fault::of(LOOK, &error))
}

/// What the first message from a place on says of it.
fn of(message: &BorrowedMessage<'_>, cluster: &str, place: &Place) -> Sight {
    if message.offset() != place.offset {
        return Sight::Nothing;
    }
    let header = |name: &str| {
        let headers = message.headers()?;
        let found = headers.iter().find(|header| header.key == name)?;
        std::str::from_utf8(found.value?).ok()
    };
    let number = |name: &str| header(name)?.parse::<u64>().ok();
    let Name(index, seq) = place.name;
    let is_ours = header("formspool-cluster") == Some(cluster)
        && number("formspool-index") == Some(index)
        && number("formspool-seq") == Some(seq);
    if is_ours { Sight::Ours } else { Sight::Other }
}
