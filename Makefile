# `make` lists what there is. The recipes need a POSIX shell, Rust and Node.js; they install the rest themselves.

SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help

CARGO ?= cargo
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))

.PHONY: help demo run build check test faults crowd test-fast test-sqlite test-postgres bench openapi \
	fmt fmt-check lint doc machete openapi-check agents test-tools fuzz-api clean

help: ## List these targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 22

demo: agents ## Serve with the scripted model and send one task through it (DEMO_EXIT=1 stops at the end, DEMO_PORT=N)
	@echo "Building mas; the first time takes minutes ..."
	@$(CARGO) build --locked --quiet
	@MAS_BIN="$(TARGET)/debug/mas" DEMO_EXIT="$(DEMO_EXIT)" DEMO_PORT="$(DEMO_PORT)" node tools/demo.mjs

run: agents ## Serve for real use, with your own Claude login
	@echo "Building mas for release; the first time takes minutes ..."
	@$(CARGO) build --locked --quiet --release
	@MAS_CLAUDE_CODE__COMMAND="$${MAS_CLAUDE_CODE__COMMAND:-$(CURDIR)/agents/claude}" \
	MAS_CLAUDE_FLOW__COMMAND="$${MAS_CLAUDE_FLOW__COMMAND:-$(CURDIR)/agents/claude-flow/claude-flow}" \
	MAS_CLAUDE_CODE__CONFIG_DIR="$${MAS_CLAUDE_CODE__CONFIG_DIR:-$${CLAUDE_CONFIG_DIR:-$$HOME/.claude}}" \
	exec "$(TARGET)/release/mas" serve

build: ## Compile the development build
	$(CARGO) build --locked

check: fmt-check machete lint doc openapi-check test ## Everything CI runs, cheap things first

test: test-sqlite test-postgres ## The whole suite on SQLite, then the integration suite on PostgreSQL

test-sqlite: agents test-tools
	@tools/test-deps.sh git nextest promtool
	env -u MAS_TEST_POSTGRES_URL $(CARGO) nextest run --locked

# Nothing of these depends on the database.
NO_STORE := architecture|attach|clients::(browser|documents|schemathesis::without)|commands|deploy|gpt|process|tunnel

test-postgres: agents test-tools
	@tools/test-deps.sh git nextest postgres promtool
	tools/with-postgres.sh $(CARGO) nextest run --locked --test it -E 'not test(/^($(NO_STORE))/)'

faults: agents ## The fault suite: kills, hangs, floods, limits, each with its outcome (CASE=part of a name)
	@tools/test-deps.sh git nextest
	@CARGO="$(CARGO)" node tools/faults.mjs $(CASE)

crowd: agents ## 64 real agents with 8 places: with a killed server in the middle, and as a mesh; time and memory
	@tools/test-deps.sh git nextest
	env -u MAS_TEST_POSTGRES_URL $(CARGO) nextest run --locked --test it --run-ignored only --no-capture -E 'test(/crowd::|mesh_of_sixty_four/)'

test-fast: ## On SQLite, without the tests that start a real agent CLI or an outside client
	@tools/test-deps.sh git nextest promtool
	env -u MAS_TEST_POSTGRES_URL $(CARGO) nextest run --locked -E 'not test(/cli_|^clients::/)'

fuzz-api: ## Requests made from the OpenAPI document, for FUZZ_SECONDS (600): schemathesis with and without a key
	@tools/test-deps.sh git nextest python
	@tests/tools/install.sh python
	env -u MAS_TEST_POSTGRES_URL MAS_FUZZ_SECONDS="$${FUZZ_SECONDS:-600}" \
	$(CARGO) nextest run --locked --profile fuzz --test it -E 'test(/^clients::schemathesis::/)'

bench: agents ## Measure the release build against baselines of the same run
	$(CARGO) bench --locked --bench gateway

openapi: ## Write openapi/ anew from the code
	$(CARGO) run --locked --quiet --bin mas -- openapi write

fmt: ## Format the code
	$(CARGO) fmt

fmt-check:
	$(CARGO) fmt --check

lint: ## Clippy, warnings are errors
	$(CARGO) clippy --locked --all-targets -- -D warnings

doc: ## Build the internal documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

machete:
	@tools/test-deps.sh machete
	$(CARGO) machete

openapi-check:
	$(CARGO) run --locked --quiet --bin mas -- openapi check
	$(CARGO) run --locked --quiet --bin mas -- gpt lint openapi/actions.json

agents: ## Install the pinned agent CLIs below agents/
	@agents/install.sh

test-tools:
	@tools/test-deps.sh python chromium
	@tests/tools/install.sh

clean: ## Remove build products and installed agent CLIs
	$(CARGO) clean
	rm -rf agents/node_modules agents/claude agents/claude-flow/node_modules agents/claude-flow/claude-flow tests/tools/*/node_modules tests/tools/python/venv
