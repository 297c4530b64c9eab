# `make up` on a fresh machine installs and starts the tracker. Needs python3 >= 3.11 with pip, and Linux.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PACKAGES := actors dashboards live metrics player serve_app sessions storage
SOURCES := $(shell find $(PACKAGES) -name '*.py' -o -name '*.lua' -o -name '*.yml' -o -name '*.json' -o -name '*.js' -o -path 'live/site/*')

.PHONY: help up demo status prometheus audit test chaos browsers explore lint docs player dashboards bench bench-tools fuzz lock clean

help: ## Say what there is
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

up: $(VENV)/.installed ## Start the tracker on this machine; Ctrl-C stops it
	@exec $(BIN)/headcount up

demo: $(VENV)/.installed ## Play simulated viewers against the running tracker: three minutes, or 20 s with ARGS=--quick
	@exec $(BIN)/headcount demo $(ARGS)

status: $(VENV)/.installed ## Say how the running tracker is
	@exec $(BIN)/headcount status

prometheus: $(VENV)/.prometheus ## Run a Prometheus on 127.0.0.1:9090 that scrapes the running tracker
	@PATH="$(CURDIR)/$(BIN):$$PATH"; command -v prometheus >/dev/null || { echo "No Prometheus was found: install one, and run make prometheus again" >&2; rm -f $(VENV)/.prometheus; exit 1; }; \
	    data="$${HEADCOUNT_DATA_DIR:-data}/prometheus"; [ -e "$$data/prometheus.yml" ] || { echo "$$data/prometheus.yml is not there yet: run make up first" >&2; exit 1; }; \
	    exec prometheus --config.file="$$data/prometheus.yml" --storage.tsdb.path="$$data/tsdb" --web.listen-address=127.0.0.1:9090

audit: $(VENV)/.installed ## Recount every slot of the journal
	@exec $(BIN)/headcount audit

test: $(VENV)/.tools $(VENV)/.installed $(VENV)/.prometheus $(VENV)/.browser $(VENV)/.players $(VENV)/.load ## Run every test, chaos in its short form; beside a running `make up` too
	@$(BIN)/pytest tests --numprocesses 2 --dist loadfile --no-loadscope-reorder

# The table is written also when a fault failed: it then says so.
chaos: $(VENV)/.tools $(VENV)/.installed ## Break every part of a tracker under players, again and again, and print what it cost: some 17 minutes
	@$(BIN)/pytest tests/chaos tests/integration/test_nodes.py -m long --capture=tee-sys --verbose; status=$$?; \
	    $(BIN)/python -m tests.chaos.table && exit $$status

# The table is written also when a player was counted wrong: it then says by how much.
browsers: $(VENV)/.tools $(VENV)/.installed $(VENV)/.browser $(VENV)/.players ## Play every scenario with every player in a real browser, and write the table: some six minutes
	@rm -rf $(VENV)/players/results; $(BIN)/pytest tests/browser/test_players.py -m "long or not long" --verbose; status=$$?; \
	    $(BIN)/python -m tests.browser.table && exit $$status

explore: $(VENV)/.tools $(VENV)/.installed ## Live through a thousand new simulated hours and a million new faulty viewers, and try new examples: an hour; what fails is kept
	@$(BIN)/pytest tests/unit -m hypothesis --hypothesis-profile=explore --numprocesses 2
	@HEADCOUNT_SIMULATION_SEED=$$RANDOM$$RANDOM HEADCOUNT_FAULTY_SESSIONS=1000000 $(BIN)/pytest tests/simulation --numprocesses 2

lint: $(VENV)/.tools $(VENV)/.installed ## Check style, types and who imports whom
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(VENV)/.installed ## Write the pages of the states, the metrics and the fields of players' requests from their tables
	@$(BIN)/python -m sessions.transitions > docs/session-states.md
	@$(BIN)/python -m metrics.page
	@$(BIN)/python -m serve_app.players.contract docs/players.md

player: $(VENV)/.player ## Build the client library as it is served, from its source
	@export PATH="$(CURDIR)/$(VENV)/player/bin:$(CURDIR)/$(VENV)/player/node_modules/.bin:$$PATH" && cd player && npm run --silent check && npm run --silent build

dashboards: $(VENV)/.tools ## Write Grafana's dashboards from their code
	@$(BIN)/python -m dashboards.write

bench: $(VENV)/.tools $(VENV)/.installed $(VENV)/.load ## Measure everything, three quarters of an hour; writes bench/results
	@for each in ingest breakdown idle core journal scrape capacity; do $(BIN)/python -m bench.$$each || exit 1; done
	@$(BIN)/python -m bench.report

bench-tools: $(VENV)/.load

fuzz: $(VENV)/.tools $(VENV)/.installed ## Fuzz every parser for ten minutes; what broke one is kept in tests/corpus
	@$(PIP) install --require-hashes --requirement requirements-fuzz.lock
	@$(BIN)/python -m bench.fuzz --seconds 600 --keep

lock: $(VENV)/.made ## Write the locks anew, from pyproject.toml and constraints.txt
	@tool=$$(mktemp -d) && $(PIP) install --target "$$tool" uv && $(BIN)/python -m bench.lock "$$tool/bin/uv"; status=$$?; rm -rf "$$tool"; exit $$status

