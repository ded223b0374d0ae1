//! One submission: what is taken, what is refused, and in which order that is found out.

use serde_json::json;
use storage::Key;

use super::log::{NOW_MS, Rig, define, json_body, lines};
use crate::ingest::{Body, Config, Fault, Receipt, Refused};

impl Rig {
    async fn send(&self, text: &str) -> Result<Receipt, Refused> {
        self.ingest
            .submit(&self.form("a"), json_body(text), None)
            .await
    }

    async fn send_with(&self, text: &str, key: &str) -> Result<Receipt, Refused> {
        let key = Some(Key::Own(key.to_owned()));
        self.ingest
            .submit(&self.form("a"), json_body(text), key)
            .await
    }

    /// The body of the last submission of the last pack.
    fn stored(&self) -> String {
        let seen = self.log.seen();
        let submission = seen.last().unwrap().submissions.last().unwrap();
        String::from_utf8(submission.body.to_vec()).unwrap()
    }
}

#[tokio::test]
async fn a_submission_gets_its_receipt() {
    let rig = Rig::new();
    let first = rig.send(r#"{"name":"Ada"}"#).await.unwrap();
    assert_eq!(
        (first.form.as_str(), first.seq, first.received_at),
        ("a", Some(1), NOW_MS)
    );
    assert_eq!(
        (&*first.durability, first.replicas.as_str()),
        ("fsync", "1/1")
    );
    let second = rig.send(r#"{"name":"Bob"}"#).await.unwrap();
    assert_eq!(second.seq, Some(2));
    assert!(first.id != second.id && first.index < second.index && !second.duplicate);
}

#[tokio::test]
async fn what_is_stored_is_the_document_as_it_was_validated() {
    let rig = Rig::new();
    for (sent, stored) in [
        (r#"{"name":"Ada","n":1.10}"#, r#"{"name":"Ada","n":1.10}"#),
        (r#" { "name" : "A da" } "#, r#"{"name":"A da"}"#),
        (
            r#"{"name":" Ada ","n":12345678901234567890123}"#,
            r#"{"name":"Ada","n":12345678901234567890123}"#,
        ),
        (
            r#"{"_next":"x","name":"Ada","_key":null,"_gotcha":""}"#,
            r#"{"name":"Ada"}"#,
        ),
    ] {
        rig.send(sent).await.unwrap();
        assert_eq!(rig.stored(), stored);
    }
    let pairs = [
        ("name", " Ada\r\n"),
        ("n", "2"),
        ("tree", "{\"x\":1}"),
        ("_next", "/"),
        ("website", ""),
    ];
    let pairs = pairs
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .to_vec();
    rig.ingest
        .submit(&rig.form("a"), Body::Pairs(pairs), None)
        .await
        .unwrap();
    assert_eq!(rig.stored(), r#"{"name":"Ada","n":2,"tree":{"x":1}}"#);
}

#[tokio::test]
async fn whoever_walks_into_the_trap_is_withheld() {
    let rig = Rig::new();
    for trapped in [
        r#"{"name":"Bot","website":"x"}"#,
        r#"{"name":"Bot","website":true}"#,
    ] {
        assert_eq!(rig.send(trapped).await.unwrap().seq, None);
        assert_eq!(rig.stored(), r#"{"name":"Bot"}"#);
    }
    for fine in [
        r#"{"name":"Ada","website":" "}"#,
        r#"{"name":"Ada","website":null}"#,
    ] {
        assert!(rig.send(fine).await.unwrap().seq.is_some());
    }
}

#[tokio::test]
async fn each_bound_is_found_before_the_next_is_looked_at() {
    let config = Config {
        submission_bytes_max: 1000,
        depth_max: 3,
        fields_max: 4,
        ..Config::default()
    };
    let rig = Rig::with(config);
    let refused = async |text: &[u8]| {
        let body = Body::Json(bytes::Bytes::copy_from_slice(text));
        rig.ingest
            .submit(&rig.form("a"), body, None)
            .await
            .unwrap_err()
    };
    assert_eq!(
        refused(&vec![b'['; 1001]).await,
        Refused::TooLarge { max: 1000 }
    );
    assert!(matches!(
        refused(b"[[[[\xff").await,
        Refused::Malformed { .. }
    ));
    assert_eq!(refused(b"[[[[").await, Refused::TooDeep { max: 3 });
    assert_eq!(
        refused(br#"{"a":1,"b":1,"c":1,"d":1,"e":"#).await,
        Refused::TooManyFields { max: 4 }
    );
    assert!(matches!(
        refused(br#"{"name":"#).await,
        Refused::Malformed { .. }
    ));
    assert!(matches!(
        refused(br#"{"name":"a","name":"a"}"#).await,
        Refused::Malformed { .. }
    ));
    let fault = Fault::new("/name", "is required");
    assert_eq!(refused(b"{}").await, Refused::Invalid(vec![fault]));
    assert!(matches!(refused(b"[]").await, Refused::Invalid(_)));
    assert!(matches!(refused(b"3").await, Refused::Invalid(_)));
    assert!(
        rig.log.seen().is_empty(),
        "refused at the door: nothing in the log"
    );
}

#[tokio::test]
async fn pairs_have_the_same_bounds() {
    let rig = Rig::with(Config {
        submission_bytes_max: 100,
        fields_max: 2,
        ..Config::default()
    });
    let refused = async |pairs: &[(&str, &str)]| {
        let pairs = pairs
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        rig.ingest
            .submit(&rig.form("a"), Body::Pairs(pairs.collect()), None)
            .await
            .unwrap_err()
    };
    assert_eq!(
        refused(&[("name", &"x".repeat(100))]).await,
        Refused::TooLarge { max: 100 }
    );
    assert_eq!(
        refused(&[("a", ""), ("b", ""), ("c", "")]).await,
        Refused::TooManyFields { max: 2 }
    );
    assert!(matches!(
        refused(&[("name", "a\0b")]).await,
        Refused::Malformed { .. }
    ));
    assert!(matches!(
        refused(&[("name", "a"), ("name", "b")]).await,
        Refused::Invalid(_)
    ));
}

#[tokio::test]
async fn a_key_makes_a_submission_safe_to_send_again() {
    let rig = Rig::new();
    let first = rig.send_with(r#"{"name":"Ada"}"#, "k").await.unwrap();
    let again = rig.send_with(r#"{"name":"Ada"}"#, "k").await.unwrap();
    assert_eq!(
        again,
        Receipt {
            duplicate: true,
            ..first.clone()
        }
    );
    assert_eq!(rig.log.seen().len(), 1, "known at the door");
    let other = rig.send_with(r#"{"name":"Bob"}"#, "k").await;
    assert_eq!(other, Err(Refused::KeyReused));

    // The document's own key is the same key; one that is given wins over it.
    let own = rig
        .send(r#"{"name":"Ada","_idempotency_key":"own"}"#)
        .await
        .unwrap();
    let again = rig
        .send_with(r#"{"name":"Ada","_idempotency_key":"own"}"#, "own")
        .await
        .unwrap();
    assert_eq!((again.id, again.duplicate), (own.id, true));
    assert!(
        !rig.send_with(r#"{"name":"Ada","_idempotency_key":"own"}"#, "k2")
            .await
            .unwrap()
            .duplicate
    );

    // Pairs are compared without the key that travels among them.
    let pairs = |name: &str| {
        let pairs = [("_idempotency_key", "page"), ("name", name)];
        Body::Pairs(
            pairs
                .map(|(name, text)| (name.to_owned(), text.to_owned()))
                .to_vec(),
        )
    };
    let form = rig.form("a");
    let first = rig.ingest.submit(&form, pairs("Ada"), None).await.unwrap();
    let again = rig.ingest.submit(&form, pairs("Ada"), None).await.unwrap();
    assert_eq!((&again.id, again.duplicate), (&first.id, true));
    assert_eq!(
        rig.ingest.submit(&form, pairs("Eve"), None).await,
        Err(Refused::KeyReused)
    );
    let bare = Body::Pairs(vec![("name".to_owned(), "Ada".to_owned())]);
    let key = Some(Key::Own("page".to_owned()));
    assert_eq!(
        rig.ingest.submit(&form, bare, key).await.unwrap().id,
        first.id
    );
}

#[tokio::test]
async fn a_key_is_looked_up_before_the_form_is_asked() {
    let rig = Rig::new();
    let first = rig.send_with(r#"{"name":"Ada"}"#, "k").await.unwrap();
    define(
        &rig.log,
        "a",
        &json!({"type": "object", "required": ["other"]}),
    );
    assert_eq!(rig.form("a").version, 2);
    assert!(matches!(
        rig.send(r#"{"name":"Ada"}"#).await,
        Err(Refused::Invalid(_))
    ));
    assert_eq!(
        rig.send_with(r#"{"name":"Ada"}"#, "k").await.unwrap().id,
        first.id
    );
    rig.retire("a");
    assert!(rig.form("a").is_retired);
    assert_eq!(
        rig.send_with(r#"{"name":"Ada"}"#, "k").await.unwrap().id,
        first.id
    );
    assert_eq!(rig.send(r#"{"other":1}"#).await, Err(Refused::FormRetired));
}

#[tokio::test]
async fn a_form_that_was_retired_under_way_is_refused_by_the_log() {
    let rig = Rig::new();
    let stale = rig.form("a");
    rig.retire("a");
    let late = rig
        .ingest
        .submit(&stale, json_body(r#"{"name":"Ada"}"#), None)
        .await;
    assert_eq!(late, Err(Refused::FormRetired));
    assert_eq!(rig.head("a"), 0);
}

#[tokio::test]
async fn a_key_that_cannot_be_one_is_refused() {
    let rig = Rig::new();
    for key in ["", "a\nb", &"x".repeat(256)] {
        let refused = rig.send_with(r#"{"name":"Ada"}"#, key).await;
        assert!(matches!(refused, Err(Refused::BadKey(_))), "{key}");
    }
    let number = rig.send(r#"{"name":"Ada","_idempotency_key":7}"#).await;
    assert!(matches!(number, Err(Refused::BadKey(_))));
    let header = "x".repeat(254);
    let form = rig.form("a");
    let answers = rig
        .ingest
        .submit_lines(&form, lines(&[r#"{"name":"A"}"#]), Some(&header));
    assert!(matches!(answers.await[0], Err(Refused::BadKey(_))));
}

#[tokio::test]
async fn lines_are_answered_in_order_and_a_bad_one_spoils_no_other() {
    let rig = Rig::new();
    let sent = [
        r#"{"name":"one"}"#,
        "{",
        r#"{"name":"two","_idempotency_key":"own"}"#,
        r#"{"name":3}"#,
        r#"{"name":"three"}"#,
        r#"{"name":"two","_idempotency_key":"own"}"#,
    ];
    let form = rig.form("a");
    let answers = rig
        .ingest
        .submit_lines(&form, lines(&sent), Some("h"))
        .await;
    let seqs: Vec<_> = answers
        .iter()
        .map(|answer| answer.as_ref().ok().map(|r| r.seq))
        .collect();
    assert_eq!(
        seqs,
        [
            Some(Some(1)),
            None,
            Some(Some(2)),
            None,
            Some(Some(3)),
            Some(Some(2))
        ]
    );
    assert!(matches!(answers[1], Err(Refused::Malformed { .. })));
    assert!(matches!(answers[3], Err(Refused::Invalid(_))));
    assert!(
        answers[5].as_ref().unwrap().duplicate,
        "the same key in the same pack"
    );
    assert_eq!(rig.log.seen().len(), 1);

    // The whole request again: the same receipts, nothing new.
    let again = rig
        .ingest
        .submit_lines(&form, lines(&sent), Some("h"))
        .await;
    for (first, second) in answers.iter().zip(&again) {
        let first = first.clone().map(|receipt| Receipt {
            duplicate: true,
            ..receipt
        });
        assert_eq!(&first, second);
    }
    assert_eq!(rig.head("a"), 3);
    // A line's key is an own key under its full name.
    let third = rig.send_with(r#"{"name":"three"}"#, "h#5").await.unwrap();
    assert_eq!((third.seq, third.duplicate), (Some(3), true));
}

#[tokio::test]
async fn more_lines_than_a_pack_holds_go_in_several_one_after_another() {
    let rig = Rig::new();
    let big = format!(r#"{{"name":"{}"}}"#, "x".repeat(3000));
    let sent: Vec<&str> = (0..400).map(|_| big.as_str()).collect();
    let answers = rig
        .ingest
        .submit_lines(&rig.form("a"), lines(&sent), None)
        .await;
    let seqs: Vec<u64> = answers
        .into_iter()
        .map(|answer| answer.unwrap().seq.unwrap())
        .collect();
    assert_eq!(seqs, (1..=400).collect::<Vec<_>>());
    let sizes: Vec<usize> = rig
        .log
        .seen()
        .iter()
        .map(|pack| pack.submissions.len())
        .collect();
    assert_eq!(sizes, [174, 174, 52]);
}
