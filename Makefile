# What people type. Every target says what it does before it does it; `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help setup setup-test run kafka kafka-stop cluster cluster-kill cluster-start cluster-status test lint lint-behind unit kafka-faults other-faults kafka-test sim sim-mutants browser build build-behind build-tls mutant-build crash cluster-crash kafka-crash sheets-crash sheets sheets-stop sheets-check mutants bench bench-wal bench-cluster bench-kafka memory check doc

CARGO ?= cargo
BINARY := target/release/formspool
JEPSEN := target/release/jepsen
SEED ?= 1
MUTANT_BINARY := target/mutants/formspool

# All tests are built once, of one set of features: with the mutants in it, none of which runs unless it is
# picked. The binary without them is what the tester drives, and it refuses to be wrong on purpose.
UNIT := $(CARGO) test --workspace --locked --features mutants,bridge/brokers
# What people run and what tests it; the same wherever it is built.
RELEASE := build --release --locked -p formspool -p jepsen
# Both the lints and the docs: one look at all dependencies.
LINTED := --features benches/peers,bridge/brokers
# Most of what takes long waits: for elections, quotas, timeouts.
TEST_THREADS ?= 6

help: ## list what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

setup: ## install what building needs (Debian packages by name; says what it does)
	@deploy/dev/setup.sh build

setup-test:
	@deploy/dev/setup.sh test
	@deploy/dev/setup.sh kafka
	@deploy/dev/setup.sh sheets

# What stands beside the node, each in front of the next: SHEETS=fake, KAFKA=1, or both.
BESIDE := $(if $(filter fake,$(SHEETS)),deploy/dev/sheets.sh) $(if $(filter 1,$(KAFKA)),deploy/dev/kafka.sh) $(BINARY)

run: setup ## build if needed and start one node with embedded defaults; data in ./data (KAFKA=1: a real Kafka beside it; SHEETS=fake: the Google Sheets of the tests)
	@$(if $(filter 1,$(KAFKA)),deploy/dev/kafka.sh start)
	@echo "make run: building formspool (the first time takes some minutes; cargo shows the progress)"
	@$(CARGO) build --release --locked --bin formspool
	@$(if $(filter fake,$(SHEETS)),$(MAKE) --no-print-directory sheets)
	@exec $(firstword $(BESIDE)) serve $(wordlist 2,3,$(BESIDE))

kafka: ## start a real Kafka on loopback and wait until it is ready; data in ./data/kafka (BROKERS=3: three)
	@deploy/dev/kafka.sh start $(if $(BROKERS),--brokers $(BROKERS))

kafka-stop: ## stop it
	@deploy/dev/kafka.sh stop

cluster: setup ## three nodes on this machine, under ./data/cluster; Ctrl-C stops all three
	@echo "make cluster: building formspool (the first time takes some minutes; cargo shows the progress)"
	@$(CARGO) build --release --locked --bin formspool
	@exec deploy/dev/cluster.sh run

cluster-kill: ## kill -9 one of them: make cluster-kill N=2
	@deploy/dev/cluster.sh kill $(N)

cluster-start: ## bring it back: make cluster-start N=2
	@deploy/dev/cluster.sh start $(N)

cluster-status: ## how the three stand
	@deploy/dev/cluster.sh status

build:
	@echo "make: building the release binaries"
	@$(CARGO) $(RELEASE)

# Only when nobody else wants a processor: tests that count time must not feel it. The cargos are kept from
# sharing make's jobs, or what is built first would wait for what may wait.
APART := env -u MAKEFLAGS -u MFLAGS $(CARGO)
build-behind:
	@chrt --idle 0 $(CARGO) $(RELEASE) --quiet

build-tls: ## the release binary with TLS, SASL and zstd for Kafka (OpenSSL is built: some minutes more)
	@deploy/dev/setup.sh tls
	@echo "make build-tls: building formspool with OpenSSL and zstd"
	@$(CARGO) build --release --locked -p formspool --features kafka-tls,kafka-zstd

# One build with every mutant in it; which one runs is picked at start. It has its own name and place.
# Unoptimized: what it does wrong is the same, and the unit tests are built on it.
mutant-build:
	@echo "make: building the binary that is broken on purpose"
	@$(UNIT) --no-run --quiet --test cli
	@mkdir -p $(dir $(MUTANT_BINARY)) && cp target/debug/formspool $(MUTANT_BINARY)

test: setup-test ## everything that CI runs, on real processes and a real browser
	$(CARGO) fmt --all --check
	@echo "make test: unit tests; they wait a good deal, and in that time the release binaries are built"
	@$(MAKE) --no-print-directory --jobs 2 CARGO="$(APART)" unit build-behind
	@$(MAKE) --no-print-directory mutant-build
	@echo "make test: without the mutants in it, the binary refuses to be wrong on purpose"
	@FORMSPOOL_MUTANT=skip-sync $(BINARY) check 2>&1 | grep FORMSPOOL_MUTANT
	$(JEPSEN) crash --kills 30 --connections 64
	$(JEPSEN) power --cuts 3
	$(JEPSEN) once
	$(JEPSEN) clash
	$(JEPSEN) retire
	$(JEPSEN) lines
	$(JEPSEN) clock
	$(JEPSEN) synced
	$(JEPSEN) hostile
	$(JEPSEN) load --connections 1000 --count 100000 --rss-max-mib 256
	@echo "make: from here on two testers run at once, the lints behind them, and their lines mix"
	@$(MAKE) --no-print-directory --jobs 3 CARGO="$(APART)" kafka-faults other-faults lint-behind
	@$(MAKE) --no-print-directory sheets-check
	@$(MAKE) --no-print-directory browser
	@echo "make test: all green"

