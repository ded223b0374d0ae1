#!/usr/bin/env bash
# The Google Sheets of the tests (jepsen/sheets), on loopback: a page on which rows arrive, without Google.
#   start | stop | status     what it writes is under ./data/google; its spreadsheets end with it
#   serve COMMAND [...]       `COMMAND serve ...` with this Google and a task that fills a sheet of it
# The process is ended by the id that was written down when it was started.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
BINARY=${FAKE_SHEETS:-target/release/fake-sheets}
ROOT=${SHEETS_DIR:-./data/google}
API=127.0.0.1:8090
PAGE=127.0.0.1:8091
BOOK=demo
TASK=deploy/sheets/student-google.toml
READY_S=20

say() { echo "sheets: $*"; }

pid() { # its process, if it runs; a number that another program has by now is not ours
  local pid
  pid=$(cat "$ROOT/pid" 2>/dev/null) || return 1
  grep -qzF "$ROOT/key.json" "/proc/$pid/cmdline" 2>/dev/null || return 1
  echo "$pid"
}

start() {
  if pid >/dev/null; then
    say "it runs already (process $(pid)); rows are shown on http://$PAGE/"
    return
  fi
  "$HERE/setup.sh" sheets
  mkdir -p "$ROOT/tasks"
  # The shipped task, at the spreadsheet that is made now.
  sed "s/^spreadsheet = .*/spreadsheet = \"$BOOK\"/" "$TASK" >"$ROOT/tasks/$(basename "$TASK")"
  set -m # it outlives this script, and Ctrl-C of this terminal does not reach it
  "$BINARY" --listen "$API" --control "$PAGE" --spreadsheet "$BOOK" --write-credentials "$ROOT/key.json" \
    >"$ROOT/log" 2>&1 </dev/null &
  echo $! >"$ROOT/pid"
  set +m
  local i
  for ((i = 0; i < READY_S * 5; i++)); do
    if curl -sf --max-time 2 "http://$PAGE/state" >/dev/null; then
      pid >/dev/null || break # another one answers there
      say "ready: rows are shown on http://$PAGE/"
      return
    fi
    pid >/dev/null || break
    sleep 0.2
  done
  say "it did not start; what it said:"
  tail -5 "$ROOT/log"
  exit 1
}

stop() {
  local pid i
  pid=$(pid) || { say "nothing runs"; return; }
  kill -TERM "$pid"
  for ((i = 0; i < 25; i++)); do
    pid >/dev/null || break
    sleep 0.2
  done
  rm -f "$ROOT/pid"
  say "stopped; its spreadsheets are gone"
}

# The command takes the place of this script. The node stays with its embedded defaults, and one task more.
serve() {
  pid >/dev/null || { say "it does not run: start"; exit 1; }
  cat <<TEXT
sheets: the node starts with the task student-google (deploy/sheets); then
  watch      http://$PAGE/     (rows arrive there, seconds after each submission)
  submit     http://127.0.0.1:8080/f/student-data
  how it is  target/release/formspool tasks show student-google
  compare    FORMSPOOL_SHEETS__ENDPOINT=http://$API FORMSPOOL_SHEETS__CREDENTIALS_FILE=$ROOT/key.json \\
               target/release/formspool verify sheets
  stop       Ctrl-C ends the node; make sheets-stop ends this Google, and its rows. What the log still
             holds comes again: target/release/formspool tasks replay student-google --from beginning
TEXT
  FORMSPOOL_SHEETS__ENDPOINT=http://$API \
    FORMSPOOL_SHEETS__CREDENTIALS_FILE=$ROOT/key.json \
    FORMSPOOL_DEFINITIONS=${FORMSPOOL_DEFINITIONS:-deploy/forms,deploy/tasks},$ROOT/tasks \
    exec "$1" serve "${@:2}"
}

usage() { sed -n '3,4s/^# //p' "$0"; exit 2; }

[ ! -d "$ROOT" ] || ROOT=$(cd "$ROOT" && pwd)
case "${1:-}" in
  start)
    mkdir -p "$ROOT"
    ROOT=$(cd "$ROOT" && pwd) # the process is known by the whole path
    start
    ;;
  stop) stop ;;
  status)
    pid >/dev/null || { say "it does not run"; exit 1; }
    say "it runs (process $(pid)); rows are shown on http://$PAGE/"
    ;;
  serve)
    [ -n "${2:-}" ] || usage
    serve "${@:2}"
    ;;
  *) usage ;;
esac
