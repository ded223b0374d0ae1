"""Google's own Python client drives the fake: an independent witness of its wire format.

Runs the fake, asserts some dozens of facts, ends it. Needs what `deploy/dev/setup.sh sheets` installs.
    python3 jepsen/sheets/official_client.py target/debug/fake-sheets target/peers/google
"""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request

BINARY, PEERS = sys.argv[1], sys.argv[2]
sys.path.insert(0, PEERS)

import httplib2  # noqa: E402
from google.auth.exceptions import RefreshError  # noqa: E402
from google.oauth2 import service_account  # noqa: E402
from google_auth_httplib2 import AuthorizedHttp  # noqa: E402
from googleapiclient.discovery import build  # noqa: E402
from googleapiclient.errors import HttpError  # noqa: E402

DISCOVERY = os.path.join(PEERS, "googleapiclient/discovery_cache/documents/sheets.v4.json")
SCOPE = "https://www.googleapis.com/auth/spreadsheets"
READ_ONLY = "https://www.googleapis.com/auth/spreadsheets.readonly"
CURSOR, FIRST, END = 1207959553, 1207959560, 1207959599
FIELDS = "replies,updatedSpreadsheet(sheets(properties(sheetId,title,gridProperties(rowCount,columnCount))))"

facts = 0


def fact(is_so, words):
    global facts
    facts += 1
    if not is_so:
        raise AssertionError(words)


def same(got, wanted, words):
    fact(got == wanted, f"{words}: got {got!r}, wanted {wanted!r}")


class Fake:
    def __init__(self, folder):
        self.key = os.path.join(folder, "key.json")
        self.process = subprocess.Popen(
            [BINARY, "--discovery", DISCOVERY, "--write-credentials", self.key], stdout=subprocess.PIPE, text=True)
        told = json.loads(self.process.stdout.readline())
        self.api, self.control, self.email = told["api"], told["control"], told["email"]

    def ask(self, verb, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.control + path, data=data, method=verb)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read())

    def human(self, book, **deed):
        return self.ask("POST", f"/spreadsheets/{book}/human", deed)

    def fault(self, **fault):
        return self.ask("POST", "/faults", fault)

    def settings(self, **changes):
        return self.ask("POST", "/settings", changes)

    def client(self, scopes=(SCOPE,), key=None, timeout=20):
        if key is None:
            credentials = service_account.Credentials.from_service_account_file(self.key, scopes=list(scopes))
        else:
            credentials = service_account.Credentials.from_service_account_info(key, scopes=list(scopes))
        plain = httplib2.Http(timeout=timeout)
        plain.redirect_codes = frozenset()
        return build("sheets", "v4", http=AuthorizedHttp(credentials, http=plain), static_discovery=True,
                     client_options={"api_endpoint": self.api}).spreadsheets()

    def make(self, **body):
        return self.ask("POST", "/spreadsheets", body)["spreadsheetId"]


def error(call, status, words=""):
    """The call fails with that status, and the message begins so."""
    try:
        call.execute()
    except HttpError as failed:
        same(failed.resp.status, status, f"status ({failed})")
        body = json.loads(failed.content)["error"]
        same(body["code"], status, "code in the body")
        fact(body["message"].startswith(words), f"{body['message']!r} does not begin with {words!r}")
        return body
    raise AssertionError(f"no error {status} {words}")


def at(column):
    return {"dimensionRange": {"sheetId": 0, "dimension": "COLUMNS", "startIndex": column, "endIndex": column + 1}}


def create(number, key, location, value=None):
    item = {"metadataId": number, "metadataKey": key, "visibility": "DOCUMENT", "location": location}
    if value is not None:
        item["metadataValue"] = value
    return {"createDeveloperMetadata": {"developerMetadata": item}}


def delete(**lookup):
    return {"deleteDeveloperMetadata": {"dataFilter": {"developerMetadataLookup": lookup}}}


def guard(number, key, column):
    return [delete(metadataId=number, metadataKey=key, locationMatchingStrategy="EXACT_LOCATION",
                   metadataLocation=at(column)),
            create(number, key, at(column))]


def swap(old, new):
    return [delete(metadataId=CURSOR, metadataKey="formspool.cursor", metadataValue=old),
            create(CURSOR, "formspool.cursor", {"sheetId": 0}, new)]


