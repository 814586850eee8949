# One command each; `make help` lists them. Needs Linux, make and Python 3.11 to 3.13.
PYTHON ?= python3
APPROVE ?=
HOME_DIR ?= .edgefleet

BIN := .venv/bin
SETS := requirements.txt requirements-dev.txt requirements-edge.txt
EXPORT := $(BIN)/uv export --quiet --frozen --no-emit-project --no-annotate --no-header
# Tests that start no servers, drive no processes, train nothing, and simulate little.
SIMULATIONS := $(addprefix tests/fleet/test_,cells.py gate.py guard.py \
  no_evidence.py replay.py stats.py traps.py)
QUICK := $(filter-out $(SIMULATIONS),$(wildcard tests/fleet/test_*.py)) tests/golden \
  tests/repository tests/spec tests/tasks tests/cli tests/report

# Tests go side by side, each file in one place: twice as many as there are processors, as they often
# wait; those with servers of their own, or with whole clusters, want a processor for each.
PYTEST := $(BIN)/python -m pytest --dist loadfile
BESIDE := $(PYTEST) -n $(shell expr 2 \* $$(nproc))
SPREAD := $(PYTEST) -n auto

# Uncompiled, Prefect alone takes two seconds longer to import, and a demo starts 250 processes.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo rehearse test test-quick test-crash check golden screenshots bench-quantize \
  bench-rehearse bench-fleet bench-look bench-reconcile bench-triggers calibration lock setup-browser \
  setup-postgres setup-nginx setup-kubernetes test-kubernetes test-long test-servers clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.made ## servers, a local fleet, a good release and a bad one; APPROVE=ui asks you
	$(BIN)/python -m edgefleet.cli demo $(if $(APPROVE),--approve $(APPROVE))

rehearse: .venv/.made ## a release over a fleet in memory; ARGS are passed on
	$(BIN)/python -m edgefleet.cli rehearse $(ARGS)

test: .venv/.made ## every test but the long ones and those on Kubernetes; needs setup-browser; skips what needs setup-postgres, setup-kubernetes; ARGS
	$(BESIDE) -m "not servers and not long and not kubernetes" $(ARGS) || test $$? = 5 # none of ARGS
	$(SPREAD) -m "servers and not long and not kubernetes" $(ARGS) || test $$? = 5

test-long: .venv/.made ## long ones without servers: every fault and way back; ARGS are passed on
	$(BESIDE) -m "long and not servers" $(ARGS)

test-servers: .venv/.made ## long ones with real servers: triggers, PostgreSQL, a factory behind NAT; needs setup-nginx; ARGS
	$(SPREAD) -m "long and servers" $(ARGS)

test-kubernetes: .venv/.made ## releases on real clusters; needs setup-kubernetes; ARGS are passed on
	$(SPREAD) -m kubernetes tests/kubernetes $(ARGS)

test-crash: .venv/.made ## a release for every point at which its driver can die (hours), or SHARE=0.1 of them
	EDGEFLEET_CRASHES=docs/crashes.md EDGEFLEET_CRASHES_SHARE=$(SHARE) $(PYTEST) tests/scenarios/test_crashes.py $(ARGS)
	EDGEFLEET_DEATHS=docs/deaths.md $(PYTEST) tests/e2e/test_parts_die.py $(ARGS)

test-quick: .venv/.made ## the tests of a minute
	$(BESIDE) -m "not servers" $(QUICK)

check: .venv/.made ## format, lint, types, import contracts, quick tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory test-quick

golden: .venv/.made ## write docs/ and golden files anew; look at the difference before you commit
	EDGEFLEET_GOLDEN=write $(PYTEST) tests/golden tests/report/test_page.py

screenshots: .venv/.made ## take docs/pictures anew, from the test that clicks in Prefect's pages
	EDGEFLEET_SCREENSHOTS=docs/pictures $(PYTEST) tests/e2e

bench-quantize: .venv/.made ## what quantization gains and costs on this machine
	$(BIN)/python -m tests.bench.quantize $(ARGS)

bench-fleet: .venv/.made ## what a release costs over hollow fleets (as root, setup-kubernetes); ARGS: sizes
	$(BIN)/python -m tests.bench.fleet $(ARGS)

calibration: .venv/.made ## simulate the gate's and the guard's error rates (hours; goes on where it was); ARGS
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.calibration.run $(ARGS)

bench-look: .venv/.made ## what one look of the gate costs at 10,000 nodes on this machine
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.bench.look

bench-triggers: .venv/.made ## how soon a registered model's release begins; ARGS: how many
	$(BIN)/python -m tests.bench.triggers $(ARGS)

bench-rehearse: .venv/.made ## what a rehearsal of 100 and of 1,000 nodes costs on this machine
	$(BIN)/python -m tests.bench.rehearse

bench-reconcile: .venv/.made ## a simulated day of 1,000 flapping nodes, and what reconcile asks of them
	$(BIN)/python -m tests.bench.reconcile

lock: .venv/.made ## resolve the newest allowed versions and export them, by hash, per set
	$(BIN)/uv lock --upgrade --python $(BIN)/python
	$(EXPORT) --no-dev -o requirements.txt
	$(EXPORT) -o requirements-dev.txt
	$(EXPORT) --only-group edge -o requirements-edge.txt

setup-browser: ## Chromium, without which the test of the approval page fails (Debian, as root)
	@command -v chromium || { test "$$(id -u)" = 0 || \
	  { echo "chromium is missing: install it, or run this target as root"; exit 1; }; \
	  apt-get update && apt-get install --yes --no-install-recommends chromium; }

setup-postgres: ## PostgreSQL, for the tests on it; skipped without (Debian, as root)
	@ls -d /usr/lib/postgresql/*/bin || { test "$$(id -u)" = 0 || \
	  { echo "postgresql is missing: install it, or run this target as root"; exit 1; }; \
	  apt-get update && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
	  apt-get install --yes --no-install-recommends postgresql; }

setup-nginx: ## nginx, without which the test of what stands before the proxy fails (Debian, as root)
	@ls /usr/sbin/nginx || { test "$$(id -u)" = 0 || \
	  { echo "nginx is missing: install it, or run this target as root"; exit 1; }; \
	  apt-get update && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
	  apt-get install --yes --no-install-recommends nginx-light; }

setup-kubernetes: ## test clusters; a registry, Prometheus, skopeo for make test (Debian, as root; Go)
	$(PYTHON) tests/kubernetes/cluster/binaries.py

clean: ## end what runs in the home, then remove it, the environment and all caches
	@if test -x $(BIN)/python && test -d $(HOME_DIR); then $(BIN)/python -m edgefleet.cli down; fi
	rm -rf $(HOME_DIR) .venv build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment: exactly the locked files, checked by hash, and this project in place.
.venv/.made: requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1): edgefleet needs Python 3.11, 3.12 or 3.13;" \
	    "name one: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements-dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@
