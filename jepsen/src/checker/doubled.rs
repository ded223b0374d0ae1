//! Doubled: one document, one seq or one id stands there twice. Also the unknown: never twice.

use std::collections::HashSet;

use crate::checker::Span;
use crate::checker::findings::{Findings, Kind};

pub(crate) fn check(span: &Span<'_>, findings: &mut Findings) {
    let (reader, form) = (span.sight.reader, span.sight.form.name());
    let mut ids = HashSet::new();
    for (row, place) in span.rows().iter().zip(span.from..) {
        let is_first = row.marker.is_none_or(|marker| {
            span.sight
                .first_row(marker)
                .is_none_or(|first| first == place)
        });
        // `insert` is asked in any case: the ids must be complete.
        if !ids.insert(row.id) || !is_first {
            findings.add(Kind::Doubled, || {
                let first = row.marker.and_then(|marker| span.sight.find(marker));
                let first = first.map_or(0, |first| first.seq);
                format!(
                    "{reader} {form}: {:?} at seq {} and again at seq {}",
                    row.marker, first, row.seq
                )
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::checker::findings::Kind;
    use crate::checker::testing::Story;

    #[test]
    fn one_document_at_two_seqs_is_doubled() {
        let mut story = Story::good(5);
        story.show(2, 6);
        assert_eq!(story.count(Kind::Doubled), 1);
    }

    #[test]
    fn an_unknown_that_stands_there_twice_is_doubled() {
        let mut story = Story::good(2);
        story.unknown(2, 10);
        story.show(2, 3);
        story.show(2, 4);
        assert_eq!(story.kinds(), [(Kind::Doubled, 1)]);
    }

    #[test]
    fn one_id_under_two_documents_is_doubled() {
        let mut story = Story::good(5);
        let id = story.rows[0].id;
        story.rows[1].id = id;
        assert_eq!(story.count(Kind::Doubled), 1);
    }
}
