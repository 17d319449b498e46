# make run    the service, on this machine    (HOST, PORT, REDIS_URL, WORKERS, DATA_DIR)
# make test   all tests, in random order      (ARGS="-k name" picks some)
# make faults what is promised, under every fault (docs/guarantees.md)
# make bench  what is claimed about speed, measured (docs/performance.md)
# make check  what can be said without running it
PYTHON ?= python3
VENV := .venv/bin/python

.DEFAULT_GOAL := run
.PHONY: run test faults bench machine matrix check fix lock clean runtime dev

run: runtime
	@exec $(VENV) -m project.run --with-parent

test: dev
	@CHROMIUM="$$($(PYTHON) scripts/chromium.py)" $(VENV) -m pytest -n 2 $(ARGS)

# Every fault of the catalogue, at most 3 minutes; LONG=1 does more of each, at most 45.
faults: dev
	@$(VENV) -m tests.faults $(if $(LONG),--long --write) $(ARGS)

bench: dev
	@$(VENV) -m benchmarks

machine: dev
	EXAMPLES=10000 $(VENV) -m pytest -q --timeout 1800 tests/unit/core/test_machine.py

# Other releases of Celery, redis-py and Django than those of the lock.
matrix: dev
	$(VENV) scripts/matrix.py

check: dev
	$(VENV) -m ruff check .
	$(VENV) -m ruff format --check .
	$(VENV) -m mypy
	$(VENV) -m pytest -q -p no:randomly tests/unit/test_arrows.py tests/unit/test_locks.py
	$(VENV) scripts/node.py tsc

fix: dev
	$(VENV) -m ruff check --fix .
	$(VENV) -m ruff format .

# The newest versions that the .in files allow, for every platform, without addresses.
lock: dev
	$(VENV) scripts/lock.py

clean:
	rm -rf .venv .matrix .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage node_modules build dist

runtime:
	@$(PYTHON) scripts/bootstrap.py

dev:
	@$(PYTHON) scripts/bootstrap.py --dev