def text(value):
    return {"userEnteredValue": {"stringValue": value}}


def number(value):
    return {"userEnteredValue": {"numberValue": value}}


def append(rows, sheet=0):
    return {"appendCells": {"sheetId": sheet, "fields": "userEnteredValue",
                            "rows": [{"values": row} for row in rows]}}


def batch(client, book, requests, **more):
    fields = more.pop("fields", None)
    return client.batchUpdate(spreadsheetId=book, fields=fields, body={"requests": requests, **more})


COLUMNS = ["_seq", "_id", "email"]


def set_up(client, book):
    requests = [create(CURSOR, "formspool.cursor", {"sheetId": 0}, "form7:0"),
                {"updateSheetProperties": {"properties": {"sheetId": 0, "gridProperties": {"frozenRowCount": 1}},
                                           "fields": "gridProperties.frozenRowCount"}},
                {"updateCells": {"start": {"sheetId": 0, "rowIndex": 0, "columnIndex": 0}, "fields": "userEnteredValue",
                                 "rows": [{"values": [text(name) for name in COLUMNS]}]}}]
    requests += [create(FIRST + place, "formspool.col." + name, at(place)) for place, name in enumerate(COLUMNS)]
    requests.append(create(END, "formspool.end", at(len(COLUMNS))))
    return batch(client, book, requests, includeSpreadsheetInResponse=True, fields=FIELDS)


def guards():
    pairs = [guard(FIRST + place, "formspool.col." + name, place) for place, name in enumerate(COLUMNS)]
    return sum(pairs, []) + guard(END, "formspool.end", len(COLUMNS))


def send(client, book, old, new, rows):
    requests = swap(old, new) + guards() + [append(rows)]
    return batch(client, book, requests, includeSpreadsheetInResponse=True, responseIncludeGridData=False, fields=FIELDS)


def row(seq):
    return [number(seq), text(f"id{seq}"), text(f"{seq}@example.com")]


def cursor(client, book):
    return client.developerMetadata().get(spreadsheetId=book, metadataId=CURSOR).execute()["metadataValue"]


def values(client, book, where="Sheet1", **more):
    return client.values().get(spreadsheetId=book, range=where, **more).execute().get("values", [])


def protocol(fake):
    client, book = fake.client(), fake.make(tabs=[{"rows": 2, "columns": 4}])
    error(client.developerMetadata().get(spreadsheetId=book, metadataId=CURSOR), 404, "No developer metadata with ID")
    answer = set_up(client, book).execute()
    same(len(answer["replies"]), 7, "a reply for each request")
    same(answer["updatedSpreadsheet"]["sheets"],
         [{"properties": {"sheetId": 0, "title": "Sheet1", "gridProperties": {"rowCount": 2, "columnCount": 4}}}],
         "the mask is kept to")
    error(set_up(client, book), 400, f"Invalid requests[0].createDeveloperMetadata: Cannot add developer metadata with "
          f"ID [{CURSOR}] because developer metadata with that ID already exists.")
    same(cursor(client, book), "form7:0", "the cursor after the set-up")
    answer = send(client, book, "form7:0", "form7:2", [row(1), row(2)]).execute()
    deleted = answer["replies"][0]["deleteDeveloperMetadata"]["deletedDeveloperMetadata"]
    same([(item["metadataId"], item["metadataValue"]) for item in deleted], [(CURSOR, "form7:0")], "what was deleted")
    same([len(reply.get("deleteDeveloperMetadata", {}).get("deletedDeveloperMetadata", []))
          for reply in answer["replies"][2:10:2]], [1, 1, 1, 1], "each guard has met its column")
    same(answer["replies"][10], {}, "appendCells has an empty reply")
    same(answer["updatedSpreadsheet"]["sheets"][0]["properties"]["gridProperties"]["rowCount"], 3, "the grid has grown")
    failed = error(send(client, book, "form7:0", "form7:9", [row(9)]), 400,
                   "Invalid requests[1].createDeveloperMetadata: Cannot add developer metadata with ID")
    same(failed["status"], "INVALID_ARGUMENT", "status of a refusal")
    same(cursor(client, book), "form7:2", "a stale batch has moved nothing")
    same([line[0] for line in values(client, book)], ["_seq", "1", "2"], "a stale batch has written nothing")
    fake.settings(no_match_delete="400")
    error(send(client, book, "form7:0", "form7:9", [row(9)]), 400, "Invalid requests[0].deleteDeveloperMetadata: ")
    fake.settings(no_match_delete="ok")
    send(client, book, "form7:2", "form7:3", [row(3)]).execute()
    same(values(client, book, "Sheet1!A2:B", valueRenderOption="UNFORMATTED_VALUE"),
         [[1, "id1"], [2, "id2"], [3, "id3"]], "values.get")
    same(values(client, book, "Sheet1!A2:A4", majorDimension="COLUMNS"), [["1", "2", "3"]], "by columns")
    found = client.developerMetadata().search(spreadsheetId=book, body={"dataFilters": [{"developerMetadataLookup": {
        "metadataLocation": {"sheetId": 0}, "locationMatchingStrategy": "INTERSECTING_LOCATION"}}]}).execute()
    same(sorted(item["developerMetadata"]["metadataKey"] for item in found["matchedDeveloperMetadata"]),
         ["formspool.col._id", "formspool.col._seq", "formspool.col.email", "formspool.cursor", "formspool.end"],
         "one search reads cursor and columns")
    return client, book


