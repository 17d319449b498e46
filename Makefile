# make run    runs the service on this machine  (HOST, PORT, REDIS_URL, WORKERS, DATA_DIR)
# make test   runs all tests in random order    (ARGS="-k name" selects some)
# make field  runs situations of ordinary projects in full (tests/field)
# make faults tests the guarantees under every fault (docs/guarantees.md)
# make load   loads, restarts and kills web processes (docs/guarantees.md)
# make bench  measures speed and memory (docs/performance.md)
# make audit  searches for vulnerabilities and secrets, sends requests of every kind (docs/security.md)
# make check  runs the linters, the type checkers and the import rules
# make build  builds the bundles of the JavaScript client (static/realtime)
PYTHON ?= python3
VENV := .venv/bin/python

.DEFAULT_GOAL := run
.PHONY: run test build faults field load bench bench-quick compare machine matrix audit check fix lock clean runtime dev benchenv

run: runtime
	@exec $(VENV) -m project.run --with-parent

# An empty DATA_DIR: the tests make their own folder.
test: dev
	@$(VENV) scripts/node.py install
	@DATA_DIR= CHROMIUM="$$($(PYTHON) scripts/browser.py chromium)" \
	FIREFOX="$$($(PYTHON) scripts/browser.py firefox)" $(VENV) -m pytest -n 2 $(ARGS)

# Runs every fault of the catalogue in at most 3 minutes, and with LONG=1 more of each in at most 45.
faults: dev
	@$(VENV) -m tests.faults $(if $(LONG),--long --write) $(ARGS)

# Runs each situation of ordinary projects in full; `make test` runs a short form.
field: dev
	@DATA_DIR= CHROMIUM="$$($(PYTHON) scripts/browser.py chromium)" FIELD=long $(VENV) -m pytest -n 2 --timeout 1200 tests/field $(ARGS)

# Loads web processes, for 20 minutes on a machine that does nothing else.
# ARGS="--only cd" selects some, ARGS=--write updates the docs, ARGS=--short does a little of each.
load: dev
	@$(VENV) -m tests.load $(ARGS)

# Measures everything in some 40 minutes; ARGS="--only delivery" selects some, ARGS=--write updates the docs,
# ARGS="--only idle --sockets 10000" measures so many idle sockets for a minute, beside two other ways.
bench: benchenv
	@CHROMIUM="$$($(PYTHON) scripts/browser.py chromium)" $(VENV) -m benchmarks $(ARGS)

# Measures the ratios that need no browser and few sockets, in at most 2 minutes.
bench-quick: benchenv
	@$(VENV) -m benchmarks --quick $(ARGS)

# Compares this tree with an earlier commit, in interleaved pairs: make compare BASE=5a36f98
compare: dev
	@$(VENV) -m benchmarks.pairs --base $(BASE) $(ARGS)

machine: dev
	EXAMPLES=10000 $(VENV) -m pytest -q --timeout 1800 tests/unit/core/test_machine.py

# Runs the tests with other releases of the libraries than those of the lock.
matrix: dev
	$(VENV) scripts/matrix.py

# Searches for known vulnerabilities and secrets, and sends requests of every kind. It needs the network.
audit: dev
	$(VENV) scripts/audit.py

check: dev
	$(VENV) -m ruff check .
	$(VENV) -m ruff format --check .
	$(VENV) -m mypy
	$(VENV) -m pytest -q -p no:randomly tests/unit/test_structure.py tests/unit/test_locks.py
	$(VENV) scripts/node.py tsc
	$(VENV) scripts/node.py build --check

# Builds the committed files of the JavaScript client from its sources.
build: dev
	$(VENV) scripts/node.py build

fix: dev
	$(VENV) -m ruff check --fix .
	$(VENV) -m ruff format .

# Locks the newest versions that the .in files allow, for every platform, without addresses.
lock: dev
	$(VENV) scripts/lock.py

clean:
	rm -rf .venv .matrix .audit .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage node_modules build dist

runtime:
	@$(PYTHON) scripts/bootstrap.py

dev:
	@$(PYTHON) scripts/bootstrap.py --dev

benchenv:
	@$(PYTHON) scripts/bootstrap.py --bench
