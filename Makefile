# What a newcomer types. `make` alone lists it.

# Arguments of `headwater dev`, for example: make run RUN_ARGS="--rate 0 --data DIR"
RUN_ARGS ?=
# dev builds faster, release runs faster: make run PROFILE=release
PROFILE ?= dev
# Arguments of cargo nextest, for example: make test TEST_ARGS="-p headwater-domain"
TEST_ARGS ?=
# What headwater-coherence does, for example: make coherence COHERENCE_ARGS="run --plan failover --seed 7", or "lag"
COHERENCE_ARGS ?= run
# Arguments of headwater-faults run, for example: make faults FAULTS_ARGS="--plan short --seed 7"
FAULTS_ARGS ?=
# Arguments of headwater-bench run, for example: make bench BENCH_ARGS="cache-l1-hit-8 --rounds 9"
BENCH_ARGS ?=

# By --bin and not by --package: then cargo chooses features for the whole workspace, and what one command compiled the
# next one uses.
xtask := cargo run --quiet --bin xtask --
built := target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
pid_file := target/run.pid

.DEFAULT_GOAL := help
.PHONY: help run build test faults bench lint parts stop clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Install what is missing, build, and start everything on this machine
	@tools/setup run
	cargo build --profile $(PROFILE) --bin headwater
	@# The shell becomes the server: its number is the one to stop.
	@sh -c 'echo $$$$ >$(pid_file); exec $(built)/headwater dev $(RUN_ARGS)'

build: ## Build everything that is shipped, optimised
	@tools/setup run
	cargo build --release --workspace --bins

test: ## Run all tests, on real Kafka, schema registry, Redis and Postgres
	@tools/setup test
	$(xtask) test $(if $(TEST_ARGS),-- $(TEST_ARGS))

faults: ## Kill every part of the real stack under load, again and again, and check that nothing is lost or doubled
	@tools/setup test
	cargo build --profile $(PROFILE) --bin headwater --bin headwater-faults --bin headwater-check
	$(built)/headwater-faults run $(FAULTS_ARGS)

bench: ## Measure the product and its floors by turns, optimised
	@tools/setup test
	cargo build --release --bin headwater --bin headwater-bench
	target/release/headwater-bench run $(BENCH_ARGS)

coherence: ## Use the cache through three replicas while links and processes break, and judge every answer
	@tools/setup test
	cargo build --profile $(PROFILE) --bin headwater --bin headwater-coherence --bin headwater-coherence-check
	$(built)/headwater-coherence $(COHERENCE_ARGS)

lint: ## Check formatting, lints, contracts, generated code and house rules
	@tools/setup lint
	cargo fmt --all --check
	$(xtask) codegen --check
	$(xtask) contracts
	$(xtask) tidy
	cargo clippy --workspace --all-targets -- --deny warnings
	$(xtask) clients lint

parts: ## Start the real servers for yourself, and say where they are
	@tools/setup test
	$(xtask) parts up

stop: ## Stop what `make run` and `make parts` started
	@pid=$$(cat $(pid_file) 2>/dev/null); \
	case "$$(readlink "/proc/$${pid:-none}/exe")" in \
		"$(CURDIR)"/target/*/headwater*) kill -TERM "$$pid" && echo "headwater is stopping" ;; \
	esac
	@rm -f $(pid_file)
	@if [ -e target/parts/state.json ]; then $(xtask) parts down; fi

clean: stop ## Stop everything and remove what was built (not .tools)
	cargo clean