def layout(client, book):
    """Where each column's metadata is."""
    answer = client.get(spreadsheetId=book, ranges=["Sheet1!1:1"],
                        fields="sheets(data(columnMetadata(developerMetadata(metadataId,metadataKey))))").execute()
    columns = answer["sheets"][0]["data"][0]["columnMetadata"]
    return {item["metadataKey"].rsplit(".", 1)[1]: place for place, column in enumerate(columns)
            for item in column.get("developerMetadata", [])}


def people(fake, client, book):
    same(layout(client, book), {"_seq": 0, "_id": 1, "email": 2, "end": 3}, "columns where they were made")
    batch(client, book, [{"moveDimension": {"source": at(2)["dimensionRange"], "destinationIndex": 0}}]).execute()
    same(layout(client, book), {"email": 0, "_seq": 1, "_id": 2, "end": 3}, "metadata moves with its column")
    error(send(client, book, "form7:3", "form7:4", [row(4)]), 400, "Invalid requests[3].createDeveloperMetadata: ")
    same(cursor(client, book), "form7:3", "a guard has refused the batch and its cursor")
    fake.human(book, **{"do": "move_columns", "tab": "Sheet1", "from": "email", "to": 3})
    same(layout(client, book), {"_seq": 0, "_id": 1, "email": 2, "end": 3}, "a person has moved it back")
    fake.human(book, **{"do": "insert_columns", "tab": "Sheet1", "at": 1})
    same(layout(client, book), {"_seq": 0, "_id": 2, "email": 3, "end": 4}, "metadata makes room")
    fake.human(book, **{"do": "delete_columns", "tab": "Sheet1", "at": 1})
    fake.human(book, **{"do": "rename_header", "tab": "Sheet1", "column": "email", "to": "E-mail"})
    fake.human(book, **{"do": "sort", "tab": "Sheet1", "by": "_seq", "descending": True})
    same([line[0] for line in values(client, book)], ["_seq", "3", "2", "1"], "sorted below the frozen row")
    send(client, book, "form7:3", "form7:4", [row(4)]).execute()
    same([line[0] for line in values(client, book)], ["_seq", "3", "2", "1", "4"], "appended behind the last row")
    # Anything in any column counts as data, far down as well.
    fake.human(book, **{"do": "resize", "tab": "Sheet1", "rows": 50, "columns": 5})
    fake.human(book, **{"do": "set_cell", "tab": "Sheet1", "row": 20, "column": 4, "value": False})
    send(client, book, "form7:4", "form7:5", [row(5)]).execute()
    same(values(client, book, "Sheet1!A22:A22"), [["5"]], "below a checkbox in row 21")
    fake.human(book, **{"do": "delete_columns", "tab": "Sheet1", "at": "E-mail"})
    same(layout(client, book), {"_seq": 0, "_id": 1, "end": 2}, "metadata dies with its column")
    journal = fake.ask("GET", f"/journal?spreadsheet={book}")["entries"]
    rows = [cell[0] for entry in journal for part in entry["appended"] for cell in part["rows"]]
    same(rows, [1, 2, 3, 4, 5], "the journal has each row once, in order")
    before = cursor(client, book)
    fake.settings(restored_metadata="kept")
    fake.human(book, **{"do": "restore", "back": 3})
    same(cursor(client, book), before, "metadata kept after a restored version")
    fake.settings(restored_metadata="restored")
    fake.human(book, **{"do": "restore", "revision": 3})
    same(cursor(client, book), "form7:2", "metadata restored with its version")
    fake.human(book, **{"do": "add_tab", "title": "other"})
    fake.human(book, **{"do": "delete_tab", "tab": "Sheet1"})
    error(client.developerMetadata().get(spreadsheetId=book, metadataId=CURSOR), 404, "No developer metadata with ID")
    error(batch(client, book, [append([row(1)])]), 400, "Invalid requests[0].appendCells: No grid with id: 0")
    fake.human(book, **{"do": "restore_tab", "id": 0})
    same(cursor(client, book), "form7:2", "the tab is back, with its cursor")


