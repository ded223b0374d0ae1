//! What an answer means: the only place that reads Google's errors.
//!
//! | answer | meaning |
//! |---|---|
//! | 429, 403 of a quota | not applied; the credential's bucket pauses, not the form |
//! | 401, no token | not applied; every form of the credential waits |
//! | 403 | not shared with us, or the API is not enabled: by its reason |
//! | 404 | no such spreadsheet, or not shared with us |
//! | 409 | not applied; it goes again |
//! | 400 | a guard has refused it, a range is protected, the workbook is full, or a cell is not taken |
//! | 408, 5xx, a truncated answer, no answer | it may have been applied: only the cursor knows |
//!
//! Holds: only what Google has refused in JSON below 500, or what was never sent, counts as not
//! applied. Texts decide about words for people and about where to look for the record; whether rows
//! are there is decided by the cursor alone.

use std::time::Duration;

use super::api::{Fault, Problem};
use crate::error::Cause;
use crate::metrics::SheetsAnswer;

/// What a person sees first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Ok,
    Throttled,
    /// A send of before may still arrive.
    Waiting,
    Protected,
    Unshared,
    /// A person has deleted a column and wants to decide.
    Column,
    Full,
    AuthBroken,
    RolledBack,
    /// Google is away.
    Away,
}

impl State {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Throttled => "throttled",
            Self::Waiting => "waiting",
            Self::Protected => "blocked:protected",
            Self::Unshared => "blocked:unshared",
            Self::Column => "blocked:column",
            Self::Full => "full",
            Self::AuthBroken => "auth_broken",
            Self::RolledBack => "rolled_back",
            Self::Away => "away",
        }
    }
}

/// What became of a request that was not answered with yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing was applied, and the same request may be taken later.
    Later(State, Cause),
    /// Nothing was applied: the batch does not fit the spreadsheet as it is now, or one of its cells
    /// is not taken.
    Refused,
    /// The tab or the workbook holds no more.
    Full,
    /// Nobody knows.
    Unclear,
}

/// Reads an answer.
pub(super) fn of(fault: &Fault) -> Verdict {
    match fault {
        Fault::Unsent(_) => Verdict::Later(State::Away, Cause::Away),
        Fault::Unknown(_) => Verdict::Later(State::AuthBroken, Cause::Auth),
        Fault::Unclear(_) => Verdict::Unclear,
        Fault::Refused(problem) => of_problem(problem),
    }
}

fn of_problem(problem: &Problem) -> Verdict {
    let says = |text: &str| problem.message.contains(text);
    match problem.status {
        429 => Verdict::Later(State::Throttled, Cause::Quota),
        401 => Verdict::Later(State::AuthBroken, Cause::Auth),
        403 if is_quota(problem) => Verdict::Later(State::Throttled, Cause::Quota),
        403 if is_of_the_credential(problem) => Verdict::Later(State::AuthBroken, Cause::Auth),
        403 | 404 => Verdict::Later(State::Unshared, Cause::Place),
        400 if says("protected cell or object") => Verdict::Later(State::Protected, Cause::Place),
        400 if says("number of cells in the workbook above the limit") => Verdict::Full,
        // Another request was in the way, and this one was given up.
        409 => Verdict::Later(State::Away, Cause::Place),
        400..=407 | 410..=499 => Verdict::Refused,
        _ => Verdict::Unclear,
    }
}

fn is_quota(problem: &Problem) -> bool {
    matches!(
        problem.reason.as_str(),
        "RATE_LIMIT_EXCEEDED" | "rateLimitExceeded" | "userRateLimitExceeded"
    )
}

fn is_of_the_credential(problem: &Problem) -> bool {
    matches!(
        problem.reason.as_str(),
        "SERVICE_DISABLED"
            | "accessNotConfigured"
            | "ACCESS_TOKEN_SCOPE_INSUFFICIENT"
            | "insufficientPermissions"
            | "CONSUMER_INVALID"
            | "BILLING_DISABLED"
    )
}

/// An answer in words.
pub(super) fn words(fault: &Fault) -> String {
    match fault {
        Fault::Refused(problem) if problem.word.is_empty() => {
            format!("Google answered {}: {}", problem.status, problem.message)
        }
        Fault::Refused(problem) => format!(
            "Google answered {} {}: {}",
            problem.status, problem.word, problem.message
        ),
        Fault::Unsent(why) => format!("Google cannot be reached: {why}"),
        Fault::Unknown(why) => why.clone(),
        Fault::Unclear(why) => format!("no clear answer from Google: {why}"),
    }
}

