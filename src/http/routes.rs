//! The one table of routes: what the public router serves and what `openapi.json` describes.
//!
//! Holds: a route that is the admin's is guarded here, by its row; no handler can forget it. What
//! is not in the table is answered with a problem document.

use std::sync::Arc;

use axum::Router;
use axum::extract::MatchedPath;
use axum::middleware;
use axum::routing::{MethodRouter, delete, get, options, post, put};

use super::error::{
    self as problems, BAD_DEFINITION, BAD_PARAMETER, CHANGED, FOREIGN_ORIGIN, Kind, MALFORMED,
    MEDIA_TYPE, METHOD, NO_FORM, NOT_ACCEPTABLE, NOT_FOUND, PRECONDITION, Problem, TOO_LARGE,
    TOO_SLOW, UNAUTHORIZED,
};
use super::observe::Observing;
use super::query::Parameter;
use super::{
    Hall, auth, browser, cluster, cors, forms, fresh, ndjson, openapi, read, render, submit, tasks,
    token, withheld,
};

/// Who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody.
    Open,
    /// Anybody, or who has the form's key where the form asks for it.
    Submitter,
    /// Who has the admin's token.
    Admin,
}

/// One row: a method at a path.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// Its name among the operations.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) access: Access,
    pub(super) query: &'static [Parameter],
    /// Media types of a body.
    pub(super) takes: &'static [&'static str],
    /// What it answers when all is well: status, media types, name of the JSON shape.
    pub(super) gives: (u16, &'static [&'static str], Option<&'static str>),
    /// What else it may answer.
    pub(super) refuses: &'static [&'static Kind],
    pub(super) serve: fn() -> MethodRouter<Arc<Hall>>,
}

const JSON: &[&str] = &["application/json"];
const HTML: &[&str] = &["text/html"];
const SUBMIT_REFUSALS: &[&Kind] = &[
    MALFORMED,
    problems::TOO_DEEP,
    problems::BAD_KEY,
    problems::BAD_TARGET,
    UNAUTHORIZED,
    FOREIGN_ORIGIN,
    NO_FORM,
    TOO_SLOW,
    problems::RETIRED,
    TOO_LARGE,
    MEDIA_TYPE,
    problems::INVALID,
    problems::TOO_MANY_FIELDS,
    problems::KEY_REUSED,
    problems::BUSY,
    problems::DISK_FULL,
    problems::KEYS_FULL,
    problems::NO_QUORUM,
    problems::UNKNOWN,
    problems::DRAINING,
];

const OPERATE_REFUSALS: &[&Kind] = &[
    MALFORMED,
    TOO_LARGE,
    problems::CANNOT,
    problems::NO_QUORUM,
    problems::UNKNOWN,
    problems::DRAINING,
];

const CHANGE_REFUSALS: &[&Kind] = &[
    NOT_FOUND,
    problems::NO_QUORUM,
    problems::UNKNOWN,
    problems::DRAINING,
];

const SEEK_REFUSALS: &[&Kind] = &[
    MALFORMED,
    BAD_PARAMETER,
    NOT_FOUND,
    NO_FORM,
    problems::FORGOTTEN,
    TOO_LARGE,
    problems::NOT_YET,
    problems::NO_QUORUM,
    problems::UNKNOWN,
    problems::DRAINING,
];

