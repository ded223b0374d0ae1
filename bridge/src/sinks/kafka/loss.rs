//! What Kafka has forgotten: it acknowledged records, and no longer has them.
//!
//! | of a topic | says |
//! |---|---|
//! | it is not there, or has fewer partitions | it was deleted, or made anew |
//! | a partition ends at or below our last record | the same, or its log was cut |
//! | where our last record lay lies another one, or none | the same, and it has grown again |
//!
//! Holds: only what the cursor names is looked at, by a reader who also sees what is not committed, so
//! an open transaction is no loss. Records that retention has deleted are none either: the end of a
//! log never goes back by it, and below its beginning nothing is looked for. Nor are those that a
//! compacted topic has replaced.
//! Why a record and not the topic's id: no client that we may use tells it; and a record also shows
//! a log that was cut under the topic's own id.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::brokers::Brokers;
use super::client::{Access, Isolation};
use super::cursor::Marks;
use super::fault::Fault;
use super::fleeting::Fleeting;
use super::witness::{self, Place, Sight};
use crate::feed::Standing;

/// For the beginnings, or the ends, of all partitions.
const ANSWER: Duration = Duration::from_secs(10);

const LOOK: &str = "look at the ends of topics";

/// Why a task stops whose cursor is gone.
pub(super) fn no_cursor(control: &str, task: &str, standing: Standing) -> String {
    format!(
        "topic {control} holds no cursor of this task's present life, though everything up to {} was \
         delivered: it was deleted, or this is another Kafka. See what its topics still hold, then send \
         again with `formspool tasks replay {task} --from …`",
        standing.position
    )
}

/// What is missing of what the cursor of `cluster` names, in words; empty if nothing is. Where nothing
/// is, also of what an audit has seen in its place: a later record of ours in a topic that was made
/// anew shows nothing of the earlier ones.
pub(super) fn look(
    access: &Access,
    brokers: &Brokers,
    cluster: &str,
    [marks, seen]: [&Marks; 2],
) -> Result<Vec<String>, Fault> {
    let missing = look_for(access, brokers, (cluster, marks))?;
    if missing.is_empty() && seen != marks {
        return look_for(access, brokers, (cluster, seen));
    }
    Ok(missing)
}

fn look_for(
    access: &Access,
    brokers: &Brokers,
    (cluster, marks): (&str, &Marks),
) -> Result<Vec<String>, Fault> {
    let mut missing = Vec::new();
    let mut places = TopicPartitionList::new();
    for (name, mark) in marks {
        match brokers.topic(name)? {
            None => missing.push(format!("topic {name} is gone")),
            Some(shape) if shape.count() < mark.partitions => missing.push(format!(
                "topic {name} has {} partitions and had {}: it is another one",
                shape.count(),
                mark.partitions
            )),
            Some(_) => {
                for partition in mark.last.keys() {
                    places.add_partition(name, *partition);
                }
            }
        }
    }
    if places.count() == 0 {
        return Ok(missing);
    }
    let reader: BaseConsumer =
        witness::reader(access.consumer("formspool-ends", Isolation::Uncommitted))
            .create()
            .map_err(|error| Fault::of(LOOK, &error))?;
    let reader = Fleeting::new(reader);
    // Beginnings first: whatever retention deletes meanwhile is below the ends, too.
    let begins = bounds(&reader, &places, Offset::Beginning)?;
    let ends = bounds(&reader, &places, Offset::End)?;
    let mut there = Vec::new();
    for end in ends.elements() {
        let (topic, partition) = (end.topic(), end.partition());
        let mark = marks.get(topic);
        let last = mark.and_then(|mark| mark.last.get(&partition));
        let (Some(mark), Some(last), Offset::Offset(end_offset)) = (mark, last, end.offset())
        else {
            continue;
        };
        if end_offset <= *last {
            missing.push(format!(
                "partition {partition} of topic {topic} ends at offset {end_offset}, and we wrote up \
                 to {last}"
            ));
            continue;
        }
        let begin = begins.find_partition(topic, partition);
        let begin = begin.map(|begin| begin.offset());
        let is_kept = matches!(begin, Some(Offset::Offset(begin)) if begin <= *last);
        if let Some(name) = mark.records.get(&partition).filter(|_| is_kept) {
            there.push(Place {
                topic: topic.to_owned(),
                partition,
                offset: *last,
                name: *name,
            });
        }
    }
    missing.extend(replaced(&reader, brokers, (cluster, &there))?);
    Ok(missing)
}

/// Where the logs of all partitions begin, or end.
fn bounds(
    reader: &BaseConsumer,
    places: &TopicPartitionList,
    side: Offset,
) -> Result<TopicPartitionList, Fault> {
    let mut asked = places.clone();
    asked
        .set_all_offsets(side)
        .map_err(|error| Fault::of(LOOK, &error))?;
    let told = reader
        .offsets_for_times(asked, ANSWER)
        .map_err(|error| Fault::of(LOOK, &error))?;
    for place in told.elements() {
        place.error().map_err(|error| Fault::of(LOOK, &error))?;
    }
    Ok(told)
}

/// Places that hold something else than what we wrote there, in words.
fn replaced(
    reader: &BaseConsumer,
    brokers: &Brokers,
    (cluster, there): (&str, &[Place]),
) -> Result<Vec<String>, Fault> {
    let mut words = Vec::new();
    for (place, sight) in there.iter().zip(witness::look(reader, cluster, there)?) {
        let Place {
            topic,
            partition,
            offset,
            ..
        } = place;
        let what = match sight {
            Sight::Other => "another record lies",
            // Compaction leaves gaps. Where we may not know whether a topic is compacted, it may be.
            Sight::Nothing if only_deletes(brokers, topic) => "no record lies",
            Sight::Ours | Sight::Unknown | Sight::Nothing => continue,
        };
        words.push(format!(
            "{what} at offset {offset} of partition {partition} of topic {topic}, where we wrote ours: \
             the topic was made anew, or its log was cut, and has grown again"
        ));
    }
    Ok(words)
}

fn only_deletes(brokers: &Brokers, topic: &str) -> bool {
    let configs = brokers.topic_configs(topic);
    configs.is_some_and(|configs| {
        let policy = configs.get("cleanup.policy");
        policy.is_some_and(|policy| policy == "delete")
    })
}

/// Why a task stops of whose records Kafka has lost some.
pub(super) fn words(task: &str, missing: &[String]) -> String {
    format!(
        "Kafka has lost what it had acknowledged: {}. Send it again from the log with `formspool tasks \
         replay {task} --from …`",
        missing.join("; ")
    )
}
