//! `formspool doctor kafka`: what brokers and topics are set to, what they should be, and the line
//! that mends it.
//!
//! Holds: it looks and changes nothing. Exit code 1 if anything is red.

use bridge::{Finding, KafkaConfig, KafkaReport, Level, kafka_audit};
use serde_json::json;

use super::client::Client;
use super::error::Error;
use super::mirrors;
use super::out::{self, Out};

/// Audits for every task that leads to Kafka, or for one.
pub(super) async fn run(
    out: Out,
    client: &Client,
    config: &KafkaConfig,
    task: Option<&str>,
) -> Result<(), Error> {
    let mut reds = 0;
    for mirror in mirrors::find(client, task).await? {
        let (config, asked) = (config.clone(), mirror.task.clone());
        let audited = tokio::task::spawn_blocking(move || kafka_audit(&config, &asked)).await;
        let report = audited
            .map_err(|lost| Error::Problems(vec![lost.to_string()]))?
            .map_err(|why| Error::Problems(vec![why]))?;
        reds += report
            .findings
            .iter()
            .filter(|finding| finding.level == Level::Red)
            .count();
        let told = json!({
            "task": mirror.task.name,
            "servers": report.servers,
            "kafka_cluster": report.cluster,
            "findings": report.findings,
        });
        out.either(&told, &in_words(&mirror.task.name, &report))?;
    }
    if reds > 0 {
        return Err(Error::ToldProblems(reds));
    }
    Ok(())
}

/// A table, the worst first; under it the lines that mend what is not green.
fn in_words(task: &str, report: &KafkaReport) -> String {
    let mut findings: Vec<&Finding> = report.findings.iter().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    let mut rows = vec![["", "what", "is", "should be"].map(str::to_owned).to_vec()];
    let mut mends = String::new();
    for finding in findings {
        let word = match finding.level {
            Level::Red => "RED",
            Level::Amber => "amber",
            Level::Unknown => "?",
            Level::Green => "green",
        };
        let cells = [word, &finding.what, &finding.is, &finding.should_be];
        rows.push(cells.map(out::plain).to_vec());
        if let Some(mend) = &finding.mend {
            mends.extend(["  # ", &finding.what, "\n  ", mend, "\n"].map(str::to_owned));
        }
    }
    let cluster = report.cluster.as_deref().unwrap_or("unknown");
    let mut text = format!(
        "task {task}: Kafka at {} (cluster {cluster})\n{}",
        report.servers,
        out::table(&rows)
    );
    if !mends.is_empty() {
        text.push_str("\nwhat mends it:\n");
        text.push_str(&mends);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_stands_first_and_says_what_mends_it() {
        let finding = |what: &str, level, mend: Option<&str>| Finding {
            what: what.to_owned(),
            is: "1".to_owned(),
            should_be: "2".to_owned(),
            level,
            mend: mend.map(str::to_owned),
        };
        let report = KafkaReport {
            servers: "a:1".to_owned(),
            cluster: None,
            findings: vec![
                finding("one", Level::Green, None),
                finding("two", Level::Red, Some("kafka-configs.sh --x")),
            ],
        };
        let text = in_words("t", &report);
        let (two, one) = (text.find("RED").unwrap(), text.find("green").unwrap());
        assert!(two < one, "{text}");
        assert!(
            text.ends_with("what mends it:\n  # two\n  kafka-configs.sh --x\n"),
            "{text}"
        );
    }
}