/// What a person can do about it; empty if it mends itself.
pub(super) fn remedy(state: State, mail: &str) -> String {
    match state {
        State::Ok | State::Waiting | State::Away => String::new(),
        State::Throttled => {
            "Google's quota of requests a minute is used up: it goes on by itself. \
                             If Google allows you more, raise sheets.writes_per_minute."
                .to_owned()
        }
        State::Protected => {
            format!("A range or the tab is protected: let {mail} edit it, or lift the protection.")
        }
        State::Unshared => format!(
            "There is no such spreadsheet, or it is not shared: share it with {mail} as an editor."
        ),
        State::Column => "Bring the column back (File, Version history), or set \
                          on_deleted_column to \"recreate\" or \"drop\"."
            .to_owned(),
        State::Full => format!(
            "The spreadsheet holds no more cells: share an empty one with {mail} and add its id to \
             `spares`."
        ),
        State::AuthBroken => {
            "Look at sheets.credentials_file, at this machine's clock, and whether \
                              the Sheets API is enabled in the credential's project."
                .to_owned()
        }
        State::RolledBack => {
            "An older version of the spreadsheet was brought back, or its tab was \
                              deleted: look at it, then send what it lacks with `formspool tasks \
                              replay`."
                .to_owned()
        }
    }
}

/// An answer as it is counted.
pub(super) fn counted(kind: &'static str, fault: Option<&Fault>) -> SheetsAnswer {
    let answer = match fault.map(of) {
        None => "ok",
        Some(Verdict::Later(State::Throttled, _)) => "throttled",
        Some(Verdict::Later(_, Cause::Auth)) => "auth",
        Some(Verdict::Later(_, Cause::Away)) => "unsent",
        Some(Verdict::Later(..) | Verdict::Refused | Verdict::Full) => "refused",
        Some(Verdict::Unclear) => "unclear",
    };
    SheetsAnswer { kind, answer }
}

/// The time that an answer names.
pub(super) fn after(fault: &Fault) -> Option<Duration> {
    match fault {
        Fault::Refused(problem) => problem.after,
        Fault::Unsent(_) | Fault::Unknown(_) | Fault::Unclear(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, reason: &str, message: &str) -> Fault {
        Fault::Refused(Box::new(Problem {
            status,
            reason: reason.to_owned(),
            message: message.to_owned(),
            ..Problem::default()
        }))
    }

    #[test]
    fn every_answer_has_its_meaning() {
        let later = Verdict::Later;
        let guard = "Invalid requests[1].createDeveloperMetadata: Cannot add developer metadata \
                     with ID [7] because developer metadata with that ID already exists.";
        let full = "Invalid requests[9].appendCells: This action would increase the number of cells \
                    in the workbook above the limit of 10000000 cells.";
        let protected = "Invalid requests[9].appendCells: You are trying to edit a protected cell or \
                         object. Please contact the spreadsheet owner.";
        let cases = [
            (
                refused(429, "RATE_LIMIT_EXCEEDED", ""),
                later(State::Throttled, Cause::Quota),
            ),
            (
                refused(403, "userRateLimitExceeded", ""),
                later(State::Throttled, Cause::Quota),
            ),
            (refused(401, "", ""), later(State::AuthBroken, Cause::Auth)),
            (
                refused(403, "", "no permission"),
                later(State::Unshared, Cause::Place),
            ),
            (
                refused(403, "SERVICE_DISABLED", ""),
                later(State::AuthBroken, Cause::Auth),
            ),
            (refused(404, "", ""), later(State::Unshared, Cause::Place)),
            (refused(400, "", guard), Verdict::Refused),
            (
                refused(409, "", "aborted"),
                later(State::Away, Cause::Place),
            ),
            (refused(413, "", ""), Verdict::Refused),
            (refused(400, "", full), Verdict::Full),
            (
                refused(400, "", protected),
                later(State::Protected, Cause::Place),
            ),
            (refused(408, "", ""), Verdict::Unclear),
            (refused(500, "", ""), Verdict::Unclear),
            (refused(503, "", ""), Verdict::Unclear),
            (Fault::Unclear("reset".to_owned()), Verdict::Unclear),
            (
                Fault::Unsent("refused".to_owned()),
                later(State::Away, Cause::Away),
            ),
            (
                Fault::Unknown("no file".to_owned()),
                later(State::AuthBroken, Cause::Auth),
            ),
        ];
        for (fault, meaning) in cases {
            assert_eq!(of(&fault), meaning, "{fault:?}");
        }
    }

    #[test]
    fn a_person_is_told_the_address_to_share_with() {
        assert!(remedy(State::Unshared, "f@x.iam.gserviceaccount.com").contains("f@x.iam"));
        assert!(remedy(State::Protected, "f@x.iam").contains("f@x.iam"));
        assert!(remedy(State::Ok, "f@x.iam").is_empty());
    }
}
