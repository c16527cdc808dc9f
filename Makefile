# The commands of this project. `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
# One for each set of packages: `make dev` installs what it runs and no more.
DEV_STAMP := .venv/installed-dev
TEST_STAMP := .venv/installed
DOCS_STAMP := .venv/installed-docs
BENCH_STAMP := .venv/installed-bench
MUTATION_STAMP := .venv/installed-mutation
# One more than there are processors: many tests wait for a server.
TEST_PROCESSES ?= $(shell expr $$(nproc 2>/dev/null || sysctl -n hw.ncpu) + 1)

# How long `make simulate` runs, and on how many processes: all, unless told otherwise.
SIMULATE_MINUTES ?= 10
SIMULATE_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install dev test simulate lint bench docs audit coverage mutate lock format clean

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 12

install: $(TEST_STAMP) ## make .venv with all that the tests and linters need

# $(call pip_install,EXTRA): make .venv, and install this project with an extra. Bytecode is written when modules
# are first used: compiling all of it takes longer than running it, and a third of the disk space.
define pip_install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "Python 3.11 or newer is needed: make install PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "Python's venv module is missing (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@echo "Installing movieapp[$(1)] into .venv …"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --editable '.[$(1)]'
	@touch $@
endef

$(DEV_STAMP): setup.cfg pyproject.toml
	$(call pip_install,dev)

$(TEST_STAMP): setup.cfg pyproject.toml
	$(call pip_install,test)
	@touch $(DEV_STAMP)

$(DOCS_STAMP): setup.cfg pyproject.toml
	$(call pip_install,docs)

$(BENCH_STAMP): setup.cfg pyproject.toml
	$(call pip_install,bench)

$(MUTATION_STAMP): setup.cfg pyproject.toml
	$(call pip_install,mutation)

dev: $(DEV_STAMP) ## run the whole system on this machine
	@exec $(BIN)/movieapp dev $(DEV_ARGS)

test: install ## run every test (PYTEST_ARGS="tests/unit -k money" for a part)
	@$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist worksteal $(PYTEST_ARGS)

simulate: install ## run the payment side's histories for SIMULATE_MINUTES=10 on every core
	@$(BIN)/python -m tests.simulation --minutes $(SIMULATE_MINUTES) $(SIMULATE_ARGS)

lint: install ## ruff, mypy (tests too), and the rule that imports go one way
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --config setup.cfg

bench: install $(BENCH_STAMP) ## measure it; PARTS="payments growth" for some, needs RabbitMQ, wrk and smtp-sink
	@$(BIN)/python -m benchmarks $(PARTS)

docs: $(DOCS_STAMP) ## build the documentation as a site, build/site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@$(BIN)/python -m devtools.site.check build/site

audit: ## look for known holes in what is deployed
	@.ci/audit

coverage: install ## how much of the code the unit and integration tests run, in this process
	@$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist worksteal --quiet \
	  --cov --cov-report=term:skip-covered $(or $(PYTEST_ARGS),tests/unit tests/integration)

mutate: install $(MUTATION_STAMP) ## change the deciding code, and list what no test notices; MUTANTS="actors.deliver*" for some
	@$(BIN)/python -m tests.support.mutation $(MUTANTS)

lock: ## bring requirements.lock up to date (needs uv)
	@uv pip compile setup.cfg --extra sms --extra wallet --extra tracing --generate-hashes --universal --python-version 3.11 --quiet -o requirements.lock

format: install ## format with ruff and apply its fixes
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## delete everything that make created, including the data of `make dev`
	rm -rf .venv .movieapp build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache mutants