WILD = ["=1+1", "=HYPERLINK(\"http://x\")", "+49 30", "007", "1/2", "1e5", "-1", "@x", "'quoted", "TRUE", "😀🇩🇪", " a\tb\nc ",
        "<b>", "x" * 50000, "😀" * 25000]


def safety(fake, client):
    book = fake.make(tabs=[{"rows": 1, "columns": 2}])
    batch(client, book, [append([[text(value), {}] for value in WILD])]).execute()
    for option in ("FORMATTED_VALUE", "UNFORMATTED_VALUE", "FORMULA"):
        got = values(client, book, "Sheet1!A1:B", valueRenderOption=option)
        same([line[0] for line in got], WILD, f"texts come back as they were ({option})")
    same([len(line) for line in got], [1] * len(WILD), "blank cells at the end are left out")
    cells = client.get(spreadsheetId=book, includeGridData=True).execute()["sheets"][0]["data"][0]["rowData"]
    same(cells[0]["values"][0]["userEnteredValue"], {"stringValue": "=1+1"}, "a text is no formula")
    for long in ("x" * 50001, "😀" * 25001):
        error(batch(client, book, [append([[text(long)]])]), 400, "Invalid requests[0].appendCells: Your input contains "
              "more than the maximum of 50000 characters in a single cell.")
    batch(client, book, [append([[number(0.1), {"userEnteredValue": {"boolValue": True}}]])]).execute()
    same(values(client, book, f"Sheet1!{len(WILD) + 1}:{len(WILD) + 1}", valueRenderOption="UNFORMATTED_VALUE"),
         [[0.1, True]], "numbers and booleans keep their type")
    fresh = fake.make(tabs=[{"rows": 2, "columns": 1}])
    date = {"userEnteredFormat": {"numberFormat": {"type": "DATE_TIME", "pattern": "yyyy-mm-dd hh:mm:ss"}}}
    batch(client, fresh, [{"repeatCell": {"range": {"sheetId": 0, "startRowIndex": 1, "startColumnIndex": 0,
                                                    "endColumnIndex": 1},
                                          "cell": date, "fields": "userEnteredFormat.numberFormat"}},
                          append([[text("when")], [number(46352.5)], [number(46353)]])]).execute()
    same(values(client, fresh), [["when"], ["2026-11-26 12:00:00"], ["2026-11-27 00:00:00"]], "serial numbers as dates")
    same(values(client, fresh, valueRenderOption="UNFORMATTED_VALUE")[1], [46352.5], "and as numbers")


