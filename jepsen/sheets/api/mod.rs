//! The API's door: who asks, may they, how often; then the call itself, spoilt by a fault or not.
//!
//! The order is Google's, as far as it shows: address, token, scope, quota, body, permission. What a
//! fault spoils has passed token and quota.

mod read;
mod write;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::sleep;

use crate::batch::Caller;
use crate::clock;
use crate::control::human;
use crate::error::{self, Answer};
use crate::faults::{Fault, Kind};
use crate::quota::{Class, Exceeded};
use crate::schema::mask::{self, Mask};
use crate::schema::{Method, Violation};
use crate::settings::Settings;
use crate::shelf::Version;
use crate::world::{CallEnd, Fake};

/// A request, without its connection.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) verb: String,
    /// Decoded, but for `%2F`, which is `\u{1}`.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) bearer: Option<String>,
    pub(crate) body: Bytes,
}

/// A call that may be done.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) number: u64,
    pub(super) method: String,
    pub(super) class: Class,
    pub(super) caller: Caller,
    pub(super) spreadsheet: String,
    /// What stands in the path besides the spreadsheet.
    pub(super) path: HashMap<String, String>,
    pub(super) query: Vec<(String, String)>,
    pub(super) mask: Option<Mask>,
    pub(super) body: Value,
    /// How long a batch is under way, where a fault says so.
    pub(super) work_ms: Option<u64>,
    response: usize,
    bearer: Option<String>,
    scopes: Vec<String>,
}

