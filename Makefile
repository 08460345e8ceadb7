# Every target does its own set-up; a fresh machine needs Python 3.11 or newer, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
NODE := $(VENV)/node/ready
PEERS := $(VENV)-peers
BENCH ?=
WORKERS ?= 2
# Thousands of small cases of what other tests run, too: noting the lines would only take time.
MASSES := $(wildcard tests/test_corpus*.py) tests/test_doors.py
# What measures time between processes, or fills the machine by itself, has it for itself.
ALONE := tests/faults tests/real_servers tests/peers
BESIDE := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: demo demo-flask test check unit random faults bench bench-stores bench-live bench-http servers lock clean

$(READY): requirements.lock tests/old_starlette.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --upgrade \
		--target $(VENV)/starlette-0.47 -r tests/old_starlette.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

demo: $(READY)  ## start an example on the embedded store, and print what to try
	$(BIN)/python -m examples.demo starlette

demo-flask: $(READY)  ## the same with Flask under gunicorn
	$(BIN)/python -m examples.demo flask

test: check unit  ## all gates and all tests; with CI=1 nothing may be skipped

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

unit: $(READY) $(NODE) servers
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(BESIDE) $(addprefix --ignore=,$(MASSES) $(ALONE))
	$(BIN)/coverage run -m pytest $(ALONE)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=96
	$(BIN)/pytest $(BESIDE) $(MASSES)

random: $(READY) $(NODE) servers  ## the tests in random order; prints the seed
	$(BIN)/pytest -p randomly $(BESIDE) $(addprefix --ignore=,$(ALONE))
	$(BIN)/pytest -p randomly $(ALONE)

faults: $(READY) servers  ## break real servers under load, and judge: is any acknowledged logout lost? prints a table
	$(BIN)/python -m tests.faults

servers:  ## install the servers that tests need (Redis, PostgreSQL, MariaDB), where that is possible
	@tests/install_servers.sh

bench: $(READY)  ## what the guard costs, as ratios against a middleware that does nothing
	$(BIN)/python -m benchmarks $(BENCH)

bench-stores: $(PEERS)/ready servers  ## round trips, growth, sizes and propagation of every store, on real servers
	$(PEERS)/bin/python -m benchmarks memory trips sizes replica propagation pauses $(BENCH)

bench-live: $(READY) servers  ## how long after a logout open WebSockets and event streams are closed, on four workers
	$(BIN)/python -m benchmarks live $(BENCH)

bench-http: $(PEERS)/ready servers  ## real servers under wrk, beside what people use today; BENCH=--quick for a look
	$(PEERS)/bin/python -m benchmarks http $(BENCH)

# Programs that others wrote in JavaScript, for the tests of the protocols.
$(NODE): tests/peers/package.json tests/peers/package-lock.json $(READY)
	mkdir -p $(VENV)/node && cp tests/peers/package.json tests/peers/package-lock.json $(VENV)/node/
	npm ci --prefix $(VENV)/node --ignore-scripts --no-audit --no-fund --loglevel=error && touch $@ \
		|| echo "NOT INSTALLED, so their tests cannot run: the npm packages of tests/peers (npm comes with Node.js 20)"

# The peers live apart, so that the tests need none of them.
$(PEERS)/ready: benchmarks/peers/requirements.lock pyproject.toml
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r benchmarks/peers/requirements.lock
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

lock:  ## pin the newest versions that pyproject.toml allows
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet uv
	$(VENV)-lock/bin/uv pip compile --quiet --universal --upgrade --generate-hashes --no-header --python-version 3.11 \
		pyproject.toml --all-extras --group dev --output-file requirements.lock
	$(VENV)-lock/bin/uv pip compile --quiet --universal --upgrade --generate-hashes --no-header --python-version 3.11 \
		pyproject.toml --all-extras --group peers --output-file benchmarks/peers/requirements.lock

clean:
	rm -rf $(VENV) $(VENV)-lock $(PEERS) .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