def checks(client, book):
    """What the client's library does not look at, and Google does."""
    error(batch(client, book, [{"appendCells": {"x": 1}}]), 400, "Invalid JSON payload received. Unknown name \"x\" at "
          "'requests[0].append_cells': Cannot find field.")
    failed = error(batch(client, book, [{"y": {}}]), 400,
                   "Invalid JSON payload received. Unknown name \"y\" at 'requests[0]': Cannot find field.")
    same(failed["details"][0]["fieldViolations"][0]["field"], "requests[0]", "the field is named")
    error(batch(client, book, [{"appendCells": {"sheetId": 2 ** 31}}]), 400,
          "Invalid value at 'requests[0].append_cells.sheet_id' (TYPE_INT32), 2147483648")
    bad = create(5, "k", {"sheetId": 0})
    bad["createDeveloperMetadata"]["developerMetadata"]["visibility"] = "ALL"
    error(batch(client, book, [bad]), 400,
          "Invalid value at 'requests[0].create_developer_metadata.developer_metadata.visibility'")
    error(batch(client, book, [{**append([[text("a")]]), **bad}]), 400)
    error(batch(client, book, []), 400, "Must specify at least one request.")
    error(batch(client, book, [{}]), 400, "Invalid requests[0]")
    error(batch(client, book, [append([[text("a")]], sheet=77)]), 400, "Invalid requests[0].appendCells: No grid with id: 77")
    no_mask = append([[text("a")]])
    del no_mask["appendCells"]["fields"]
    error(batch(client, book, [no_mask]), 400, "Invalid requests[0].appendCells: At least one field must be listed in "
          "'fields'. (Use '*' to indicate all fields.)")
    error(client.get(spreadsheetId=book, fields="sheets(nope)"), 400, "Request contains an invalid argument.")
    error(client.values().get(spreadsheetId=book, range="Nope!A1"), 400, "Unable to parse range: Nope!A1")
    for bad_id in (0, -5):
        error(batch(client, book, [create(bad_id, "k", {"sheetId": 0})]), 400)
    error(batch(client, book, [delete(metadataId=5, locationMatchingStrategy="EXACT_LOCATION")]), 400)
    error(batch(client, book, [{"addChart": {}}]), 501, "fake-sheets: ")
    error(client.values().append(spreadsheetId=book, range="A1", valueInputOption="RAW", body={}), 501, "fake-sheets: ")


def limits(fake, client):
    book = fake.make(tabs=[{"rows": 10, "columns": 26}, {"title": "big", "rows": 384600, "columns": 26}])
    full = "This action would increase the number of cells in the workbook above the limit of 10000000 cells."
    error(batch(client, book, [append([[text("x")]] * 40)]), 400, f"Invalid requests[0].appendCells: {full}")
    same(values(client, book), [], "nothing was written")
    error(batch(client, book, [append([[{}] * 26 + [text("x")]])]), 400, "Invalid requests[0].appendCells: Attempting to "
          "write column: 26, beyond the last requested column of: 25")
    error(batch(client, book, [{"appendDimension": {"sheetId": 0, "dimension": "COLUMNS", "length": 18253}}]), 400,
          "Invalid requests[0].appendDimension: This action would increase the number of columns")
    error(batch(client, book, [{"addSheet": {"properties": {"title": "BIG"}}}]), 400,
          'Invalid requests[0].addSheet: A sheet with the name "BIG" already exists. Please enter another name.')
    one = {"deleteDeveloperMetadata": {"dataFilter": {"developerMetadataLookup": {"metadataId": 1}}}}
    error(batch(client, book, [one] * 100001), 400, "Cannot exceed 100000 requests in a single batch")
    fits = create(1, "k", {"sheetId": 0}, "x" * 29999)
    batch(client, book, [fits, create(2, "k", {"spreadsheet": True}, "x" * 29999)]).execute()
    error(batch(client, book, [create(3, "k", at(0))]), 400, "Invalid requests[0].createDeveloperMetadata: ")
    same(client.developerMetadata().get(spreadsheetId=book, metadataId=1).execute()["location"],
         {"locationType": "SHEET", "sheetId": 0}, "zeros are there")
    fake.settings(omit_zeros=True)
    same(client.developerMetadata().get(spreadsheetId=book, metadataId=1).execute()["location"],
         {"locationType": "SHEET"}, "zeros are left out")
    fake.settings(omit_zeros=False)
    fake.human(book, **{"do": "protect", "tab": "Sheet1", "columns": [1, 2]})
    batch(client, book, [append([[text("a")]])]).execute()
    error(batch(client, book, [append([[text("a"), text("b")]])]), 400, "Invalid requests[0].appendCells: You are trying to "
          "edit a protected cell or object.")
    shown = client.get(spreadsheetId=book).execute()["sheets"][0]["protectedRanges"]
    same(shown[0]["requestingUserCanEdit"], False, "a protected range says who may not")


