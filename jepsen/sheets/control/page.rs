//! The page on which people watch rows arrive.
//!
//! Holds: all that came from outside is escaped here; the page loads nothing from anywhere else.

use std::fmt::Write as _;

use crate::book::{Book, Tab, a1};
use crate::error::Answer;
use crate::world::Fake;

const ROWS_SHOWN: usize = 40;
const COLUMNS_SHOWN: usize = 30;
const LETTERS_SHOWN: usize = 120;
const PAGE: &str = include_str!("page.html");

pub(super) fn whole(fake: &Fake) -> Answer {
    let body = PAGE.replace("<!--tabs-->", &fragment(fake));
    Answer::Html { status: 200, body }
}

pub(super) fn tabs(fake: &Fake) -> Answer {
    let body = fragment(fake);
    Answer::Html { status: 200, body }
}

fn fragment(fake: &Fake) -> String {
    let (books, calls) = {
        let world = fake.world();
        let books = world
            .shelves
            .values()
            .map(|shelf| (shelf.now(), shelf.shared.clone()));
        (books.collect::<Vec<_>>(), world.calls_begun)
    };
    let mut html = String::new();
    let email = escaped(&fake.email);
    write!(
        html,
        "<p>Calls of the API so far: {calls}. Share spreadsheets with <b>{email}</b>.</p>"
    )
    .ok();
    if books.is_empty() {
        html += "<p>No spreadsheet yet: make one with <code>POST /spreadsheets</code>.</p>";
    }
    for (version, shared) in books {
        let book = &version.book;
        let shared = if shared.is_empty() {
            "shared with nobody"
        } else {
            "shared"
        };
        write!(
            html,
            "<h2>{} <small>{} · version {} · {} cells · {shared}</small></h2>",
            escaped(&book.title),
            escaped(&book.id),
            version.revision,
            book.cells()
        )
        .ok();
        for tab in &book.tabs {
            table(&mut html, book, tab);
        }
    }
    html
}

/// The first row, and the last ones with anything in them.
fn table(html: &mut String, book: &Book, tab: &Tab) {
    let filled = tab.filled();
    let title = escaped(&tab.title);
    let count = filled.saturating_sub(1);
    write!(
        html,
        "<h3>{title} <small>{count} rows below the header</small></h3><div><table><tr><th></th>"
    )
    .ok();
    let slots = tab
        .slots
        .iter()
        .take(COLUMNS_SHOWN)
        .copied()
        .collect::<Vec<_>>();
    for column in 0..slots.len() {
        write!(html, "<th>{}</th>", a1::letters(column)).ok();
    }
    *html += "</tr>";
    let first = filled.saturating_sub(ROWS_SHOWN).max(1);
    let rows = tab
        .rows
        .range(0..1)
        .chain(tab.rows.range(first..filled.max(first)));
    for (place, row) in rows {
        let kind = if place == 0 { " class=head" } else { "" };
        write!(html, "<tr{kind}><th>{}</th>", place + 1).ok();
        for cell in row.ordered(&slots) {
            let text = book.formatted(cell);
            let short = text.chars().take(LETTERS_SHOWN).collect::<String>();
            let more = if short.len() < text.len() { "…" } else { "" };
            write!(html, "<td>{}{more}</td>", escaped(&short)).ok();
        }
        *html += "</tr>";
        if place == 0 && first > 1 {
            let hidden = first - 1;
            let width = slots.len() + 1;
            write!(
                html,
                "<tr><th colspan={width}>… {hidden} rows before these …</th></tr>"
            )
            .ok();
        }
    }
    *html += "</table></div>";
}

fn escaped(text: &str) -> String {
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn markup_is_shown_and_not_obeyed() {
        let shown = escaped("<img src=x onerror=\"a('b')\">&");
        assert_eq!(
            shown,
            "&lt;img src=x onerror=&quot;a(&#39;b&#39;)&quot;&gt;&amp;"
        );
    }
}