/// Every route, in the order of a form's life.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: "get",
        path: "/f/{form}",
        id: "showForm",
        summary: "The form as a page, made from its schema",
        access: Access::Open,
        query: browser::PAGE_QUERY,
        takes: &[],
        gives: (200, HTML, None),
        refuses: &[NO_FORM, problems::BAD_TARGET],
        serve: || get(browser::page),
    },
    Route {
        method: "post",
        path: "/f/{form}",
        id: "submitFromPage",
        summary: "One submission from a page (303 to its thanks page or `_next`) or, with JSON \
                  sent or accepted, from a program (201 and a receipt)",
        access: Access::Submitter,
        query: &[],
        takes: submit::TAKES,
        gives: (201, JSON, Some("Receipt")),
        refuses: SUBMIT_REFUSALS,
        serve: || post(submit::from_page),
    },
    Route {
        method: "options",
        path: "/f/{form}",
        id: "askFromPage",
        summary: "What a browser asks before it sends another site's submission",
        access: Access::Open,
        query: &[],
        takes: &[],
        gives: (204, &[], None),
        refuses: &[NO_FORM, FOREIGN_ORIGIN],
        serve: || options(cors::preflight),
    },
    Route {
        method: "get",
        path: "/f/{form}/thanks/{id}",
        id: "showReceipt",
        summary: "The receipt of one submission, as a page",
        access: Access::Open,
        query: browser::THANKS_QUERY,
        takes: &[],
        gives: (200, HTML, None),
        refuses: &[NO_FORM, NOT_FOUND, problems::NO_QUORUM],
        serve: || get(browser::thanks),
    },
    Route {
        method: "post",
        path: "/v1/forms/{form}/submissions",
        id: "submit",
        summary: "One submission, or with application/x-ndjson one a line; then the answer is 200 \
                  and a receipt or a problem a line, in order",
        access: Access::Submitter,
        query: &[],
        takes: ndjson::TAKES,
        gives: (201, JSON, Some("Receipt")),
        refuses: SUBMIT_REFUSALS,
        serve: || post(submit::from_program),
    },
    Route {
        method: "options",
        path: "/v1/forms/{form}/submissions",
        id: "ask",
        summary: "What a browser asks before it sends another site's submission",
        access: Access::Open,
        query: &[],
        takes: &[],
        gives: (204, &[], None),
        refuses: &[NO_FORM, FOREIGN_ORIGIN],
        serve: || options(cors::preflight),
    },
    Route {
        method: "get",
        path: "/v1/forms/{form}/submissions",
        id: "listSubmissions",
        summary: "What was accepted, in order",
        access: Access::Admin,
        query: read::QUERY,
        takes: &[],
        gives: (200, render::OFFERS, Some("Submissions")),
        refuses: &[
            BAD_PARAMETER,
            NO_FORM,
            NOT_ACCEPTABLE,
            problems::FORGOTTEN,
            problems::BUSY,
            problems::NO_QUORUM,
        ],
        serve: || get(read::list),
    },
    Route {
        method: "get",
        path: "/v1/forms/{form}/submissions/{seq}",
        id: "getSubmission",
        summary: "One record, with its state at each task",
        access: Access::Admin,
        query: read::ONE_QUERY,
        takes: &[],
        gives: (200, JSON, Some("Submission")),
        refuses: &[
            BAD_PARAMETER,
            NO_FORM,
            NOT_FOUND,
            problems::FORGOTTEN,
            problems::NO_QUORUM,
        ],
        serve: || get(read::one),
    },
    Route {
        method: "get",
        path: "/v1/forms/{form}/withheld",
        id: "listWithheld",
        summary: "What the honeypot caught",
        access: Access::Admin,
        query: withheld::QUERY,
        takes: &[],
        gives: (200, JSON, Some("Withheld")),
        refuses: &[BAD_PARAMETER, NO_FORM],
        serve: || get(withheld::list),
    },
    Route {
        method: "post",
        path: "/v1/forms/{form}/withheld/release",
        id: "releaseWithheld",
        summary: "These were no bots: give them their place",
        access: Access::Admin,
        query: &[],
        takes: JSON,
        gives: (200, JSON, Some("Released")),
        refuses: &[MALFORMED, NO_FORM, TOO_LARGE],
        serve: || post(withheld::release),
    },
    Route {
        method: "get",
        path: "/v1/forms",
        id: "listForms",
        summary: "All forms",
        access: Access::Admin,
        query: &[],
        takes: &[],
        gives: (200, JSON, Some("Forms")),
        refuses: &[],
        serve: || get(forms::list),
    },
    Route {
        method: "get",
        path: "/v1/forms/{form}",
        id: "getForm",
        summary: "A form and its definition",
        access: Access::Admin,
        query: &[],
        takes: &[],
        gives: (200, JSON, Some("Form")),
        refuses: &[NO_FORM],
        serve: || get(forms::get),
    },
    Route {
        method: "put",
        path: "/v1/forms/{form}",
        id: "defineForm",
        summary: "Define a form or a new version of it; If-Match: \"<version>\" or If-None-Match: *",
        access: Access::Admin,
        query: &[],
        takes: JSON,
        gives: (200, JSON, Some("Change")),
        refuses: &[
            BAD_PARAMETER,
            CHANGED,
            PRECONDITION,
            TOO_LARGE,
            MEDIA_TYPE,
            BAD_DEFINITION,
        ],
        serve: || put(forms::put),
    },
    Route {
        method: "delete",
        path: "/v1/forms/{form}",
        id: "retireForm",
        summary: "Take no more for a form; what it holds stays",
        access: Access::Admin,
        query: &[],
        takes: &[],
        gives: (200, JSON, Some("Change")),
        refuses: &[BAD_PARAMETER, NO_FORM, PRECONDITION],
        serve: || delete(forms::delete),
    },
    Route {
        method: "get",
        path: "/v1/tasks",
        id: "listTasks",
        summary: "All tasks: state, lag, last error",
        access: Access::Admin,
        query: &[],
        takes: &[],
        gives: (200, JSON, Some("Tasks")),
        refuses: &[],
        serve: || get(tasks::list),
    },
    Route {
        method: "get",
        path: "/v1/tasks/{task}",
        id: "getTask",
        summary: "A task and its definition",
        access: Access::Admin,
        query: &[],
        takes: &[],
        gives: (200, JSON, Some("Task")),
        refuses: &[NOT_FOUND],
        serve: || get(tasks::get),
    },
    Route {
        method: "put",
        path: "/v1/tasks/{task}",
        id: "defineTask",
        summary: "Define a task or a new version of it; If-Match: \"<version>\" or If-None-Match: *. \
                  One that moves the same forms to the same place goes on where it stands; any other \
                  begins anew, where `start` says",
        access: Access::Admin,
        query: &[],
        takes: JSON,
        gives: (200, JSON, Some("TaskChange")),
        refuses: &[
            BAD_PARAMETER,
            CHANGED,
            PRECONDITION,
            TOO_LARGE,
            MEDIA_TYPE,
            BAD_DEFINITION,
            problems::NOT_YET,
        ],
        serve: || put(tasks::put),
    },
    Route {
        method: "delete",
        path: "/v1/tasks/{task}",
        id: "deleteTask",
        summary: "Delete a task that has delivered all; with `abandon`, whatever is left",
        access: Access::Admin,
        query: tasks::DELETE_QUERY,
        takes: &[],
        gives: (200, JSON, Some("TaskChange")),
        refuses: &[
            BAD_PARAMETER,
            NOT_FOUND,
            problems::LAGS,
            PRECONDITION,
            problems::NO_QUORUM,
            problems::UNKNOWN,
            problems::DRAINING,
        ],
        serve: || delete(tasks::delete),
    },
    Route {
        method: "post",
        path: "/v1/tasks/{task}/pause",
        id: "pauseTask",
        summary: "Deliver nothing until it is resumed; the log keeps what comes in",
        access: Access::Admin,
        query: &[],
        takes: &[],
        gives: (200, JSON, Some("TaskState")),
        refuses: CHANGE_REFUSALS,
        serve: || post(tasks::pause),
    },
    Route {
        method: "post",
        path: "/v1/tasks/{task}/resume",
        id: "resumeTask",
        summary: "Go on where it was paused",
        access: Access::Admin,
        query: &[],
        takes: &[],
        gives: (200, JSON, Some("TaskState")),
        refuses: CHANGE_REFUSALS,
        serve: || post(tasks::resume),
    },
    Route {
        method: "post",
        path: "/v1/tasks/{task}/seek",
        id: "seekTask",
        summary: "Go on from elsewhere, in a new life: {\"to\": \"beginning\" | \"now\" | {\"form\", \
                  \"seq\"}, the first record that is sent | {\"position\"}, a cursor}",
        access: Access::Admin,
        query: &[],
        takes: JSON,
        gives: (200, JSON, Some("TaskSeek")),
        refuses: SEEK_REFUSALS,
        serve: || post(tasks::seek),
    },
    Route {
        method: "post",
        path: "/v1/tasks/{task}/replay",
        id: "replayTask",
        summary: "Send again from a place on, marked as such: {\"from\": as `to` of seek}",
        access: Access::Admin,
        query: &[],
        takes: JSON,
        gives: (200, JSON, Some("TaskSeek")),
        refuses: SEEK_REFUSALS,
        serve: || post(tasks::replay),
    },
    Route {
        method: "get",
        path: "/v1/tasks/{task}/parked",
        id: "listParked",
        summary: "Records that a task's destination will never take",
        access: Access::Admin,
        query: withheld::QUERY,
        takes: &[],
        gives: (200, JSON, Some("Parked")),
        refuses: &[BAD_PARAMETER, NOT_FOUND],
        serve: || get(tasks::list_parked),
    },
    Route {
        method: "post",
        path: "/v1/tasks/{task}/parked/replay",
        id: "replayParked",
        summary: "Send everything that was set aside once more, in order; at most 1000 a request: \
                  ask again while `more`",
        access: Access::Admin,
        query: &[],
        takes: &[],
        gives: (200, JSON, Some("Replayed")),
        refuses: CHANGE_REFUSALS,
        serve: || post(tasks::replay_all),
    },
    Route {
        method: "post",
        path: "/v1/tasks/{task}/parked/{position}/replay",
        id: "replayOneParked",
        summary: "Send this record once more",
        access: Access::Admin,
        query: &[],
        takes: &[],
        gives: (200, JSON, Some("Replayed")),
        refuses: CHANGE_REFUSALS,
        serve: || post(tasks::replay_parked),
    },
    Route {
        method: "put",
        path: "/v1/token",
        id: "setToken",
        summary: "Replace the admin's token, given by its SHA-256; the old one ends at once",
        access: Access::Admin,
        query: &[],
        takes: JSON,
        gives: (200, JSON, Some("TokenChange")),
        refuses: &[MALFORMED, TOO_LARGE],
        serve: || put(token::put),
    },
    Route {
        method: "get",
        path: "/v1/status",
        id: "getStatus",
        summary: "The node as it is now",
        access: Access::Admin,
        query: &[],
        takes: &[],
        gives: (200, JSON, Some("Status")),
        refuses: &[],
        serve: || get(tasks::status),
    },
    Route {
        method: "get",
        path: "/v1/cluster",
        id: "getCluster",
        summary: "Every node as this one sees it, and who leads",
        access: Access::Admin,
        query: &[],
        takes: &[],
        gives: (200, JSON, Some("Cluster")),
        refuses: &[],
        serve: || get(cluster::show),
    },
    Route {
        method: "post",
        path: "/v1/cluster/transfer",
        id: "transferLeadership",
        summary: "Let another node lead: the one that is named, or the best one",
        access: Access::Admin,
        query: &[],
        takes: JSON,
        gives: (200, JSON, Some("Leader")),
        refuses: OPERATE_REFUSALS,
        serve: || post(cluster::transfer),
    },
    Route {
        method: "post",
        path: "/v1/cluster/remove",
        id: "removeMember",
        summary: "Take a member out for good; to come back it needs an empty disk",
        access: Access::Admin,
        query: &[],
        takes: JSON,
        gives: (200, JSON, Some("Removed")),
        refuses: OPERATE_REFUSALS,
        serve: || post(cluster::remove),
    },
    Route {
        method: "post",
        path: "/v1/cluster/accept-tail-loss",
        id: "acceptTailLoss",
        summary: "Let nodes vote again that may have lost the end of their log, where a node that \
                  would know better is gone for good",
        access: Access::Admin,
        query: &[],
        takes: &[],
        gives: (200, JSON, Some("Done")),
        refuses: OPERATE_REFUSALS,
        serve: || post(cluster::accept_tail_loss),
    },
    Route {
        method: "put",
        path: "/v1/cluster/policy",
        id: "setPolicy",
        summary: "How durable an acknowledged submission is, on every node, from the next one on",
        access: Access::Admin,
        query: &[],
        takes: JSON,
        gives: (200, JSON, Some("Policy")),
        refuses: &[MALFORMED, TOO_LARGE, problems::NO_QUORUM, problems::UNKNOWN],
        serve: || put(cluster::set_policy),
    },
    Route {
        method: "get",
        path: "/openapi.json",
        id: "describe",
        summary: "This description",
        access: Access::Open,
        query: &[],
        takes: &[],
        gives: (200, JSON, None),
        refuses: &[],
        serve: || get(openapi::serve),
    },
];

/// The public router.
pub(super) fn public(doors: &Arc<Hall>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let mut serve = (route.serve)();
        if route.access == Access::Admin {
            if route.method == "get" {
                let aged = middleware::from_fn_with_state(Arc::clone(doors), fresh::aged);
                serve = serve.route_layer(aged);
            }
            let guard = middleware::from_fn_with_state(Arc::clone(doors), auth::admin_only);
            serve = serve.route_layer(guard);
        }
        router = router.route(route.path, serve);
    }
    router
        .fallback(nothing_here)
        .method_not_allowed_fallback(no_such_method)
        .layer(Observing(Arc::clone(doors)))
        .with_state(Arc::clone(doors))
}

/// For addresses that are not in the table.
pub(super) async fn nothing_here() -> Problem {
    Problem::new(NOT_FOUND, "see /openapi.json for what there is")
}

/// For methods that are not in the table; axum adds `Allow`.
pub(super) async fn no_such_method() -> Problem {
    Problem::new(METHOD, "see Allow")
}

/// As the table names it.
pub(super) fn table_path(matched: &MatchedPath) -> &'static str {
    let found = ROUTES.iter().find(|route| route.path == matched.as_str());
    found.map_or("other", |route| route.path)
}
