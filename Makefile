# The commands of this project. `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
# One more than there are processors: many a test waits for a server.
TEST_PROCESSES ?= $(shell expr $$(nproc 2>/dev/null || sysctl -n hw.ncpu) + 1)

.DEFAULT_GOAL := help
.PHONY: help install dev test lint bench docs audit coverage lock format clean

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 12

install: $(STAMP) ## make .venv with everything in it

$(STAMP): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "Python 3.11 or newer is needed: make install PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "Python's venv module is missing (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@echo "Installing into .venv …"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

dev: install ## run the whole system on this machine
	@exec $(BIN)/movieapp dev $(DEV_ARGS)

test: install ## run every test (PYTEST_ARGS="tests/unit -k money" for a part)
	@$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist worksteal $(PYTEST_ARGS)

lint: install ## ruff, mypy (tests too), and the rule that imports go one way
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --config setup.cfg

bench: install ## measure it; PARTS="payments growth" for some, needs RabbitMQ, wrk and smtp-sink
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@$(BIN)/python -m benchmarks $(PARTS)

docs: install ## build the documentation as a site, build/site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

audit: ## look for known holes in what is deployed
	@.ci/audit

coverage: install ## how much of the code the unit and integration tests run, in this process
	@$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist worksteal --quiet \
	  --cov --cov-report=term:skip-covered $(or $(PYTEST_ARGS),tests/unit tests/integration)

lock: ## bring requirements.lock up to date (needs uv)
	@uv pip compile setup.cfg --extra sms --extra tracing --generate-hashes --universal --python-version 3.11 --quiet -o requirements.lock

format: install ## let ruff format and mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## forget everything that was made here, data of `make dev` included
	rm -rf .venv .movieapp build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