def permission(fake, client):
    book = fake.make(share=False)
    same(error(client.get(spreadsheetId=book), 403, "The caller does not have permission")["status"],
         "PERMISSION_DENIED", "status of 403")
    fake.settings(unshared=404)
    error(batch(client, book, [append([[text("a")]])]), 404, "Requested entity was not found.")
    fake.settings(unshared=403)
    fake.ask("POST", f"/spreadsheets/{book}/share", {})
    client.get(spreadsheetId=book).execute()
    fake.ask("POST", f"/spreadsheets/{book}/unshare", {})
    error(client.get(spreadsheetId=book), 403)
    error(client.get(spreadsheetId="nowhere"), 404, "Requested entity was not found.")
    fake.ask("POST", f"/spreadsheets/{book}/share", {})
    reader = fake.client(scopes=[READ_ONLY])
    reader.get(spreadsheetId=book).execute()
    failed = error(batch(reader, book, [append([[text("a")]])]), 403, "Request had insufficient authentication scopes.")
    same(failed["details"][0]["reason"], "ACCESS_TOKEN_SCOPE_INSUFFICIENT", "reason")
    # The client has a second try with a fresh token after 401.
    fake.ask("POST", "/tokens/expire", {})
    client.get(spreadsheetId=book).execute()
    tried = [call["status"] for call in fake.ask("GET", "/calls")[-3:]]
    same(tried, [401, 200, 200], "refused, a token, done")
    key = fake.ask("POST", "/credentials", {"name": "second"})
    other = fake.client(key=key)
    error(other.get(spreadsheetId=book), 403)
    fake.ask("POST", f"/spreadsheets/{book}/share", {"with": key["client_email"]})
    other.get(spreadsheetId=book).execute()
    fake.ask("DELETE", f"/credentials/{key['client_email']}")
    for spoil, words in ((dict(key), "account not found"),
                         ({**key, "client_email": fake.email}, "Invalid JWT Signature.")):
        try:
            fake.client(key=spoil).get(spreadsheetId=book).execute()
            raise AssertionError("a token for a key that is not good")
        except RefreshError as refused:
            fact("invalid_grant" in str(refused) and words in str(refused), f"{refused}")
    fake.settings(skew_ms=7200_000)
    try:
        fake.client().get(spreadsheetId=book).execute()
        raise AssertionError("a token under a wrong clock")
    except RefreshError as refused:
        fact("short-lived token" in str(refused), f"{refused}")
    fake.settings(skew_ms=0)


def quotas(fake):
    client, book = fake.client(), fake.make()
    client.get(spreadsheetId=book).execute()
    # A minute of an hour, so that none ends while this looks.
    fake.settings(minute_ms=3_600_000, writes_per_user=60)
    done = 0
    for _ in range(61):
        try:
            batch(client, book, [append([[text("a")]])]).execute()
            done += 1
        except HttpError as failed:
            body = json.loads(failed.content)["error"]
    fact(done <= 60, f"{done} writes in a minute")
    same((body["code"], body["status"]), (429, "RESOURCE_EXHAUSTED"), "429")
    fact(body["message"].startswith("Quota exceeded for quota metric 'Write requests' and limit 'Write requests per minute "
                                    "per user' of service 'sheets.googleapis.com' for consumer 'project_number:"), body)
    same(body["details"][0]["reason"], "RATE_LIMIT_EXCEEDED", "reason")
    same(body["details"][0]["metadata"]["quota_limit"], "WriteRequestsPerMinutePerUser", "quota_limit")
    same(body["details"][0]["metadata"]["quota_limit_value"], "60", "quota_limit_value")
    client.get(spreadsheetId=book).execute()
    fake.settings(minute_ms=100, writes_per_user=1_000_000, writes_per_project=1_000_000, reads_per_user=1_000_000,
                  reads_per_project=1_000_000)


def broken(call):
    """No answer, or none that is whole."""
    try:
        call.execute(num_retries=0)
    except (OSError, http.client.HTTPException, httplib2.HttpLib2Error, ValueError) as failed:
        return type(failed).__name__
    raise AssertionError("an answer, and none was expected")