# What waits most of its time, for sessions, quotas and elections: two testers at once, each on ports, disks
# and networks of its own. Those that count a disk's flushes or a node's memory have the machine alone.
kafka-faults:
	$(JEPSEN) kafka --net --pause-s 12 --outage-s 12

other-faults:
	$(JEPSEN) full
	$(JEPSEN) full --held
	$(JEPSEN) cluster --net
	$(JEPSEN) cluster --faults wipe,fill,clock,flip-sealed,flip-tail,tear-all,tear-two --seconds-each 3
	$(JEPSEN) cluster --faults genesis --births-every 4
	$(JEPSEN) sheets --seconds-each 3
	$(JEPSEN) mirrors
	$(JEPSEN) mutants --three --binary $(MUTANT_BINARY)

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets $(LINTED) --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps $(LINTED) --locked --quiet

lint-behind:
	@chrt --idle 0 $(MAKE) --no-print-directory lint

sim: ## one seed of the simulated cluster, told line by line: make sim SEED=7
	@$(UNIT) --quiet --test sim -- --seed $(SEED)

sim-mutants: ## break agreement in every way we know; one of 50 simulated seeds must find each
	@echo "make sim-mutants: building the simulation (some minutes the first time)"
	@$(UNIT) --quiet --test sim -- --mutants

unit: ## unit and integration tests, real Kafka brokers among them
	@deploy/dev/setup.sh kafka
	RUST_TEST_THREADS=$(TEST_THREADS) $(UNIT) --quiet
	@$(MAKE) --no-print-directory sim-mutants

kafka-test: ## the Kafka sink against a real broker, and against three
	@deploy/dev/setup.sh kafka
	$(UNIT) --quiet --test kafka

sheets: ## start the Google Sheets of the tests on loopback; its page shows rows as they arrive
	@$(CARGO) build --release --locked -p jepsen --bin fake-sheets
	@deploy/dev/sheets.sh start

sheets-stop: ## stop it
	@deploy/dev/sheets.sh stop

sheets-check: build ## Google's own client against the Google Sheets of the tests
	@deploy/dev/setup.sh sheets
	python3 jepsen/sheets/official_client.py target/release/fake-sheets target/peers/google

browser: build
	@deploy/dev/setup.sh browser
	node jepsen/browser/first-five-minutes.mjs $(BINARY)

check: ## name every problem of the configuration in this folder
	@$(CARGO) run --release --locked --quiet --bin formspool -- check

crash: build ## a long crash test: 300 kills, 20 power cuts (these need root), restarts with 1 GiB of log
	$(JEPSEN) crash --kills 300 --connections 64
	$(JEPSEN) power --cuts 20
	$(JEPSEN) restart --mib 1024 --within-s 3

cluster-crash: build ## three nodes and every fault in turn, those of the network too (needs root)
	$(JEPSEN) cluster --net --all --seconds-each 10

kafka-crash: build ## log == Kafka under every fault, the long way: leaders and brokers stand still for a minute (needs root)
	@deploy/dev/setup.sh kafka
	$(JEPSEN) kafka --net --kills 60

sheets-crash: build ## log == Google Sheets the long way: whatever nobody knows of Google, 300 forms on one credential, a million rows
	@deploy/dev/setup.sh sheets
	$(JEPSEN) sheets --switches '{"no_match_delete": "400", "restored_metadata": "kept"}'
	$(JEPSEN) sheets --switches '{"omit_zeros": true, "unshared": 404}'
	$(JEPSEN) sheets --switches '{"overlap": "refuse409"}'
	$(JEPSEN) sheets --switches '{"overlap": "refuse503"}'
	$(JEPSEN) sheets --switches '{"overlap": "both"}'
	$(JEPSEN) crowd
	$(JEPSEN) rows

mutants: mutant-build build ## break the product in every way we know; each must be caught
	@deploy/dev/setup.sh kafka
	@deploy/dev/setup.sh sheets
	$(JEPSEN) mutants --all --binary $(MUTANT_BINARY)
	$(JEPSEN) mutants --kafka --binary $(MUTANT_BINARY)
	$(JEPSEN) mutants --sheets --binary $(MUTANT_BINARY)
	$(JEPSEN) mutants --mirrors --binary $(MUTANT_BINARY)

memory: build ## a million submissions over a thousand connections under 256 MiB
	$(JEPSEN) load --connections 1000 --count 1000000 --rss-max-mib 256

bench: build ## acknowledged submissions a second, beside a server that stores nothing and the bare disk
	@$(CARGO) build --release --locked -p benches
	target/release/benches --binary $(BINARY)

bench-wal: ## the log beside the bare device and two other logs: records made durable a second
	@echo "make bench-wal: building the benchmark and two other logs (some minutes the first time)"
	@$(CARGO) build --release --locked -p benches --features peers
	target/release/benches wal

bench-cluster: build ## three nodes beside three of NATS, RabbitMQ, Redis, etcd and Kafka (installs them)
	@deploy/dev/setup.sh bench
	@echo "make bench-cluster: building the benchmark; then about 20 minutes of measuring"
	@$(CARGO) build --release --locked -p benches
	target/release/benches cluster --spread --binary $(BINARY)

bench-kafka: build ## the Kafka task on a real broker beside librdkafka's own idempotent producer
	@deploy/dev/setup.sh kafka
	@$(CARGO) build --release --locked -p benches
	target/release/benches kafka --binary $(BINARY)

doc: ## the map of the code, as rustdoc
	$(CARGO) doc --workspace --no-deps --open