impl Task {
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let mut query = self.query.iter();
        let found = query.find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Answers one request; what it started goes on also when nobody waits.
pub(crate) async fn answer(fake: Arc<Fake>, call: Call) -> Answer {
    let mut end = CallEnd {
        n: 0,
        at_ms: clock::now_ms(),
        method: format!("{} {}", call.verb, call.path),
        user: String::new(),
        spreadsheet: String::new(),
        status: 0,
        words: String::new(),
        fault: None,
    };
    {
        let mut world = fake.world();
        world.calls_begun += 1;
        end.n = world.calls_begun;
    }
    let answer = if call.path == "/token" {
        token(&fake, &call, &mut end).await
    } else {
        match admit(&fake, &call, &mut end) {
            Err(answer) => answer,
            Ok((task, fault)) => under(Arc::clone(&fake), task, fault).await,
        }
    };
    end.status = answer.status();
    if let Answer::Json { body, .. } = &answer {
        let words = body.pointer("/error/message").and_then(Value::as_str);
        words.unwrap_or_default().clone_into(&mut end.words);
    }
    fake.world().end_call(end);
    answer
}

async fn token(fake: &Fake, call: &Call, end: &mut CallEnd) -> Answer {
    if call.verb != "POST" {
        return error::page(404, "Not Found");
    }
    let fault = {
        let world = &mut *fake.world();
        world.faults.pick(None, "", &mut world.dice)
    };
    let give = || {
        let form = form_urlencoded::parse(&call.body).into_owned().collect();
        let world = &mut *fake.world();
        let settings = world.settings.clone();
        let now = (fake.token_uri.as_str(), world.now_ms());
        world.tokens.give(&form, now, &settings)
    };
    let Some(fault) = fault else {
        return give();
    };
    end.fault = Some(format!("{:?}", fault.kind));
    match fault.kind {
        Kind::Slow | Kind::Work => {
            sleep(Duration::from_millis(fault.delay_ms)).await;
            give()
        }
        Kind::Hang => Answer::Never,
        Kind::Drop | Kind::ApplyThenDrop | Kind::Zombie => Answer::Gone,
        Kind::Truncate => Answer::Cut(serde_json::json!({"access_token": "ya29.cut-off"})),
        Kind::Edit => give(),
        Kind::Answer | Kind::ApplyThenAnswer | Kind::Throttle | Kind::Expire => spoilt(&fault),
    }
}

/// Everything that can be said without doing the call.
fn admit(fake: &Fake, call: &Call, end: &mut CallEnd) -> Result<(Task, Option<Fault>), Answer> {
    let Some((method, path)) = fake.schema.route(&call.verb, &call.path) else {
        let path = call.path.replace('\u{1}', "%2F");
        let words = format!(
            "The requested URL {} was not found on this server.",
            escaped(&path)
        );
        return Err(error::page(404, &words));
    };
    let decode = |(name, value): (String, String)| (name, value.replace('\u{1}', "/"));
    let mut path = path.into_iter().map(decode).collect::<HashMap<_, _>>();
    let spreadsheet = path.remove("spreadsheetId").unwrap_or_default();
    (end.method, end.spreadsheet) = (method.id.clone(), spreadsheet.clone());
    let (caller, fault) = gate(fake, (method, call, spreadsheet.as_str()), end)?;
    // The lock is let go of before a body of some megabytes is looked at.
    let (mask, body) = checked(fake, method, (&call.query, &path), &call.body)?;
    let task = Task {
        number: end.n,
        method: method.id.clone(),
        class: class(method),
        caller,
        spreadsheet,
        path,
        query: call.query.clone(),
        mask,
        body,
        work_ms: None,
        response: method.response,
        bearer: call.bearer.clone(),
        scopes: method.scopes.clone(),
    };
    Ok((task, fault))
}

/// Whether the call changes anything. Everything is a POST that has a body, so only its name tells.
fn class(method: &Method) -> Class {
    let changes = [
        "batchUpdate",
        "append",
        "batchClear",
        "clear",
        "update",
        "copyTo",
        "create",
    ];
    let last = method.id.rsplit('.').next().unwrap_or_default();
    if changes.iter().any(|change| last.starts_with(change)) {
        Class::Write
    } else {
        Class::Read
    }
}

/// Token, scope and quota, and which fault falls.
fn gate(
    fake: &Fake,
    (method, call, spreadsheet): (&Method, &Call, &str),
    end: &mut CallEnd,
) -> Result<(Caller, Option<Fault>), Answer> {
    let world = &mut *fake.world();
    let (now_ms, class) = (world.now_ms(), class(method));
    let bearer = call.bearer.as_deref();
    let caller = world.tokens.caller(bearer, &method.scopes, now_ms)?;
    end.user.clone_from(&caller.user);
    let (faults, dice) = (&mut world.faults, &mut world.dice);
    let fault = faults.pick(Some(class), spreadsheet, dice);
    end.fault = fault.as_ref().map(|fault| format!("{:?}", fault.kind));
    let settings = &world.settings;
    let throttled = |exceeded: Exceeded| Answer::Json {
        status: 429,
        body: exceeded.to_json(&caller.project),
        retry_after_s: settings.retry_after_s,
    };
    let kind = fault.as_ref().map(|fault| fault.kind);
    if kind == Some(Kind::Throttle) {
        let size = match class {
            Class::Read => settings.reads_per_user,
            Class::Write => settings.writes_per_user,
        };
        return Err(throttled(Exceeded::new(class, true, size)));
    }
    if kind == Some(Kind::Expire) {
        world.tokens.expire(Some(&caller.user));
        return Err(error::unauthenticated("ACCESS_TOKEN_EXPIRED"));
    }
    let taken = world
        .quota
        .take(class, &caller, settings, fake.elapsed_ms());
    taken.map_err(throttled)?;
    Ok((caller, fault))
}

/// Parameters and body, by the published description.
fn checked(
    fake: &Fake,
    method: &Method,
    (query, path): (&[(String, String)], &HashMap<String, String>),
    bytes: &Bytes,
) -> Result<(Option<Mask>, Value), Answer> {
    let mut found = Vec::new();
    let mut seen = Vec::new();
    let given = query.iter().map(|(name, value)| (name, value));
    for (name, value) in given.chain(path) {
        let Some(parameter) = fake.schema.parameter(method, name) else {
            let words = format!(
                "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query \
                 parameter. Field '{name}' could not be found in request message."
            );
            found.push(Violation {
                field: String::new(),
                words,
            });
            continue;
        };
        if seen.contains(&name) && !parameter.is_repeated {
            let words = format!(
                "Invalid value at '{name}' (non-repeated), Cannot bind query parameter twice."
            );
            found.push(Violation {
                field: name.clone(),
                words,
            });
        }
        seen.push(name);
        found.extend(fake.schema.check_parameter(&parameter.kind, name, value));
    }
    let body = match method.request {
        None => Value::Null,
        Some(_) if bytes.is_empty() => serde_json::json!({}),
        Some(_) => serde_json::from_slice(bytes).map_err(|why| {
            let words = format!("Invalid JSON payload received. {why}");
            error::violations(&[Violation {
                field: String::new(),
                words,
            }])
        })?,
    };
    if let Some(place) = method.request {
        found.extend(fake.schema.check(place, &body));
    }
    if !found.is_empty() {
        return Err(error::violations(&found));
    }
    let fields = query
        .iter()
        .find(|(name, _)| name == "fields" || name == "$fields");
    let mask = fields
        .map(|(_, text)| selection(fake, method, text))
        .transpose()?;
    Ok((mask, body))
}

fn selection(fake: &Fake, method: &Method, text: &str) -> Result<Mask, Answer> {
    let mask = mask::parse(text);
    let stray = match &mask {
        Ok(mask) => mask.stray(&fake.schema, method.response),
        Err(_) => Some(text.to_owned()),
    };
    match (mask, stray) {
        (Ok(mask), None) => Ok(mask),
        (_, stray) => {
            let words = format!(
                "Error expanding 'fields' parameter. Cannot find matching fields for path '{}'.",
                stray.unwrap_or_default()
            );
            Err(error::stray(words))
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn spoilt(fault: &Fault) -> Answer {
    if fault.html || fault.status == 408 {
        return error::page(fault.status, "Please try again.");
    }
    let details = fault.reason.as_deref().map(|reason| {
        error::info(
            reason,
            &serde_json::json!({"service": "sheets.googleapis.com"}),
        )
    });
    error::error(fault.status, fault.message.as_deref(), details)
}

/// Does the call as far as the fault lets it, in a task of its own.
async fn under(fake: Arc<Fake>, mut task: Task, fault: Option<Fault>) -> Answer {
    let Some(fault) = fault else {
        return whole(&fake, task).await;
    };
    let delay = Duration::from_millis(fault.delay_ms);
    match fault.kind {
        // Throttled and expired calls never come so far.
        Kind::Answer | Kind::Throttle | Kind::Expire => spoilt(&fault),
        Kind::Drop => Answer::Gone,
        Kind::Hang => Answer::Never,
        Kind::ApplyThenAnswer => {
            whole(&fake, task).await;
            spoilt(&fault)
        }
        Kind::ApplyThenDrop => {
            whole(&fake, task).await;
            Answer::Gone
        }
        Kind::Truncate => cut(whole(&fake, task).await),
        Kind::Slow => {
            sleep(delay).await;
            late(&fake, task).await
        }
        Kind::Zombie => {
            let (fake, late_fake) = (Arc::clone(&fake), Arc::clone(&fake));
            let done = async move {
                sleep(delay).await;
                late(&late_fake, task).await;
            };
            spawn(&fake, done);
            Answer::Gone
        }
        Kind::Work => {
            task.work_ms = Some(fault.delay_ms);
            whole(&fake, task).await
        }
        Kind::Edit => {
            let spreadsheet = task.spreadsheet.clone();
            human::edits(&fake, &spreadsheet, &fault.before);
            let answer = whole(&fake, task).await;
            human::edits(&fake, &spreadsheet, &fault.after);
            answer
        }
    }
}

/// What is no 200 cannot be broken off: it was not applied.
fn cut(answer: Answer) -> Answer {
    if answer.status() != 200 {
        return answer;
    }
    if let Answer::Json { body, .. } = answer {
        return Answer::Cut(body);
    }
    answer
}

/// In the set of all that is under way.
pub(crate) fn spawn(fake: &Fake, work: impl Future<Output = ()> + Send + 'static) {
    let under_way = fake.under_way.lock();
    let mut under_way = under_way.unwrap_or_else(std::sync::PoisonError::into_inner);
    while under_way.try_join_next().is_some() {}
    under_way.spawn(work);
}

/// One that was held up: its token may have ended meanwhile.
async fn late(fake: &Fake, task: Task) -> Answer {
    let is_good = {
        let world = fake.world();
        let now_ms = world.now_ms();
        world
            .tokens
            .caller(task.bearer.as_deref(), &task.scopes, now_ms)
    };
    match is_good {
        Err(answer) => answer,
        Ok(_) => whole(fake, task).await,
    }
}

async fn whole(fake: &Fake, task: Task) -> Answer {
    let settings = fake.world().settings.clone();
    let done = match task.class {
        Class::Write => write::done(fake, &task).await,
        Class::Read => read::done(fake, &task),
    };
    match done {
        Err(answer) => answer,
        Ok(mut body) => {
            if let Some(mask) = &task.mask {
                mask.apply(&mut body);
            }
            if settings.omit_zeros {
                fake.schema.omit_zeros(task.response, &mut body);
            }
            Answer::json(200, body)
        }
    }
}

/// The spreadsheet as the caller may see it.
pub(super) fn seen(fake: &Fake, task: &Task, is_stale: bool) -> Result<Version, Answer> {
    let world = fake.world();
    let Settings {
        unshared,
        stale_reads_ms,
        ..
    } = world.settings;
    let shelf = world.shelves.get(&task.spreadsheet);
    let shelf = shelf.ok_or_else(|| error::error(404, None, None))?;
    if !shelf.shared.contains(&task.caller.user) {
        return Err(error::error(unshared, None, None));
    }
    if is_stale && stale_reads_ms > 0 {
        return Ok(shelf.at(clock::now_ms().saturating_sub(stale_reads_ms)));
    }
    Ok(shelf.now())
}