def faults(fake):
    client, book = fake.client(timeout=2), fake.make(tabs=[{"rows": 2, "columns": 4}])
    set_up(client, book).execute()
    at_now = lambda: cursor(client, book)  # noqa: E731
    step = lambda: send(client, book, at_now(), f"form7:{int(at_now()[6:]) + 1}", [row(int(at_now()[6:]) + 1)])  # noqa: E731
    fake.fault(kind="answer", next=1)
    call = step()
    error(call, 503, "The service is currently unavailable.")
    same(at_now(), "form7:0", "503 before it was applied")
    fake.fault(kind="apply_then_answer", next=1)
    error(call, 503)
    same(at_now(), "form7:1", "503 after it was applied")
    error(call, 400, "Invalid requests[1].createDeveloperMetadata")
    # httplib2 sends again by itself what it has no answer to: the second is refused by the cursor.
    for kind, applied in (("drop", 1), ("apply_then_drop", 1), ("truncate", 1), ("slow", 1)):
        before = int(at_now()[6:])
        fake.fault(kind=kind, next=1, delay_ms=50)
        call = step()
        try:
            call.execute(num_retries=0)
        except HttpError as failed:
            same(failed.resp.status, 400, f"{kind}, and sent again")
        except (OSError, http.client.HTTPException, httplib2.HttpLib2Error, ValueError):
            pass
        same(int(at_now()[6:]) - before, applied, f"how often it was applied under {kind}")
    before = int(at_now()[6:])
    fake.fault(kind="truncate", next=1)
    call, bearer = step(), client._http.credentials.token
    request = urllib.request.Request(call.uri, data=call.body.encode(), method="POST",
                                     headers={"authorization": f"Bearer {bearer}", "content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        try:
            answer.read()
            raise AssertionError("a whole answer")
        except http.client.IncompleteRead as cut:
            fact(answer.status == 200 and cut.partial and cut.expected, "a 200 that breaks off in its middle")
    same(int(at_now()[6:]) - before, 1, "and was applied")
    fake.fault(kind="zombie", next=2, delay_ms=700)
    before = at_now()
    call = step()
    broken(call)
    same(at_now(), before, "a zombie has not arrived yet")
    until = time.monotonic() + 10
    while at_now() == before and time.monotonic() < until:
        time.sleep(0.05)
    same(int(at_now()[6:]) - int(before[6:]), 1, "a zombie has arrived, once")
    fake.ask("DELETE", "/faults")
    there = {"do": "move_columns", "tab": "Sheet1", "from": 0, "to": 2}
    back = {"do": "move_columns", "tab": "Sheet1", "from": 1, "to": 0}
    fake.fault(kind="edit", next=1, before=[there], after=[back])
    before = at_now()
    error(step(), 400, "Invalid requests")
    same(at_now(), before, "a person moved a column between its arrival and its doing")
    fake.fault(kind="edit", next=1, after=[there])
    step().execute()
    same(values(client, book, "Sheet1!A1:C1")[0][:2], [COLUMNS[1], COLUMNS[0]], "a person did before its answer")
    fake.human(book, **back)
    fake.fault(kind="answer", status=408, next=1)
    try:
        step().execute()
        raise AssertionError("no 408")
    except HttpError as failed:
        same((failed.resp.status, failed.resp["content-type"]), (408, "text/html; charset=UTF-8"), "a page")
    fake.fault(kind="throttle", next=1)
    error(step(), 429, "Quota exceeded")
    fake.fault(kind="answer", status=403, reason="SERVICE_DISABLED", next=1)
    same(error(step(), 403)["details"][0]["reason"], "SERVICE_DISABLED", "any error can be asked for")
    seqs = [line[0] for line in values(client, book, "Sheet1!A2:A")]
    same(seqs, [str(n + 1) for n in range(len(seqs))], "each row once and in order, after all of that")
    fact(len(seqs) == int(at_now()[6:]), "as many as the cursor says")


def main():
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        fake = Fake(folder)
        try:
            fake.settings(writes_per_user=10_000, reads_per_user=10_000, writes_per_project=10_000, reads_per_project=10_000)
            client, book = protocol(fake)
            people(fake, client, book)
            safety(fake, client)
            checks(client, fake.make())
            limits(fake, client)
            permission(fake, client)
            quotas(fake)
            faults(fake)
            page = urllib.request.urlopen(fake.control + "/", timeout=20).read().decode()
            fact("<b>" not in page.replace(f"<b>{fake.email}</b>", "") and "&lt;b&gt;" in page, "the page escapes what it shows")
        finally:
            fake.process.terminate()
            code = fake.process.wait(timeout=10)
        same(code, 0, "it ends in order on SIGTERM")
    print(f"sheets-check: Google's own client has seen {facts} facts in {time.monotonic() - started:.1f} s")


main()
