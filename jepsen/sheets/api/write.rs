//! `batchUpdate`: in turn with others on the same spreadsheet, or as the switch says.

use crate::json::put;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Task, seen};
use crate::batch::{self, Caller, Outcome, Refusal, Rules};
use crate::book::Book;
use crate::book::show::View;
use crate::error::{self, Answer};
use crate::settings::{NoMatch, Overlap, Settings};
use crate::shelf::Version;
use crate::world::{Fake, World};

pub(super) async fn done(fake: &Fake, task: &Task) -> Result<Value, Answer> {
    if task.method != "sheets.spreadsheets.batchUpdate" {
        return Err(error::gap(&format!(
            "this fake does not know {}",
            task.method
        )));
    }
    let began = seen(fake, task, false)?;
    let (settings, turn) = {
        let world = fake.world();
        let shelf = world.shelves.get(&task.spreadsheet);
        let turn = shelf
            .map(|shelf| Arc::clone(&shelf.turn))
            .unwrap_or_default();
        (world.settings.clone(), turn)
    };
    let work = Duration::from_millis(task.work_ms.unwrap_or(settings.work_ms));
    let refused = |status| Err(error::error(status, None, None));
    let _turn = match settings.overlap {
        Overlap::Serial => Some(turn.lock_owned().await),
        Overlap::Refuse409 => match turn.try_lock_owned() {
            Ok(turn) => Some(turn),
            Err(_) => return refused(409),
        },
        Overlap::Refuse503 => match turn.try_lock_owned() {
            Ok(turn) => Some(turn),
            Err(_) => return refused(503),
        },
        Overlap::Both => None,
    };
    if !work.is_zero() {
        sleep(work).await;
    }
    apply(fake, task, &settings, &began)
}

fn apply(fake: &Fake, task: &Task, settings: &Settings, began: &Version) -> Result<Value, Answer> {
    let requests = task.body.get("requests").and_then(Value::as_array);
    let requests = requests.map(Vec::as_slice).unwrap_or_default();
    let world = &mut *fake.world();
    let Some(now) = world
        .shelves
        .get(&task.spreadsheet)
        .map(crate::shelf::Shelf::now)
    else {
        return Err(error::error(404, None, None));
    };
    let mut rules = Rules {
        schema: Arc::clone(&fake.schema),
        is_no_match_refused: settings.no_match_delete == NoMatch::Refused,
        is_lenient: false,
    };
    if settings.overlap == Overlap::Both && now.revision != began.revision {
        // Judged by what was there when it began, and then applied to what is there now.
        try_on(world, &began.book, requests, (&rules, &task.caller))?;
        rules.is_lenient = true;
    }
    let (book, mut outcome) = try_on(world, &now.book, requests, (&rules, &task.caller))?;
    let replies = std::mem::take(&mut outcome.replies);
    let mut answer = json!({"spreadsheetId": book.id, "replies": replies});
    if task.body.get("includeSpreadsheetInResponse") == Some(&Value::Bool(true)) {
        put(&mut answer, "updatedSpreadsheet", updated(&book, task)?);
    }
    world.commit(book, outcome, (task.number, &task.caller.user, None));
    Ok(answer)
}

fn try_on(
    world: &mut World,
    book: &Book,
    requests: &[Value],
    by: (&Rules, &Caller),
) -> Result<(Book, Outcome), Answer> {
    let mut book = book.clone();
    match batch::apply(&mut book, requests, by, &mut world.dice) {
        Ok(outcome) => Ok((book, outcome)),
        Err(Refusal::Invalid(words)) => Err(error::error(400, Some(&words), None)),
        Err(Refusal::Gap(what)) => Err(error::gap(&what)),
    }
}

fn updated(book: &Book, task: &Task) -> Result<Value, Answer> {
    let ranges = task.body.get("responseRanges").and_then(Value::as_array);
    let ranges = ranges.into_iter().flatten().filter_map(Value::as_str);
    let ranges = ranges
        .map(|text| book.rect(text))
        .collect::<Result<Vec<_>, _>>();
    let ranges = ranges.map_err(|words| error::error(400, Some(&words), None))?;
    let mask = match &task.mask {
        Some(mask) => match mask.of("updatedSpreadsheet") {
            Some(below) => Some(below),
            // Nobody will see it.
            None => return Ok(Value::Null),
        },
        None => None,
    };
    let wants_cells = task.body.get("responseIncludeGridData") == Some(&Value::Bool(true));
    Ok(book.show(&View {
        ranges,
        // Documented: ignored where there is a field mask.
        has_cells: mask.is_some() || wants_cells,
        mask,
        user: &task.caller.user,
        project: &task.caller.project,
    }))
}
