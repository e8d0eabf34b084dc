# make demo      the pipeline on a generated day of CloudTrail, to watch
# make test      everything CI runs: format, lints, unit, property, crash and end-to-end tests
# make soak      the long form of the crash gates
# make fuzz      the decoders, the policies, the signatures and the journal under libFuzzer, FUZZ_SECONDS (30) each
# make bench     speed, with its conditions printed: Tidegate alone, within three minutes
# make bench-peers   the same beside its peers, which it installs into .peers; takes about an hour
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON := $(CURDIR)/.venv/bin/python
TIDEGATE_BIN ?= $(CURDIR)/target/debug/tidegate
export TIDEGATE_RUNTIMES_PYTHON_INTERPRETER ?= $(PYTHON)

.PHONY: help demo build test fmt lint unit e2e soak fuzz bench bench-peers deny venv sdks

help:
	@sed -n 's/^# make/make/p' Makefile

venv:
	@scripts/venv

sdks:
	@scripts/sdks

demo: venv
	@scripts/toolchain
	cargo build --locked --package tidegate
	@target/debug/tidegate demo $(DEMO_ARGS)

build:
	@scripts/toolchain fmt clippy
	cargo build --locked --workspace --all-targets

fmt:
	@scripts/toolchain fmt
	cargo fmt --all --check

lint:
	@scripts/toolchain clippy
	cargo clippy --locked --workspace --all-targets -- -D warnings

unit: build
	cargo test --locked --workspace

e2e: build venv sdks
	TIDEGATE_BIN=$(TIDEGATE_BIN) $(PYTHON) -m pytest tests/e2e -q -ra $(PYTEST_ARGS)

test: fmt lint unit e2e

soak: build venv
	TIDEGATE_SOAK_SEEDS=$${TIDEGATE_SOAK_SEEDS:-2000} TIDEGATE_SOAK_HISTORIES=$${TIDEGATE_SOAK_HISTORIES:-2000} \
		cargo test --locked --package tidegate-log --test it -- crash:: failing:: damage:: linear:: clock::
	TIDEGATE_RULE_PAIRS=$${TIDEGATE_RULE_PAIRS:-20000000} cargo test --locked --package rules --lib -- engine::
	TIDEGATE_BIN=$(TIDEGATE_BIN) TIDEGATE_KILLS=$${TIDEGATE_KILLS:-1000} $(PYTHON) -m pytest tests/e2e/test_crash_streams.py -q -ra -s
	TIDEGATE_BIN=$(TIDEGATE_BIN) TIDEGATE_TEST_PIPELINE_KILLS=$${TIDEGATE_TEST_PIPELINE_KILLS:-200} $(PYTHON) -m pytest tests/e2e/test_crash.py -q -ra -s
	TIDEGATE_BIN=$(TIDEGATE_BIN) TIDEGATE_TEST_FAULTS=$${TIDEGATE_TEST_FAULTS:-10000} $(PYTHON) -m pytest tests/e2e/test_faults.py -q -ra -s

fuzz:
	@scripts/fuzz $${FUZZ_SECONDS:-30} $(FUZZ_TARGETS)

bench: venv
	@scripts/toolchain
	cargo build --locked --release --package tidegate --package bench
	@target/release/bench $(if $(BENCH_ARGS),$(BENCH_ARGS),start put single read restart cold subscribe shards overload bus entered calls records batches idle alert backlog)

# Every figure of everyone, then Tidegate's own with a log of 20 GB and 10,000 segments. BENCH_ARGS adds options.
bench-peers: venv
	@scripts/toolchain
	@scripts/peers
	cargo build --locked --release --package tidegate --package bench
	@target/release/bench --seconds 10 --all --bytes 200,1000 $(BENCH_ARGS) start put single read restart
	@target/release/bench rules
	@target/release/bench auth
	@target/release/bench --seconds 10 $(BENCH_ARGS) cold subscribe shards volume segments overload bus entered calls records batches idle alert backlog

# Known vulnerabilities, licences and sources of every dependency. Needs cargo-deny (cargo install cargo-deny) and the net.
deny:
	cargo deny check
