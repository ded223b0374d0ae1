//! The hosted page of a form, and the pages around it.
//!
//! Holds: works without JavaScript; everything that came from outside is escaped by the template
//! engine, whatever it is; what was typed is there again after a refusal, and each fault is told
//! twice: in a summary on top that links to the field, and beside the field. The only style sheet
//! stands inline and is the same for every page, so a policy can name it by its hash.

mod input;

use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Value, context};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::fault::Fault;
use super::form::Form;
use crate::ingest::{Receipt, instant_text};
use input::Input;

/// What one showing of a form's page says beside the form.
#[derive(Clone, Copy, Debug, Default)]
pub struct PageInput<'a> {
    /// What was typed before; empty on a first visit.
    pub typed: &'a [(String, String)],
    /// What is wrong with it.
    pub faults: &'a [Fault],
    /// Names this showing of the page, so that sending it twice stores it once.
    pub idempotency_key: &'a str,
    /// Where to go afterwards.
    pub next: Option<&'a str>,
    /// A sentence on top.
    pub notice: Option<&'a str>,
}

/// The page on which a form is filled in.
pub fn form_page(form: &Form, page: &PageInput<'_>) -> String {
    let definition = &form.definition;
    let inputs: Vec<Input<'_>> = form
        .fields
        .iter()
        .enumerate()
        .map(|(at, field)| Input::new(at, field, page))
        .collect();
    let mut faults: Vec<Told> = page
        .faults
        .iter()
        .map(|fault| Told::new(fault, &inputs))
        .collect();
    faults.sort_by_key(|fault| fault.at); // as on the page
    render(
        "form.html",
        context! {
            name => definition.name.as_str(),
            title => definition.title.as_str(),
            description => definition.description.as_deref(),
            notice => page.notice,
            faults => Value::from(Serde(&faults)),
            is_retired => form.is_retired,
            idempotency_key => page.idempotency_key,
            next => page.next,
            fields => Value::from(Serde(&inputs)),
            key_required => definition.key_required,
            honeypot => definition.honeypot.as_deref(),
        },
    )
}

/// The page that follows a submission: its receipt for people.
pub fn thanks_page(title: &str, receipt: &Receipt) -> String {
    let instant = instant_text(receipt.received_at);
    let (day, time) = instant.split_once('T').unwrap_or((&instant, ""));
    let received = format!("{day} {} UTC", time.get(..8).unwrap_or_default());
    render(
        "thanks.html",
        context! { title, receipt => Value::from(Serde(receipt)), received },
    )
}

/// A page that says one thing.
pub fn message_page(title: &str, text: &str) -> String {
    render("message.html", context! { title, text })
}

/// How a content security policy names the pages' style sheet: `'sha256-…'`.
pub fn style_source() -> &'static str {
    static SOURCE: LazyLock<String> =
        LazyLock::new(|| format!("'sha256-{}'", base64(&Sha256::digest(STYLE.as_bytes()))));
    &SOURCE
}

/// A fault in the summary.
#[derive(Serialize)]
struct Told {
    /// The field's id; `None`: there is no such field on the page.
    target: Option<String>,
    text: String,
    /// Which field it is; after all of them, where it is none.
    at: usize,
}

impl Told {
    fn new(fault: &Fault, inputs: &[Input<'_>]) -> Self {
        let field = fault.field();
        let at = inputs
            .iter()
            .position(|input| Some(input.name) == field.as_deref());
        let input = at.and_then(|at| inputs.get(at));
        let subject = match (&input, field) {
            (Some(input), _) => input.title.to_owned(),
            (None, Some(name)) => name,
            (None, None) => "The form".to_owned(),
        };
        let target = input.map(|input| input.target().to_owned());
        let text = format!("{subject} {}", fault.detail);
        Self {
            target,
            text,
            at: at.unwrap_or(usize::MAX),
        }
    }
}

fn render(template: &str, values: Value) -> String {
    static PAGES: LazyLock<Environment<'static>> = LazyLock::new(environment);
    let page = PAGES
        .get_template(template)
        .and_then(|page| page.render(values));
    page.unwrap_or_else(|error| {
        tracing::error!(template, %error, "page not rendered");
        "<!doctype html><title>formspool</title><p>This page cannot be shown.".to_owned()
    })
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let tidy = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_syntax(tidy.unwrap_or_default());
    environment.add_global("style", STYLE);
    for (name, source) in PAGES {
        if let Err(error) = environment.add_template(name, source) {
            tracing::error!(template = name, %error, "template unusable");
        }
    }
    environment
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for at in 0..4 {
            let letter = LETTERS.get((bits >> (18 - 6 * at) & 63) as usize);
            let is_filled = at <= group.len();
            text.push(
                letter
                    .filter(|_| is_filled)
                    .map_or('=', |letter| char::from(*letter)),
            );
        }
    }
    text
}

const STYLE: &str = include_str!("page/style.css");
const PAGES: [(&str, &str); 5] = [
    ("base.html", include_str!("page/base.html")),
    ("form.html", include_str!("page/form.html")),
    ("field.html", include_str!("page/field.html")),
    ("thanks.html", include_str!("page/thanks.html")),
    ("message.html", include_str!("page/message.html")),
];

#[cfg(test)]
mod tests;
