#!/usr/bin/env bash
# Real Apache Kafka on this machine, on loopback, under ./data/kafka: one broker, or three.
#   start [--brokers 1|3]     fetches it if need be, starts it, waits until it is ready
#   stop | status
#   create-topic NAME [...]   what comes after NAME goes to Kafka's own tool (--partitions 3 ...)
#   tool topics|configs|consume|transactions|groups ...   Kafka's own tools, at these brokers
#   serve BINARY              starts a node that mirrors student data to these brokers
# Processes are ended by the ids that were written down when they were started.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
LIBRARIES=${KAFKA_LIBRARIES:-$(cd "$HERE/../.." && pwd)/target/peers/kafka}
ROOT=${KAFKA_DIR:-./data/kafka}
FIRST_PORT=19092       # brokers: 19092 (19093, 19094); their controllers: 100 more
READY_S=60
STOP_S=20
JVM=(-Xmx400m -Xms100m -XX:+UseSerialGC -XX:TieredStopAtLevel=1)

say() { echo "kafka: $*"; }

count() { cat "$ROOT/brokers" 2>/dev/null || echo 1; }

port() { echo $((FIRST_PORT + $1 - 1)); }

bootstrap() { # of all brokers, with commas
  local n out=""
  for ((n = 1; n <= $(count); n++)); do out+=,127.0.0.1:$(port "$n"); done
  echo "${out#,}"
}

pid_of() { # pid_of N: its process, if it runs; a number that another program has by now is not ours
  local pid
  pid=$(cat "$ROOT/$1/pid" 2>/dev/null) || return 1
  grep -qzF "$ROOT/$1/server.properties" "/proc/$pid/cmdline" 2>/dev/null || return 1
  echo "$pid"
}

# Kafka's libraries, and its words at the level of a warning.
JAVA=(java -Dlog4j2.configurationFile="$HERE/kafka/log4j2.properties" -cp "$LIBRARIES/*")

