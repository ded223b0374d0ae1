//! What Kafka has forgotten: it acknowledged records, and no longer has them.
//!
//! Holds: only what the cursor names is looked at, by a reader who also sees what is not committed, so
//! an open transaction is no loss. Records that retention has deleted are none either: the end of a
//! log never goes back by it.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::brokers::Brokers;
use super::client::{Access, Isolation};
use super::cursor::Marks;
use super::fault::Fault;
use crate::feed::Standing;

/// For the ends of all partitions.
const ANSWER: Duration = Duration::from_secs(10);

/// Why a task stops whose cursor is gone.
pub(super) fn no_cursor(control: &str, task: &str, standing: Standing) -> String {
    format!(
        "topic {control} holds no cursor of this task's present life, though everything up to {} was \
         delivered: it was deleted, or this is another Kafka. See what its topics still hold, then send \
         again with `formspool tasks replay {task} --from …`",
        standing.position
    )
}

/// What is missing of what the cursor names, in words; empty if nothing is.
pub(super) fn look(
    access: &Access,
    brokers: &Brokers,
    marks: &Marks,
) -> Result<Vec<String>, Fault> {
    let mut missing = Vec::new();
    let mut ends = TopicPartitionList::new();
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
                    ends.add_partition_offset(name, *partition, Offset::End)
                        .map_err(|error| Fault::of("look at the ends of topics", &error))?;
                }
            }
        }
    }
    if ends.count() == 0 {
        return Ok(missing);
    }
    let doing = "look at the ends of topics";
    let reader: BaseConsumer = access
        .consumer("formspool-ends", Isolation::Uncommitted)
        .create()
        .map_err(|error| Fault::of(doing, &error))?;
    let ends = reader
        .offsets_for_times(ends, ANSWER)
        .map_err(|error| Fault::of(doing, &error))?;
    for end in ends.elements() {
        end.error().map_err(|error| Fault::of(doing, &error))?;
        let mark = marks.get(end.topic());
        let last = mark.and_then(|mark| mark.last.get(&end.partition()));
        if let (Some(last), Offset::Offset(end_offset)) = (last, end.offset())
            && end_offset <= *last
        {
            missing.push(format!(
                "partition {} of topic {} ends at offset {end_offset}, and we wrote up to {last}",
                end.partition(),
                end.topic()
            ));
        }
    }
    Ok(missing)
}

/// Why a task stops of whose records Kafka has lost some.
pub(super) fn words(task: &str, missing: &[String]) -> String {
    format!(
        "Kafka has lost what it had acknowledged: {}. Send it again from the log with `formspool tasks \
         replay {task} --from …`",
        missing.join("; ")
    )
}
