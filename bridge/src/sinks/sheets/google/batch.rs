//! A batch as bytes, and its way to Google.
//!
//! Holds: a request is written edit by edit, so that one of thousands of rows is held once, as its bytes.
//! The crate's own types need 5 KB a cell on the way (2,960 bytes of structure, as much again as a tree
//! of JSON with its nulls): a request of 50,000 cells would be 270 MB. So rows are written here, in the
//! shape of those types, which a test compares; everything else goes through them.

use bytes::Bytes;
use google_sheets4::common;
use google_sheets4::hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use google_sheets4::hyper::{Method, Request};
use http_body_util::{BodyExt, Full};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde::ser::{SerializeMap, Serializer};

use super::super::api::{Cell, Edit, Fault};
use super::answer::{chain, of_answer};
use super::wire;

/// A row as Google wants it.
#[derive(Serialize)]
struct Row<'a> {
    values: Vec<Value<'a>>,
}

/// One cell: `{}` leaves it alone.
struct Value<'a>(&'a Cell);

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut cell = serializer.serialize_map(None)?;
        if *self.0 != Cell::Empty {
            cell.serialize_entry("userEnteredValue", &Entered(self.0))?;
        }
        cell.end()
    }
}

struct Entered<'a>(&'a Cell);

impl Serialize for Entered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut value = serializer.serialize_map(Some(1))?;
        match self.0 {
            Cell::Empty => {}
            Cell::Text(text) => value.serialize_entry("stringValue", text)?,
            Cell::Number(number) => value.serialize_entry("numberValue", number)?,
            Cell::Bool(is_true) => value.serialize_entry("boolValue", is_true)?,
        }
        value.end()
    }
}

fn rows(tab: i32, rows: &[Vec<Cell>], body: &mut Vec<u8>) -> serde_json::Result<()> {
    let head = format!(r#"{{"appendCells":{{"fields":"userEnteredValue","sheetId":{tab},"rows":["#);
    body.extend_from_slice(head.as_bytes());
    for (at, row) in rows.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        let values = row.iter().map(Value).collect();
        serde_json::to_writer(&mut *body, &Row { values })?;
    }
    body.extend_from_slice(b"]}}");
    Ok(())
}

fn edit(edit: Edit, body: &mut Vec<u8>) -> serde_json::Result<()> {
    if let Edit::Append { tab, rows: cells } = &edit {
        return rows(*tab, cells, body);
    }
    let mut value = serde_json::to_value(wire::request(edit))?;
    common::remove_json_null_values(&mut value);
    serde_json::to_writer(body, &value)
}

/// A request's body.
pub(super) fn body(edits: Vec<Edit>) -> Vec<u8> {
    let mut body = br#"{"requests":["#.to_vec();
    for (at, one) in edits.into_iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        let written = edit(one, &mut body);
        assert!(
            written.is_ok(),
            "texts and numbers have no way to fail: {written:?}"
        );
    }
    body.extend_from_slice(
        br#"],"includeSpreadsheetInResponse":true,"responseIncludeGridData":false}"#,
    );
    body
}

/// Sends it once, and reads the answer to its end.
pub(super) async fn post<C: common::Connector, T: DeserializeOwned>(
    client: &common::Client<C>,
    url: &str,
    (token, body): (&str, Vec<u8>),
) -> Result<T, Fault> {
    let body = Full::new(Bytes::from(body));
    let request = Request::builder()
        .method(Method::POST)
        .uri(url)
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(CONTENT_TYPE, "application/json")
        .body(body.map_err(|never| match never {}).boxed())
        .map_err(|error| Fault::Unsent(error.to_string()))?;
    let answer = client.request(request).await.map_err(|error| {
        if error.is_connect() {
            Fault::Unsent(chain(&error))
        } else {
            Fault::Unclear(chain(&error))
        }
    })?;
    let (head, body) = answer.into_parts();
    let broke_off = |why: String| Fault::Unclear(format!("the answer broke off: {why}"));
    let body = body.collect().await;
    let body = body.map_err(|error| broke_off(chain(&error)))?.to_bytes();
    if !head.status.is_success() {
        return Err(of_answer(head.status.as_u16(), &head.headers, &body));
    }
    serde_json::from_slice(&body).map_err(|error| broke_off(error.to_string()))
}

#[cfg(test)]
mod tests {
    use google_sheets4::api::BatchUpdateSpreadsheetRequest;
    use serde_json::Value as Json;

    use super::super::super::api::{Item, Lookup, Spot};
    use super::*;

    #[test]
    fn rows_have_the_shape_of_the_crate_s_own_types() {
        let cells = vec![
            Cell::Text("=1+1 \"\u{1f600}".to_owned()),
            Cell::Empty,
            Cell::Number(46_352.5),
            Cell::Bool(false),
        ];
        let append = Edit::Append {
            tab: 0,
            rows: vec![cells, Vec::new()],
        };
        let spot = Spot::Column { tab: 0, at: 0 };
        let lookup = Lookup {
            id: 7,
            value: None,
            spot: Some(spot),
        };
        let item = Item {
            id: 7,
            key: "k".to_owned(),
            value: "v".to_owned(),
            spot,
        };
        let edits = vec![Edit::Delete(lookup), Edit::Create(item), append];
        let typed = BatchUpdateSpreadsheetRequest {
            requests: Some(edits.iter().cloned().map(wire::request).collect()),
            include_spreadsheet_in_response: Some(true),
            response_include_grid_data: Some(false),
            ..Default::default()
        };
        let mut typed = serde_json::to_value(typed).unwrap();
        common::remove_json_null_values(&mut typed);
        let ours: Json = serde_json::from_slice(&body(edits)).unwrap();
        assert_eq!(ours, typed);
        let zero = &ours["requests"][0]["deleteDeveloperMetadata"]["dataFilter"];
        let range = &zero["developerMetadataLookup"]["metadataLocation"]["dimensionRange"];
        assert_eq!(range["startIndex"], 0, "zeros are said");
    }
}