settings() { # settings N: of one broker
  local n=$1 i all voters="" isr=1
  all=$(count)
  for ((i = 1; i <= all; i++)); do voters+=,$i@127.0.0.1:$(($(port "$i") + 100)); done
  [ "$all" -eq 1 ] || isr=2
  cat <<TEXT
process.roles=broker,controller
node.id=$n
controller.quorum.voters=${voters#,}
listeners=PLAINTEXT://127.0.0.1:$(port "$n"),CONTROLLER://127.0.0.1:$(($(port "$n") + 100))
advertised.listeners=PLAINTEXT://127.0.0.1:$(port "$n")
controller.listener.names=CONTROLLER
log.dirs=$ROOT/$n/data
# No topic is made by asking for it, and none loses what was acknowledged.
auto.create.topics.enable=false
unclean.leader.election.enable=false
default.replication.factor=$all
min.insync.replicas=$isr
offsets.topic.replication.factor=$all
transaction.state.log.replication.factor=$all
transaction.state.log.min.isr=$isr
# Few, so that a start is quick.
num.partitions=3
offsets.topic.num.partitions=3
transaction.state.log.num.partitions=3
group.initial.rebalance.delay.ms=0
TEXT
}

lay_out() { # the folder of a new cluster
  local n id
  id=$(head -c 16 /dev/urandom | base64 | tr '+/' 'ab' | cut -c 1-22)
  echo "$BROKERS" >"$ROOT/brokers"
  for ((n = 1; n <= BROKERS; n++)); do
    mkdir -p "$ROOT/$n"
    settings "$n" >"$ROOT/$n/server.properties"
    "${JAVA[@]}" kafka.tools.StorageTool format -t "$id" -c "$ROOT/$n/server.properties" \
      >"$ROOT/$n/format.log" 2>&1 || { say "cannot format broker $n:"; cat "$ROOT/$n/format.log"; exit 1; }
  done
}

known() { # how many brokers the first one knows
  kcat -L -b "127.0.0.1:$FIRST_PORT" -m 2 2>/dev/null | grep -cE '^ +broker [0-9]' || true
}

start() {
  "$HERE/setup.sh" kafka
  mkdir -p "$ROOT"
  ROOT=$(cd "$ROOT" && pwd) # brokers are told whole paths, and known by them
  if [ -f "$ROOT/brokers" ] && [ "$(count)" -ne "$BROKERS" ]; then
    say "$ROOT holds a cluster of $(count), not of $BROKERS: stop it and remove that folder first"
    exit 1
  fi
  [ -f "$ROOT/$BROKERS/data/meta.properties" ] || { say "laying out $BROKERS broker(s) in $ROOT"; lay_out; }
  local n words i
  for ((n = 1; n <= BROKERS; n++)); do
    if pid_of "$n" >/dev/null; then
      say "broker $n runs already (process $(pid_of "$n"))"
      continue
    fi
    set -m # it outlives this script, and Ctrl-C of this terminal does not reach it
    "${JAVA[@]}" "${JVM[@]}" kafka.Kafka "$ROOT/$n/server.properties" >>"$ROOT/$n/log" 2>&1 </dev/null &
    echo $! >"$ROOT/$n/pid"
    set +m
    say "broker $n starts (process $!); what it says is in $ROOT/$n/log"
  done
  words="waiting for $BROKERS broker(s)"
  for ((i = 0; i < READY_S * 2; i++)); do
    if [ "$(known)" -eq "$BROKERS" ]; then
      say "ready: bootstrap $(bootstrap)"
      return
    fi
    for ((n = 1; n <= BROKERS; n++)); do
      pid_of "$n" >/dev/null && continue
      say "broker $n ended; the end of $ROOT/$n/log:"
      tail -5 "$ROOT/$n/log"
      exit 1
    done
    [ $((i % 6)) -ne 0 ] || say "$words ($((i / 2)) s)"
    sleep 0.5
  done
  say "not ready after $READY_S s: see $ROOT/*/log"
  exit 1
}

running() { # numbers of those that run
  local n
  for ((n = 1; n <= $(count); n++)); do if pid_of "$n" >/dev/null; then echo "$n"; fi; done
}

stop() {
  local n i left
  left=$(running)
  [ -n "$left" ] || { say "nothing runs"; return; }
  for n in $left; do kill -TERM "$(pid_of "$n")" 2>/dev/null || true; done
  for ((i = 0; i < STOP_S * 5; i++)); do
    [ -n "$(running)" ] || break
    sleep 0.2
  done
  # The last of three has nobody left to hand over to, and may wait for them.
  for n in $(running); do
    say "broker $n (process $(pid_of "$n")) does not end: kill -9"
    kill -KILL "$(pid_of "$n")" 2>/dev/null || true
  done
  for n in $left; do rm -f "$ROOT/$n/pid"; done
  say "stopped; the data stays in $ROOT"
}

status() {
  local n pid
  for ((n = 1; n <= $(count); n++)); do
    if pid=$(pid_of "$n"); then
      say "broker $n runs (process $pid) at 127.0.0.1:$(port "$n")"
    else
      say "broker $n does not run"
    fi
  done
  if [ -z "$(running)" ]; then return 1; fi
  kcat -L -b "$(bootstrap)" -m 5 | grep -E '^ +(broker|topic) '
}

tool() { # tool NAME ARGS...
  local name=$1 class
  shift
  case "$name" in
    topics) class=org.apache.kafka.tools.TopicCommand ;;
    configs) class=org.apache.kafka.tools.ConfigCommand ;;
    consume) class=org.apache.kafka.tools.consumer.ConsoleConsumer ;;
    transactions) class=org.apache.kafka.tools.TransactionsCommand ;;
    groups) class=org.apache.kafka.tools.consumer.group.ConsumerGroupCommand ;;
    *) say "tools: topics, configs, consume, transactions, groups"; exit 2 ;;
  esac
  "${JAVA[@]}" "$class" --bootstrap-server "$(bootstrap)" "$@"
}

# The node takes the place of this script. It stays with its embedded defaults, and one task more.
serve() {
  [ -n "$(running)" ] || { say "no broker runs: start"; exit 1; }
  cat <<TEXT
kafka: the node starts with the task student-kafka (deploy/kafka); then
  submit     http://127.0.0.1:8080/f/student-data
  watch      kcat -C -q -u -b $(bootstrap) -t student-data -X isolation.level=read_committed -f '%o  %k  %h\n   %s\n'
             (in a second terminal, after the first submission)
  how it is  $1 status
  stop       Ctrl-C ends the node; make kafka-stop ends the broker
TEXT
  FORMSPOOL_KAFKA__BOOTSTRAP=$(bootstrap) \
    FORMSPOOL_DEFINITIONS=${FORMSPOOL_DEFINITIONS:-deploy/forms,deploy/tasks},deploy/kafka \
    exec "$1" serve
}

usage() { sed -n '3,7s/^# //p' "$0"; exit 2; }

case "${1:-}" in
  start)
    BROKERS=$(count)
    [ -z "${2:-}" ] || { [ "$2" = --brokers ] && BROKERS=${3:-}; }
    case "$BROKERS" in 1 | 3) start ;; *) usage ;; esac
    ;;
  stop | status)
    [ ! -d "$ROOT" ] || ROOT=$(cd "$ROOT" && pwd)
    "$1"
    ;;
  create-topic)
    [ -n "${2:-}" ] || usage
    name=$2
    shift 2
    tool topics --create --if-not-exists --topic "$name" "$@"
    ;;
  tool)
    [ -n "${2:-}" ] || usage
    shift
    tool "$@"
    ;;
  serve)
    [ -n "${2:-}" ] || usage
    [ ! -d "$ROOT" ] || ROOT=$(cd "$ROOT" && pwd)
    serve "$2"
    ;;
  *) usage ;;
esac
