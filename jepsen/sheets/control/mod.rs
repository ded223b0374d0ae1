//! The control port: spreadsheets, switches, faults, people, the journal, and a page to watch.

pub(crate) mod human;
mod page;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::batch;
use crate::book::{Book, Tab};
use crate::clock;
use crate::dice::Dice;
use crate::error::Answer;
use crate::journal;
use crate::keys::Account;
use crate::shelf::Shelf;
use crate::world::Fake;

#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) verb: String,
    pub(crate) path: String,
    pub(crate) query: HashMap<String, String>,
    pub(crate) body: Bytes,
}

pub(crate) async fn answer(fake: &Fake, asked: &Asked) -> Answer {
    match told(fake, asked).await {
        Ok(answer) => answer,
        Err(why) => Answer::json(400, json!({"error": format!("{why:#}")})),
    }
}

async fn told(fake: &Fake, asked: &Asked) -> anyhow::Result<Answer> {
    let body = if asked.body.is_empty() {
        json!({})
    } else {
        serde_json::from_slice(&asked.body)?
    };
    let path = asked.path.trim_matches('/').split('/').collect::<Vec<_>>();
    let done = |body: Value| Ok(Answer::json(200, body));
    match (asked.verb.as_str(), path.as_slice()) {
        ("GET", [""]) => Ok(page::whole(fake)),
        ("GET", ["tabs"]) => Ok(page::tabs(fake)),
        ("GET", ["state"]) => done(state(fake)),
        ("GET", ["settings"]) => done(serde_json::to_value(&fake.world().settings)?),
        ("POST", ["settings"]) => {
            let mut world = fake.world();
            world.settings = world.settings.with(&body)?;
            done(serde_json::to_value(&world.settings)?)
        }
        ("POST", ["seed"]) => {
            let seed = body.get("seed").and_then(Value::as_u64).unwrap_or(1);
            fake.world().dice = Dice::new(seed);
            done(json!({}))
        }
        ("POST", ["spreadsheets"]) => done(make(fake, &body)?),
        ("DELETE", ["spreadsheets", id]) => {
            let removed = fake.world().shelves.remove(*id);
            done(json!({"removed": removed.is_some()}))
        }
        ("POST", ["spreadsheets", id, how @ ("share" | "unshare")]) => {
            done(share(fake, id, *how == "share", &body)?)
        }
        ("POST", ["spreadsheets", id, "human"]) => done(human::does(fake, id, &body)?),
        ("GET", ["spreadsheets", id, "tabs", tab]) => done(read(fake, (id, tab), &asked.query)?),
        ("POST", ["faults"]) => {
            let fault = serde_json::from_value(body)?;
            done(json!({"id": fake.world().faults.add(fault)}))
        }
        ("GET", ["faults"]) => done(fake.world().faults.to_json()),
        ("DELETE", ["faults"]) => done(json!({"removed": fake.world().faults.remove(None)})),
        ("DELETE", ["faults", id]) => {
            let removed = fake.world().faults.remove(Some(id.parse()?));
            done(json!({ "removed": removed }))
        }
        ("POST", ["credentials"]) => credentials(fake, &body).await,
        ("DELETE", ["credentials", email]) => {
            done(json!({"removed": fake.world().tokens.revoke(email)}))
        }
        ("POST", ["tokens", "expire"]) => {
            fake.world()
                .tokens
                .expire(body.get("user").and_then(Value::as_str));
            done(json!({}))
        }
        ("POST", ["listen"]) => {
            let is_up = body.get("up") != Some(&Value::Bool(false));
            fake.is_open.send_replace(is_up);
            done(json!({ "up": is_up }))
        }
        ("GET", ["journal"]) => done(journal_page(fake, &asked.query)),
        ("GET", ["clock"]) => done(json!({"now_ms": clock::now_ms()})),
        ("GET", ["calls"]) => done(calls(fake, &asked.query)),
        ("GET", ["quota"]) => done(fake.world().quota.to_json()),
        _ => Ok(Answer::json(
            404,
            json!({"error": "there is nothing here; see README.md"}),
        )),
    }
}

/// Makes a spreadsheet; answers its id.
pub(crate) fn make(fake: &Fake, body: &Value) -> anyhow::Result<Value> {
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let world = &mut *fake.world();
    let id = text("id").map_or_else(|| format!("fake-{:016x}", world.dice.roll()), str::to_owned);
    anyhow::ensure!(!world.shelves.contains_key(&id), "{id} is there already");
    let mut book = Book::new(&id, text("title").unwrap_or(&id));
    let usual = json!([{}]);
    let tabs = body.get("tabs").unwrap_or(&usual).as_array().cloned();
    for (place, tab) in (0..).zip(tabs.unwrap_or_default()) {
        let number =
            |name: &str, usual: u64| tab.get(name).and_then(Value::as_u64).unwrap_or(usual);
        // The first tab of a new spreadsheet has the id 0.
        let own = i32::try_from(number("sheetId", if place == 0 { 0 } else { 1000 + place }))?;
        let usual = format!("Sheet{}", place + 1);
        let title = tab.get("title").and_then(Value::as_str).unwrap_or(&usual);
        let (rows, columns) = (number("rows", 1000), number("columns", 26));
        let tab = Tab::new(
            own,
            title,
            usize::try_from(rows)?,
            usize::try_from(columns)?,
        );
        anyhow::ensure!(book.tab(own).is_none(), "two tabs with one id");
        book.tabs.push(Arc::new(tab));
    }
    let mut shelf = Shelf::new(book, clock::now_ms());
    match body.get("share") {
        Some(Value::Bool(false)) => {}
        Some(Value::Array(emails)) => {
            let emails = emails.iter().filter_map(Value::as_str);
            shelf.shared.extend(emails.map(str::to_owned));
        }
        _ => {
            shelf.shared.insert(fake.email.clone());
        }
    }
    world.shelves.insert(id.clone(), shelf);
    Ok(json!({ "spreadsheetId": id }))
}

