# make run    the service, on this machine    (HOST, PORT, REDIS_URL, WORKERS, DATA_DIR)
# make test   all tests, in random order      (ARGS="-k name" picks some)
# make field  what ordinary projects do, in full (tests/field)
# make faults what is promised, under every fault (docs/guarantees.md)
# make load   what one web process holds, and how it ends (docs/guarantees.md)
# make bench  what is claimed about speed, measured (docs/performance.md)
# make audit  known vulnerabilities, secrets, requests of every kind (docs/security.md)
# make check  what can be said without running it
# make build  the bundles of the JavaScript client (static/realtime)
PYTHON ?= python3
VENV := .venv/bin/python

.DEFAULT_GOAL := run
.PHONY: run test build faults field load bench bench-quick compare machine matrix audit check fix lock clean runtime dev benchenv

run: runtime
	@exec $(VENV) -m project.run --with-parent

# DATA_DIR is emptied: the tests make a folder of their own.
test: dev
	@$(VENV) scripts/node.py install
	@DATA_DIR= CHROMIUM="$$($(PYTHON) scripts/browser.py chromium)" \
	FIREFOX="$$($(PYTHON) scripts/browser.py firefox)" $(VENV) -m pytest -n 2 $(ARGS)

# Every fault of the catalogue, at most 3 minutes; LONG=1 does more of each, at most 45.
faults: dev
	@$(VENV) -m tests.faults $(if $(LONG),--long --write) $(ARGS)

# Situations of ordinary projects, each in full; the suite runs a short form of them.
field: dev
	@DATA_DIR= CHROMIUM="$$($(PYTHON) scripts/browser.py chromium)" FIELD=long $(VENV) -m pytest -n 2 --timeout 1200 tests/field $(ARGS)

# What a web process holds, and how it ends: 20 minutes of a machine that does nothing else.
# ARGS="--only cd" picks some, ARGS=--write updates the docs, ARGS=--short does a little of each.
load: dev
	@$(VENV) -m tests.load $(ARGS)

# All of it, some 35 minutes; ARGS="--only delivery" picks some, ARGS=--write updates the docs.
bench: benchenv
	@CHROMIUM="$$($(PYTHON) scripts/browser.py chromium)" $(VENV) -m benchmarks $(ARGS)

# The targets that need no browser and no crowd, at most 2 minutes: ratios, not times.
bench-quick: benchenv
	@$(VENV) -m benchmarks --quick $(ARGS)

# This tree beside an earlier commit, work by work, in pairs: make compare BASE=5a36f98
compare: dev
	@$(VENV) -m benchmarks.pairs --base $(BASE) $(ARGS)

machine: dev
	EXAMPLES=10000 $(VENV) -m pytest -q --timeout 1800 tests/unit/core/test_machine.py

# Other releases of Celery, redis-py and Django than those of the lock.
matrix: dev
	$(VENV) scripts/matrix.py

# Known vulnerabilities, secrets in the tree, requests of every kind. It needs the network.
audit: dev
	$(VENV) scripts/audit.py

check: dev
	$(VENV) -m ruff check .
	$(VENV) -m ruff format --check .
	$(VENV) -m mypy
	$(VENV) -m pytest -q -p no:randomly tests/unit/test_structure.py tests/unit/test_locks.py
	$(VENV) scripts/node.py tsc
	$(VENV) scripts/node.py build --check

# What ships of the JavaScript client, from its sources.
build: dev
	$(VENV) scripts/node.py build

fix: dev
	$(VENV) -m ruff check --fix .
	$(VENV) -m ruff format .

# The newest versions that the .in files allow, for every platform, without addresses.
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