clean: ## Remove what was built and installed here, and nothing that was recorded
	@rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# Debian keeps venv in a package of its own: without it, virtualenv does the same, from a folder that is thrown away.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "python3 is older than 3.11: set PYTHON=…" >&2; exit 1; }
	@rm -rf $(VENV)
	@if $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	    $(PYTHON) -m venv $(VENV); \
	else \
	    tool=$$(mktemp -d) && \
	    $(PYTHON) -m pip install --quiet --disable-pip-version-check --target "$$tool" virtualenv && \
	    PYTHONPATH="$$tool" $(PYTHON) -m virtualenv --quiet $(VENV); status=$$?; rm -rf "$$tool"; exit $$status; \
	fi
	@touch $@

# What is installed is what requirements.lock names, by hash: every wheel of every release, for every platform.
$(VENV)/.needs: $(VENV)/.made requirements.lock
	@echo "Installing what it needs (once; a minute or two)"
	@$(PIP) install --require-hashes --requirement requirements.lock
	@touch $@

# Not editable: what runs and what is tested is the installed package, from whatever folder.
$(VENV)/.installed: $(VENV)/.needs $(SOURCES) pyproject.toml
	@rm -rf build
	@$(PIP) install --no-deps --no-build-isolation --force-reinstall .
	@rm -rf build
	@touch $@

$(VENV)/.tools: $(VENV)/.needs requirements-dev.lock
	@$(PIP) install --require-hashes --requirement requirements-dev.lock
	@touch $@

# Debian's package, unpacked beside the tools unless the machine has one: no root, and no service is started. From Debian 13 on
# `promtool` is a package of its own. Where they cannot be had, tests that want them are skipped with a word, and in CI fail.
$(VENV)/.prometheus: $(VENV)/.made
	@if ! { command -v prometheus && command -v promtool; } >/dev/null; then \
	    echo "Unpacking Prometheus for the tests"; \
	    folder=$$(mktemp -d) && chmod 755 "$$folder" && cd "$$folder" && \
	    { apt-get download -qq prometheus 2>/dev/null || { apt-get update -qq && apt-get download -qq prometheus; }; } && \
	    { [ "$$(apt-cache --names-only search '^promtool$$')" = "" ] || apt-get download -qq promtool; } && \
	    for package in *.deb; do dpkg-deb --extract "$$package" unpacked || exit 1; done && \
	    install unpacked/usr/bin/prometheus unpacked/usr/bin/promtool "$(CURDIR)/$(BIN)"; \
	    status=$$?; rm -rf "$$folder"; \
	    if [ $$status -ne 0 ]; then echo "no Prometheus: its tests will be skipped" >&2; exit 0; fi; \
	fi; touch "$(CURDIR)/$@"

# The machine's own Chromium, or one from npm, pinned by its hash and unpacked beside the tools: no root. Where that cannot be had, tests
# that want it are skipped with a word, and in CI fail.
$(VENV)/.browser: $(VENV)/.made tests/browser/install.sh
	@bash tests/browser/install.sh "$(CURDIR)/$(VENV)" || echo "no Chromium: its tests will be skipped" >&2
	@touch $@

# What checks and builds the client library, by hash; node is the machine's, or comes in a wheel. Where it cannot be had, as above.
$(VENV)/.player: $(VENV)/.made player/package.json player/package-lock.json tests/player/install.sh tests/player/node.lock
	@bash tests/player/install.sh "$(CURDIR)/$(VENV)" || echo "no tools for the client library: its tests will be skipped" >&2
	@touch $@

# The players that are tested in a browser, and an ffmpeg for their streams, in the same way.
$(VENV)/.players: $(VENV)/.player tests/browser/players.sh tests/browser/players/package-lock.json tests/browser/ffmpeg.lock
	@bash tests/browser/players.sh "$(CURDIR)/$(VENV)" || echo "no players, or no ffmpeg: the tests with them will be skipped" >&2
	@touch $@

# The load generator and the peer that benchmarks want, in the same way: Debian's packages with the libraries that a small
# machine lacks, unpacked into the environment. A library that has another name elsewhere is left out.
$(VENV)/.load: $(VENV)/.made
	@if ! { command -v wrk && { command -v nginx || [ -x /usr/sbin/nginx ]; }; } >/dev/null; then \
	    echo "Unpacking wrk and nginx for the benchmarks"; \
	    folder=$$(mktemp -d) && chmod 755 "$$folder" && cd "$$folder" && \
	    { apt-get download -qq wrk nginx 2>/dev/null || { apt-get update -qq && apt-get download -qq wrk nginx; }; } && \
	    for library in libluajit-5.1-2 libluajit2-5.1-2 libpcre2-8-0 libcrypt1; do apt-get download -qq $$library 2>/dev/null || true; done && \
	    for package in *.deb; do dpkg-deb --extract "$$package" "$(CURDIR)/$(VENV)/debian" || exit 1; done; \
	    status=$$?; rm -rf "$$folder"; \
	    if [ $$status -ne 0 ]; then echo "no wrk, no nginx: the benchmarks that want them will be skipped" >&2; exit 0; fi; \
	fi; touch "$(CURDIR)/$@"