fn share(fake: &Fake, id: &str, is_shared: bool, body: &Value) -> anyhow::Result<Value> {
    let email = body
        .get("with")
        .and_then(Value::as_str)
        .unwrap_or(&fake.email);
    let mut world = fake.world();
    let Some(shelf) = world.shelves.get_mut(id) else {
        anyhow::bail!("no spreadsheet {id}");
    };
    if is_shared {
        shelf.shared.insert(email.to_owned());
    } else {
        shelf.shared.remove(email);
    }
    Ok(json!({ "shared": shelf.shared }))
}

async fn credentials(fake: &Fake, body: &Value) -> anyhow::Result<Answer> {
    let text = |name: &str, usual: &str| {
        let text = body.get(name).and_then(Value::as_str);
        text.unwrap_or(usual).to_owned()
    };
    let (name, project) = (text("name", "other"), text("project", crate::PROJECT));
    let token_uri = fake.token_uri.clone();
    let make = move || Account::make(&name, &project, &token_uri);
    let (account, credentials) = tokio::task::spawn_blocking(make).await??;
    fake.world().tokens.add(account);
    Ok(Answer::json(200, credentials))
}

fn number(query: &HashMap<String, String>, name: &str, usual: usize) -> usize {
    query
        .get(name)
        .and_then(|text| text.parse().ok())
        .unwrap_or(usual)
}

fn journal_page(fake: &Fake, query: &HashMap<String, String>) -> Value {
    let (after, limit) = (number(query, "after", 0), number(query, "limit", 100));
    let spreadsheet = query.get("spreadsheet").map(String::as_str);
    fake.world().journal.page(after, limit, spreadsheet)
}

fn calls(fake: &Fake, query: &HashMap<String, String>) -> Value {
    let after = u64::try_from(number(query, "after", 0)).unwrap_or(0);
    let limit = number(query, "limit", 10_000);
    let world = fake.world();
    let calls = world.calls.iter().filter(|call| call.n > after).take(limit);
    calls.map(crate::world::CallEnd::to_json).collect()
}

fn state(fake: &Fake) -> Value {
    let world = fake.world();
    let spreadsheets = world.shelves.iter().map(|(id, shelf)| {
        let now = shelf.now();
        let tabs = now.book.tabs.iter().map(|tab| {
            json!({
                "sheetId": tab.id,
                "title": tab.title,
                "rows": tab.rows.len(),
                "columns": tab.columns(),
                "filled": tab.filled(),
            })
        });
        let trash = shelf.trashed().map(|(id, title)| json!({"sheetId": id, "title": title}));
        json!({
            "id": id,
            "title": now.book.title,
            "revision": now.revision,
            "cells": now.book.cells(),
            "shared": shelf.shared,
            "tabs": tabs.collect::<Value>(),
            "deleted": trash.collect::<Value>(),
            "protected": now.book.protected.iter().map(|one| one.to_json("")).collect::<Value>(),
            "metadata": now.book.items.values().map(|item| item.to_json(&now.book)).collect::<Value>(),
        })
    });
    json!({
        "spreadsheets": spreadsheets.collect::<Value>(),
        "accounts": world.tokens.emails(),
        "calls": world.calls_begun,
        "journal": world.journal.len(),
    })
}

/// A tab as it stands, each column with what is bound to it.
fn read(
    fake: &Fake,
    (id, tab): (&str, &str),
    query: &HashMap<String, String>,
) -> anyhow::Result<Value> {
    let book = {
        let world = fake.world();
        let shelf = world.shelves.get(id);
        let Some(shelf) = shelf else {
            anyhow::bail!("no spreadsheet {id}");
        };
        shelf.now().book
    };
    let by_id = tab.parse().ok().and_then(|id| book.tab(id));
    let Some(tab) = by_id.or_else(|| book.titled(tab)) else {
        anyhow::bail!("no tab {tab}");
    };
    let from = number(query, "from", 0);
    let rows = tab
        .rows
        .range(from..from.saturating_add(number(query, "limit", 10_000)));
    let rows = rows.map(|(_, row)| {
        let cells = row.ordered(&tab.slots).into_iter();
        cells
            .map(|cell| journal::value(cell.content))
            .collect::<Value>()
    });
    let heads = batch::heads(&book, tab).into_iter();
    let columns = heads.map(|head| {
        let metadata = head.metadata.into_iter();
        let metadata =
            metadata.map(|(id, key, value)| json!({"id": id, "key": key, "value": value}));
        json!({"header": head.header, "metadata": metadata.collect::<Value>()})
    });
    Ok(json!({
        "sheetId": tab.id,
        "title": tab.title,
        "filled": tab.filled(),
        "columns": columns.collect::<Value>(),
        "rows": rows.collect::<Value>(),
    }))
}
