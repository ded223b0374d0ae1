//! What brokers may answer, and what the sink makes of each answer: librdkafka's own mock cluster says
//! whatever it is told to. It judges no delivery (it has no aborted records): that is `tests/kafka`.

#![cfg(feature = "kafka")]
#![expect(clippy::expect_used, clippy::panic, reason = "a test")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge::testing::{record, telling_sink_of, until_told};
use bridge::{
    Batch, Cause, CsvConfig, Delivery, KafkaConfig, Lane, Life, Metrics, Notes, Opening, OsFiles,
    Record, Sink, SinkError, SinkSpec, Sinks,
};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Code};
use serde_json::json;

type Mock = MockCluster<'static, DefaultProducerContext>;

const CONTROL: &str = "formspool-0123-t";

fn mock() -> Mock {
    let mock = MockCluster::new(3).expect("a mock cluster");
    mock.create_topic("f", 3, 3).expect("a topic");
    mock.create_topic(CONTROL, 1, 3).expect("a topic");
    // It has no settings to describe: that it says so at once keeps these tests short.
    mock.apiversion(Api::DescribeConfigs, None, None)
        .expect("no such request");
    mock
}

fn sink(mock: &Mock) -> Box<dyn Sink> {
    telling_sink(mock).0
}

fn telling_sink(mock: &Mock) -> (Box<dyn Sink>, Notes) {
    let mut sinks = Sinks::new(&CsvConfig::default(), Arc::new(OsFiles), "0123");
    let config = KafkaConfig {
        bootstrap: vec![mock.bootstrap_servers()],
        transaction_timeout_ms: 4000,
        ..KafkaConfig::default()
    };
    sinks.add_kafka(
        &config,
        "0123",
        Arc::new(|| 1_764_000_000_000),
        &Metrics::default(),
    );
    let spec = SinkSpec {
        name: Arc::from("kafka"),
        settings: json!({ "create_topics": false }),
    };
    let life = Life {
        lane: Lane::of_all("t"),
        incarnation: 5,
    };
    telling_sink_of(&sinks, &spec, &life)
}

fn batch(seqs: std::ops::RangeInclusive<u64>) -> Arc<Batch> {
    let records: Vec<Record> = seqs.map(|seq| record("f", seq, "{}")).collect();
    Arc::new(Batch::new(records, Arc::from([])))
}

/// What a delivery comes to after brokers have said `answers` to `api`; then that the sink goes on.
async fn delivered(api: Api, answers: (Code, usize)) -> Delivery {
    let mock = mock();
    let mut sink = sink(&mock);
    let opened = sink.open(Opening::default()).await;
    assert_eq!(opened, Ok(None), "{api:?}");
    let first = sink.deliver(batch(1..=3)).await;
    assert!(
        matches!(first, Delivery::Taken { .. }),
        "{api:?}: {first:?}"
    );
    mock.request_errors(api, &vec![answers.0; answers.1]);
    let began = Instant::now();
    let delivered = sink.deliver(batch(4..=6)).await;
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "it ends by itself"
    );
    mock.clear_request_errors(api);
    goes_on(&mut *sink, &delivered).await;
    delivered
}

/// Whatever was answered: opened again, it takes what comes next.
async fn goes_on(sink: &mut dyn Sink, after: &Delivery) {
    let mut next = 7;
    if !matches!(after, Delivery::Taken { .. }) {
        let opened = sink.open(Opening::default()).await.expect("opened again");
        let cursor = opened.expect("its cursor");
        next = cursor.position.index + 1;
    }
    let delivered = sink.deliver(batch(next..=next + 2)).await;
    assert!(
        matches!(delivered, Delivery::Taken { .. }),
        "{after:?}, then {delivered:?}"
    );
}

async fn is_taken(api: Api, answers: (Code, usize)) {
    let delivery = delivered(api, answers).await;
    assert!(
        matches!(delivery, Delivery::Taken { .. }),
        "{api:?} {answers:?}: {delivery:?}"
    );
}

async fn reopens(api: Api, answers: (Code, usize), cause: Cause, words: &str) {
    let delivery = delivered(api, answers).await;
    let Delivery::Reopen(trouble) = &delivery else {
        panic!("{api:?} {answers:?}: {delivery:?}");
    };
    assert_eq!(trouble.cause, cause, "{api:?} {answers:?}: {}", trouble.why);
    assert!(trouble.why.contains(words), "{api:?}: {}", trouble.why);
}

#[tokio::test]
async fn what_passes_by_itself_is_waited_out() {
    let coordinator = Code::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE;
    futures::join!(
        is_taken(Api::EndTxn, (coordinator, 3)),
        is_taken(
            Api::EndTxn,
            (Code::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, 3)
        ),
        is_taken(
            Api::Produce,
            (Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, 3)
        ),
        is_taken(
            Api::Produce,
            (Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, 2)
        ),
    );
}

