//! The description of the API (`openapi.json`, version 3.1 of that format), made from the table of routes.
//!
//! Holds: what is served and what is described are one table; only the JSON shapes are written
//! down here a second time, and a test compares them with real answers.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::error::{KINDS, UNAUTHORIZED};
use super::json_bytes;
use super::routes::{Access, ROUTES, Route};

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(document().to_string()));

/// `GET /openapi.json`
pub(super) async fn serve() -> Response {
    json_bytes(StatusCode::OK, DOCUMENT.clone())
}

/// The whole description.
pub(super) fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.to_owned(), operation(route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "formspool",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "description": "A 2xx to a submission means: it is on stable storage on a majority \
                of the nodes and has its place in its form's order. Errors are RFC 9457 problem \
                documents.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "admin": { "type": "http", "scheme": "bearer", "description": "the admin's token" },
                "form": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "the key of the form, where the form asks for one",
                },
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let security = match route.access {
        Access::Open => json!([]),
        Access::Submitter => json!([{}, { "form": [] }, { "admin": [] }]),
        Access::Admin => json!([{ "admin": [] }]),
    };
    let mut operation = object_of([
        ("operationId", route.id.into()),
        ("summary", route.summary.into()),
        ("security", security),
        ("parameters", parameters(route)),
        ("responses", responses(route)),
    ]);
    if !route.takes.is_empty() {
        let content = object_of(route.takes.iter().map(|kind| (*kind, json!({}))));
        let body = json!({ "required": true, "content": content });
        operation.insert("requestBody".to_owned(), body);
    }
    Value::Object(operation)
}

