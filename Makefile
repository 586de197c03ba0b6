# Every target installs what it needs; nothing has to be prepared but Rust.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test bench lint fmt

step = @printf '\n==> %s\n' "$(1)"

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Show the bridge working: Synapse, InspIRCd and a conversation (ONCE=1 ends after it)
	@ONCE="$(ONCE)" scripts/demo.sh

test: ## Install what tests need, then check and test everything
	@scripts/install-test-deps.sh
	@$(MAKE) --no-print-directory lint
	$(call step,Tests)
	@cargo test --locked --no-fail-fast

bench: ## Measure the pure functions, then the whole program under load (QUICK=1: small numbers; only="m2i latency": some of it)
	$(call step,Pure functions)
	@$(if $(only),echo 'left out',cargo bench --locked --bench pure)
	$(call step,The whole program under load)
	@cargo bench --locked --bench load -- $(only)

lint: ## Formatting, clippy, fuzz targets, documentation, dependencies
	$(call step,Formatting)
	@cargo fmt --check
	$(call step,Clippy)
	@cargo clippy --locked --all-targets -- -D warnings
	$(call step,Fuzz targets)
	@cp --update Cargo.lock fuzz/Cargo.lock # the same versions, so that nothing is checked twice
	@cargo check --quiet --manifest-path fuzz/Cargo.toml --target-dir $${CARGO_TARGET_DIR:-target}
	$(call step,Documentation)
	@RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items
	$(call step,Dependencies)
	@scripts/deny.sh

fmt: ## Format the sources
	@cargo fmt
