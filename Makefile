# `make` lists what there is. demo and test install what they need: Debian packages (as root) and .venv.
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
export PYTHON

BIN := .venv/bin
FAST_TESTS := tests/unit tests/property tests/component tests/examples tests/recorded

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

demo: packages .venv/run  ## a real Galera cluster, agents, HAProxy and a tour; TOUR=0 stays up for playing
	@lab/enter $(BIN)/python -m demo $(if $(filter 0,$(TOUR)),--stay)

test: optional-packages optional-tree lint unit integration test-packages test-debian  ## everything: linters, then all tests, those with real servers too

fast: lint unit  ## linters and the tests that need no database: no packages, about a minute

lint: .venv/test  ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

unit: .venv/test
	$(BIN)/pytest -q -n auto $(FAST_TESTS)

# As root they run in namespaces of their own; elsewhere they skip (or fail, where CI=true).
integration: .venv/test
	$(BIN)/python -m tools.side_by_side

# Both Debians side by side, each a machine of its own. Without root they skip.
test-packages: .venv/test  ## the Debian package in a Debian 12 and a Debian 13 that are booted: systemd, upgrade, purge
	@{ tools/install build && tools/install booted && tools/install suite bookworm && tools/install suite trixie; } >/dev/null \
		|| test "$$CI" != true
	$(if $(filter 0,$(shell id -u)),lab/enter) $(BIN)/pytest -q -n 2 --dist loadscope tests/packaging

matrix: packages .venv/test  ## the tests with real servers again, on MariaDB 11.8 of Debian 13
	LAB_ROOT="$$(tools/install trixie)" $(BIN)/python -m tools.side_by_side

# Only root can enter their trees; without the rights it is skipped (or fails, where CI=true).
test-debian:  ## the tests that need no database on Debian 12 and 13, against the installed package and their libraries
	@if test "$$(id -u)" = 0; then tools/suite_on_debian; else echo "test-debian: needs root"; test "$$CI" != true; fi

bench:  ## load, cost, start, core, detection, into benchmarks/RESULTS.md; ONLY=load measures one alone
	@tools/install bench
	lab/enter .venv-bench/uvloop/bin/python -m benchmarks $(ONLY)

record: packages .venv/test  ## what real servers of Debian 12 and 13 answer in each condition, into tests/recorded
	lab/enter $(BIN)/python -m tests.recorder
	LAB_ROOT="$$(tools/install trixie)" lab/enter $(BIN)/python -m tests.recorder

deb:  ## dist/healthagent_VERSION-1_all.deb for Debian 12 and 13
	@tools/install build
	@packaging/build deb

rpm:  ## dist/healthagent-VERSION-1.noarch.rpm
	@tools/install build
	@packaging/build rpm

dist:  ## sdist and wheel in dist/
	@packaging/build dist

venv: .venv/test  ## .venv with this project and what tests and linters need

packages:
	@tools/install packages

# On a laptop without the rights to install, the tests that miss a program skip.
optional-packages:
	@tools/install packages || test "$$CI" != true

# For HAProxy 3.0 and keepalived 2.3 beside those of Debian 12.
optional-tree:
	@tools/install trixie >/dev/null || test "$$CI" != true

# One .venv: for `make demo` without the test tools, made anew with them by whatever needs them.
.venv/run: setup.cfg pyproject.toml
	@tools/install venv
	@touch $@

.venv/test: setup.cfg pyproject.toml
	@tools/install venv test
	@touch .venv/run $@

clean:  ## removes .venv, caches and build products
	rm -rf .venv .venv-bench build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help deb rpm dist demo test test-packages test-debian fast bench lint unit integration matrix record venv packages \
	optional-packages optional-tree clean