#[tokio::test]
async fn a_fence_costs_the_epoch_and_says_who_has_it() {
    let epoch = Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;
    let fenced = Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED;
    let words = "transactional id";
    futures::join!(
        reopens(Api::EndTxn, (epoch, 1), Cause::Place, words),
        reopens(Api::EndTxn, (fenced, 1), Cause::Place, words),
        reopens(Api::Produce, (epoch, 1), Cause::Place, words),
    );
}

#[tokio::test]
async fn what_is_fatal_to_librdkafka_is_not_to_the_task() {
    let state = Code::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE;
    let sequence = Code::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    futures::join!(
        reopens(Api::EndTxn, (state, 1), Cause::Place, ""),
        reopens(Api::Produce, (sequence, 1), Cause::Place, ""),
    );
}

#[tokio::test]
async fn a_producer_that_kafka_has_forgotten_begins_anew() {
    let mapping = Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING;
    let unknown = Code::RD_KAFKA_RESP_ERR_UNKNOWN;
    futures::join!(
        reopens(Api::EndTxn, (mapping, 1), Cause::Place, ""),
        reopens(Api::AddPartitionsToTxn, (mapping, 1), Cause::Place, ""),
        reopens(Api::EndTxn, (unknown, 1), Cause::Place, ""),
    );
}

#[tokio::test]
async fn what_we_may_not_do_is_told_with_the_rights_that_are_needed() {
    let topic = Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    futures::join!(
        reopens(Api::Produce, (topic, 1), Cause::Auth, "kafka-acls"),
        reopens(
            Api::AddPartitionsToTxn,
            (topic, 1),
            Cause::Auth,
            "kafka-acls"
        ),
    );
}

#[tokio::test]
async fn a_lost_connection_around_the_commit_costs_the_epoch() {
    let mock = mock();
    let (mut sink, notes) = telling_sink(&mock);
    assert_eq!(sink.open(Opening::default()).await, Ok(None));
    let epochs = || notes.get().and_then(|told| told["epochs"].as_u64());
    let first = sink.deliver(batch(1..=3)).await;
    assert!(matches!(first, Delivery::Taken { .. }), "{first:?}");
    assert_eq!(epochs(), Some(1));
    mock.request_errors(Api::EndTxn, &[Code::RD_KAFKA_RESP_ERR__TRANSPORT]);
    // librdkafka sends it again and says that all is well. It is, but the first one may still arrive,
    // and must not close a later transaction: that one has a newer epoch.
    let second = sink.deliver(batch(4..=6)).await;
    assert!(matches!(second, Delivery::Taken { .. }), "{second:?}");
    let third = sink.deliver(batch(7..=9)).await;
    assert!(matches!(third, Delivery::Taken { .. }), "{third:?}");
    until_told(&notes, |told| told["epochs"] == 2).await;
}

#[tokio::test]
async fn an_outage_is_away_and_ends_by_itself() {
    let mock = mock();
    let mut sink = sink(&mock);
    assert_eq!(sink.open(Opening::default()).await, Ok(None));
    assert!(matches!(
        sink.deliver(batch(1..=3)).await,
        Delivery::Taken { .. }
    ));
    mock.broker_down(-1).expect("down");
    let delivery = sink.deliver(batch(4..=6)).await;
    let Delivery::Reopen(trouble) = &delivery else {
        panic!("{delivery:?}");
    };
    assert_eq!(trouble.cause, Cause::Away, "{}", trouble.why);
    let opened = sink.open(Opening::default()).await;
    let Err(SinkError::Again(trouble)) = &opened else {
        panic!("{opened:?}");
    };
    assert_eq!(trouble.cause, Cause::Away, "{}", trouble.why);
    mock.broker_up(-1).expect("up");
    goes_on(&mut *sink, &delivery).await;
}

/// What an opening comes to after brokers have refused to fence.
async fn opening(code: Code) -> (Cause, String) {
    let mock = mock();
    let mut sink = sink(&mock);
    mock.request_errors(Api::InitProducerId, &[code]);
    let opened = sink.open(Opening::default()).await;
    let Err(SinkError::Again(trouble)) = opened else {
        panic!("{code:?}: {opened:?}");
    };
    let opened = sink.open(Opening::default()).await;
    assert_eq!(opened, Ok(None), "the next time it opens");
    (trouble.cause, trouble.why)
}

#[tokio::test]
async fn a_refused_fence_is_told_and_tried_again() {
    let (auth, timeout, fenced) = futures::join!(
        opening(Code::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
        opening(Code::RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT),
        opening(Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED),
    );
    assert_eq!(auth.0, Cause::Auth, "{}", auth.1);
    assert_eq!(timeout.0, Cause::Place);
    let words = "transaction.max.timeout.ms";
    assert!(timeout.1.contains(words), "{}", timeout.1);
    assert_eq!(fenced.0, Cause::Place);
}
