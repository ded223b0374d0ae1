#!/usr/bin/env bash
# Three nodes on this machine, under ./data/cluster/{1,2,3}: `run` starts them all and stays until
# Ctrl-C; `kill N`, `start N` and `status` are for a second terminal.
set -euo pipefail

ROOT=${CLUSTER_DIR:-./data/cluster}
BINARY=${BINARY:-target/release/formspool}
PEERS=127.0.0.1:7081,127.0.0.1:7082,127.0.0.1:7083

say() { echo "cluster: $*"; }

number() { # number N: one of the three
  case "${1:-}" in
    1 | 2 | 3) ;;
    *) say "say which: N=1, N=2 or N=3"; exit 2 ;;
  esac
}

pid_of() { # pid_of N: its process, if it runs
  local pid
  pid=$(cat "$ROOT/$1/pid" 2>/dev/null) || return 1
  # A number that another program has by now is not ours.
  [ -r "/proc/$pid/cmdline" ] || return 1
  [ "$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | cut -d' ' -f1)" = "$BINARY" ] || return 1
  echo "$pid"
}

start() { # start N: in the background; what it says goes to a file
  local n=$1 pid
  if pid=$(pid_of "$n"); then
    say "node $n runs already (process $pid)"
    return
  fi
  mkdir -p "$ROOT/$n"
  FORMSPOOL_DATA_DIR="$ROOT/$n/data" \
    FORMSPOOL_HTTP__LISTEN="127.0.0.1:808$n" \
    FORMSPOOL_OPS__LISTEN="127.0.0.1:908$n" \
    FORMSPOOL_PEER__LISTEN="127.0.0.1:708$n" \
    FORMSPOOL_CLUSTER__PEERS="$PEERS" \
    FORMSPOOL_ADMIN__TOKEN_FILE="$ROOT/admin.token" \
    "$BINARY" serve >>"$ROOT/$n/out" 2>&1 &
  echo $! >"$ROOT/$n/pid"
}

ready() { # ready N: what /readyz says
  curl -s --max-time 2 "http://127.0.0.1:908$1/readyz" 2>/dev/null || true
}

wait_ready() { # wait_ready N: until it is, or says why not for too long
  local n=$1 words="" i
  for ((i = 0; i < 300; i++)); do
    words=$(ready "$n")
    [ "$words" = ok ] && return
    if ! pid_of "$n" >/dev/null; then
      say "node $n ended; the end of $ROOT/$n/out:"
      tail -5 "$ROOT/$n/out"
      return 1
    fi
    sleep 0.2
  done
  say "node $n is not ready: ${words:-it does not answer}"
  return 1
}

stop_all() {
  local n pid
  trap - INT TERM EXIT
  echo
  say "stopping (each says first that it is not ready, and goes on serving for some seconds)"
  for n in 1 2 3; do
    if pid=$(pid_of "$n"); then kill -TERM "$pid" 2>/dev/null || true; fi
  done
  for n in 1 2 3; do
    while pid_of "$n" >/dev/null; do sleep 0.2; done
    rm -f "$ROOT/$n/pid"
  done
  say "stopped; the data stays in $ROOT"
}

run() {
  local n pid
  for n in 1 2 3; do
    if pid=$(pid_of "$n"); then
      say "node $n runs already (process $pid): stop that cluster first"
      exit 1
    fi
  done
  mkdir -p "$ROOT"
  # Ctrl-C reaches every process of this terminal: the nodes get theirs from here, in order.
  trap stop_all INT TERM EXIT
  set -m # so that Ctrl-C does not go past this script
  for n in 1 2 3; do start "$n"; done
  say "three nodes start; what they say is in $ROOT/{1,2,3}/out"
  for n in 1 2 3; do wait_ready "$n" || exit 1; done
  cat <<TEXT
cluster: ready
  form        http://127.0.0.1:8081/f/student-data   (or :8082, :8083: every node takes submissions)
  sheets      $ROOT/{1,2,3}/data/sheets/student-data.csv   (each node writes its own)
  token       $ROOT/admin.token
  see more    make cluster-status            (in a second terminal)
              make cluster-kill N=2          kill -9; submissions go on
              make cluster-start N=2         it catches up
  Ctrl-C stops all three.
TEXT
  # Nodes are killed and started by others meanwhile: only Ctrl-C ends this.
  while true; do sleep 3600 & wait $! || true; done
}

case "${1:-}" in
  run) run ;;
  start)
    number "${2:-}"
    set -m # it outlives this script
    start "$2"
    wait_ready "$2"
    say "node $2 is ready"
    ;;
  kill)
    number "${2:-}"
    if pid=$(pid_of "$2"); then
      kill -KILL "$pid"
      say "node $2 (process $pid) was killed; make cluster-start N=$2 brings it back"
    else
      say "node $2 does not run"
      exit 1
    fi
    ;;
  status)
    for n in 1 2 3; do
      if [ -n "$(ready "$n")" ]; then
        exec env FORMSPOOL_ADMIN__TOKEN_FILE="$ROOT/admin.token" \
          "$BINARY" --url "http://127.0.0.1:808$n" cluster status
      fi
    done
    say "no node answers: make cluster starts three"
    exit 1
    ;;
  *)
    say "run | start N | kill N | status"
    exit 2
    ;;
esac