fn object_of<'a>(members: impl IntoIterator<Item = (&'a str, Value)>) -> Map<String, Value> {
    members
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn parameters(route: &Route) -> Value {
    let names = route
        .path
        .split('/')
        .filter_map(|step| step.strip_prefix('{')?.strip_suffix('}'));
    let mut all: Vec<Value> = names
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    all.extend(route.query.iter().map(|(name, meaning)| {
        json!({ "name": name, "in": "query", "description": meaning, "schema": { "type": "string" } })
    }));
    if route.access == Access::Submitter && route.method == "post" {
        all.push(json!({
            "name": "Idempotency-Key",
            "in": "header",
            "description": "the client's word for the same submission, within the form; at most \
                255 bytes. The same key and body give the first receipt again",
            "schema": { "type": "string", "maxLength": 255 },
        }));
    }
    Value::Array(all)
}

fn responses(route: &Route) -> Value {
    let (status, kinds, shape) = route.gives;
    let mut all = Map::new();
    let mut good = object_of([("description", "as asked".into())]);
    if !kinds.is_empty() {
        let schema = |kind: &str| match shape {
            Some(shape) if kind == "application/json" => {
                json!({ "schema": { "$ref": format!("#/components/schemas/{shape}") } })
            }
            Some(_) | None => json!({}),
        };
        let content = object_of(kinds.iter().map(|kind| (*kind, schema(kind))));
        good.insert("content".to_owned(), Value::Object(content));
    }
    all.insert(status.to_string(), Value::Object(good));
    let guard = (route.access == Access::Admin).then_some(UNAUTHORIZED);
    let mut refusals: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for kind in route.refuses.iter().copied().chain(guard) {
        refusals
            .entry(kind.status().as_u16())
            .or_default()
            .push(kind.name());
    }
    // Kinds with one status share an entry, which names them all.
    all.extend(
        refusals
            .into_iter()
            .map(|(status, names)| (status.to_string(), refusal(&names))),
    );
    Value::Object(all)
}

fn refusal(names: &[&str]) -> Value {
    json!({
        "description": names.join(", "),
        "content": {
            "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } }
        },
    })
}

fn schemas() -> Value {
    let mut all = general_schemas();
    if let (Some(all), Value::Object(of_tasks)) = (all.as_object_mut(), task_schemas()) {
        all.extend(of_tasks);
    }
    all
}

fn task_schemas() -> Value {
    let text = || json!({ "type": "string" });
    let number = || json!({ "type": "integer", "minimum": 0 });
    let flag = || json!({ "type": "boolean" });
    let data = || json!({ "type": "object" });
    let list = json!({ "type": "array", "items": { "$ref": "#/components/schemas/ParkedOne" } });
    json!({
        "Task": object(&json!({
            "name": text(), "version": number(), "incarnation": number(), "state": text(),
            "definition": data(),
        })),
        "TaskChange": object(&json!({
            "task": text(), "version": number(), "incarnation": number(), "changed": flag(),
        })),
        "TaskState": object(&json!({
            "task": text(), "version": number(), "incarnation": number(), "state": text(),
            "changed": flag(),
        })),
        "TaskSeek": object(&json!({
            "task": text(), "version": number(), "incarnation": number(), "position": text(),
            "replay": flag(),
        })),
        "Replayed": object(&json!({ "task": text(), "replayed": number(), "more": flag() })),
        "Tasks": object(&json!({ "tasks": { "type": "array", "items": data() } })),
        "Parked": object(&json!({ "parked": list, "next": text() })),
        "ParkedOne": object(&json!({
            "position": text(), "form": text(), "seq": number(), "id": { "type": "string", "format": "uuid" },
            "received_at": { "type": "string", "format": "date-time" }, "parked_at": number(), "reason": text(), "answer": text(),
            "data": data(),
        })),
    })
}

fn general_schemas() -> Value {
    let text = || json!({ "type": "string" });
    let number = || json!({ "type": "integer", "minimum": 0 });
    let instant = || json!({ "type": "string", "format": "date-time" });
    let id = || json!({ "type": "string", "format": "uuid" });
    let flag = || json!({ "type": "boolean" });
    let data = || json!({ "type": "object" });
    let list = |of: &str| json!({ "type": "array", "items": { "$ref": format!("#/components/schemas/{of}") } });
    let record = || {
        object_of([
            ("seq", number()),
            ("id", id()),
            ("received_at", instant()),
            ("form_version", number()),
            ("index", number()),
            ("data", data()),
        ])
    };
    let tasks = object_of([("tasks", json!({ "type": "array", "items": data() }))]);
    json!({
        "Receipt": object(&json!({
            "id": id(), "form": text(), "seq": { "type": ["integer", "null"] },
            "received_at": instant(), "index": number(), "durability": text(),
            "replicas": text(), "duplicate": flag(),
        })),
        "Record": object(&Value::Object(record())),
        "Submission": object(&Value::Object(record().into_iter().chain(tasks).collect())),
        "Submissions": object(&json!({
            "form": text(), "records": list("Record"), "next": number(), "head": number(),
        })),
        "Withheld": object(&json!({ "withheld": list("WithheldOne"), "next": text() })),
        "WithheldOne": object(&json!({
            "position": text(), "id": id(), "received_at": instant(), "data": data(),
        })),
        "Released": object(&json!({ "released": number() })),
        "Forms": object(&json!({ "forms": list("FormSummary") })),
        "FormSummary": object(&json!({
            "name": text(), "title": text(), "version": number(), "is_retired": flag(),
            "head": number(),
        })),
        "Form": object(&json!({
            "name": text(), "version": number(), "is_retired": flag(), "head": number(),
            "definition": data(),
        })),
        "Change": object(&json!({ "form": text(), "version": number(), "changed": flag() })),
        "TokenChange": object(&json!({ "token": text(), "changed": flag() })),
        "Status": data(),
        "Cluster": object(&json!({
            "cluster": text(), "node": number(), "role": text(), "term": number(),
            "leader": { "type": ["integer", "null"] }, "last": number(), "committed": number(),
            "applied": number(), "policy": text(), "contact_ms": { "type": ["integer", "null"] },
            "voters": object(&json!({ "quorum": number(), "voters": number() })),
            "members": { "type": "array", "items": data() },
        })),
        "Leader": object(&json!({ "leader": number() })),
        "Removed": object(&json!({ "removed": number() })),
        "Done": object(&json!({ "words": text() })),
        "Policy": object(&json!({ "policy": text() })),
        "Problem": problem(),
    })
}

fn problem() -> Value {
    let text = || json!({ "type": "string" });
    let number = || json!({ "type": "integer", "minimum": 0 });
    let types: Vec<String> = KINDS.iter().map(|kind| kind.address()).collect();
    json!({
        "type": "object",
        "required": ["type", "title", "status"],
        "properties": {
            "type": { "type": "string", "enum": types },
            "title": text(),
            "status": number(),
            "detail": text(),
            "errors": {
                "type": "array",
                "items": object(&json!({ "pointer": text(), "detail": text() })),
            },
            "version": number(),
            "line": number(),
            "oldest_seq": number(),
            "oldest_position": text(),
        },
    })
}

/// An object whose members are all there.
fn object(properties: &Value) -> Value {
    let names: Vec<&String> = properties
        .as_object()
        .into_iter()
        .flat_map(Map::keys)
        .collect();
    json!({ "type": "object", "required": names, "properties": properties })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_route_is_described_once() {
        let document = document();
        let described: usize = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .map(|path| path.as_object().unwrap().len())
            .sum();
        assert_eq!(described, ROUTES.len());
        let ids: BTreeSet<_> = ROUTES.iter().map(|route| route.id).collect();
        assert_eq!(ids.len(), ROUTES.len());
    }

    #[test]
    fn every_shape_that_is_named_is_there() {
        let text = document().to_string();
        let schemas = schemas();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.get(name).is_some(), "{name}");
        }
    }
}
