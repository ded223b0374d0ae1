# What people type. Every target says what it does before it does it; `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help setup setup-test run test lint unit browser build mutant-build crash mutants bench bench-wal memory check doc

CARGO ?= cargo
BINARY := target/release/formspool
JEPSEN := target/release/jepsen
MUTANT_BINARY := target/mutants/formspool

help: ## list what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

setup: ## install what building needs (Debian packages by name; says what it does)
	@deploy/dev/setup.sh build

setup-test:
	@deploy/dev/setup.sh test

run: setup ## build if needed and start one node with embedded defaults; data in ./data
	@echo "make run: building formspool (the first time takes some minutes; cargo shows the progress)"
	@$(CARGO) build --release --locked --bin formspool
	@exec $(BINARY) serve

build:
	@echo "make: building the release binaries"
	@$(CARGO) build --release --locked -p formspool -p jepsen

# One build with every mutant in it; which one runs is picked at start. It has its own name and place.
mutant-build:
	@echo "make: building the binary that is broken on purpose"
	@$(CARGO) build --release --locked -p formspool --features mutants
	@mkdir -p $(dir $(MUTANT_BINARY)) && cp $(BINARY) $(MUTANT_BINARY)

test: setup-test lint unit mutant-build build ## everything that CI runs, on real processes and a real browser
	$(JEPSEN) crash --kills 30 --connections 64
	$(JEPSEN) power --cuts 3
	$(JEPSEN) full
	$(JEPSEN) full --held
	$(JEPSEN) once
	$(JEPSEN) clash
	$(JEPSEN) retire
	$(JEPSEN) lines
	$(JEPSEN) clock
	$(JEPSEN) synced
	$(JEPSEN) hostile
	$(JEPSEN) load --connections 1000 --count 100000 --rss-max-mib 256
	$(JEPSEN) mutants --three --binary $(MUTANT_BINARY)
	@$(MAKE) --no-print-directory browser
	@echo "make test: all green"

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --features benches/peers --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --quiet

unit:
	$(CARGO) test --workspace --locked --quiet
	$(CARGO) test -p storage --features mutants --test mutants --test wrong --locked --quiet

browser: build
	@deploy/dev/setup.sh browser
	node jepsen/browser/first-five-minutes.mjs $(BINARY)

check: ## name every problem of the configuration in this folder
	@$(CARGO) run --release --locked --quiet --bin formspool -- check

crash: build ## a long crash test: 300 kills, 20 power cuts (these need root), restarts with 1 GiB of log
	$(JEPSEN) crash --kills 300 --connections 64
	$(JEPSEN) power --cuts 20
	$(JEPSEN) restart --mib 1024 --within-s 3

mutants: mutant-build build ## break the product in every way we know; each must be caught
	$(JEPSEN) mutants --all --binary $(MUTANT_BINARY)

memory: build ## a million submissions over a thousand connections under 256 MiB
	$(JEPSEN) load --connections 1000 --count 1000000 --rss-max-mib 256

bench: build ## acknowledged submissions a second, beside a server that stores nothing and the bare disk
	@$(CARGO) build --release --locked -p benches
	target/release/benches --binary $(BINARY)

bench-wal: ## the log beside the bare device and two other logs: records made durable a second
	@echo "make bench-wal: building the benchmark and two other logs (some minutes the first time)"
	@$(CARGO) build --release --locked -p benches --features peers
	target/release/benches wal

doc: ## the map of the code, as rustdoc
	$(CARGO) doc --workspace --no-deps --open
