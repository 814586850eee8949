# `make demo` and `make test` do everything; `make help` lists the rest.
PYTHON ?= python3
APPROVE ?= auto
BIN := .venv/bin
ENV := .venv/.made
export UV_PYTHON_DOWNLOADS := never

.DEFAULT_GOAL := help
.PHONY: help demo test check golden bench-quantize lock clean

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 18

$(ENV): requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; ok = sys.version_info >= (3, 11); ok or sys.exit("Python %d.%d found, 3.11 or newer needed: make PYTHON=python3.11 ..." % sys.version_info[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

check: $(ENV) ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(ENV) ## every test
	$(BIN)/python -m pytest

lock: ## resolve anew and export the requirement files (hashes, no hosts)
	$(BIN)/uv lock --quiet --python $(BIN)/python
	for set in "requirements.txt --no-dev" "requirements-dev.txt --all-groups" "requirements-edge.txt --only-group edge"; do \
	  set -- $$set; file=$$1; shift; \
	  $(BIN)/uv export --quiet --frozen --no-emit-project --no-annotate --no-header "$$@" -o $$file >/dev/null; \
	done

clean: ## remove the environment and everything written beside the sources
	rm -rf .venv .edgefleet build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
