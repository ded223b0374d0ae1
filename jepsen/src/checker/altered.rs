//! Altered: the record is there, but not with the document that was sent; or what stands there
//! can be read as no record at all.

use crate::checker::Span;
use crate::checker::findings::{Findings, Kind};
use crate::checker::sight::Shape;

pub(crate) fn check(span: &Span<'_>, findings: &mut Findings) {
    for words in &span.sight.unreadable {
        findings.add(Kind::Altered, || {
            format!("{} {}: {words}", span.sight.reader, span.sight.form.name())
        });
    }
    for row in span.rows() {
        let Some(account) = row.marker.and_then(|marker| span.accounts.get(marker)) else {
            continue;
        };
        let sent = match span.sight.shape {
            Shape::Document => account.digests.document,
            Shape::Cells => account.digests.cells,
        };
        if row.digest != sent || account.form != span.sight.form {
            findings.add(Kind::Altered, || {
                format!(
                    "{} {}: m{} at seq {} is not what was sent",
                    span.sight.reader,
                    span.sight.form.name(),
                    account.marker,
                    row.seq
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
    fn another_body_under_the_same_marker_is_altered() {
        let mut story = Story::good(5);
        story.rows[3].digest ^= 1;
        assert_eq!(story.kinds(), [(Kind::Altered, 1)]);
    }

    #[test]
    fn what_is_no_record_is_altered() {
        let mut story = Story::good(5);
        story.unreadable.push("a torn row".to_owned());
        assert_eq!(story.kinds(), [(Kind::Altered, 1)]);
    }
}
