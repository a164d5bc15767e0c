# Two commands do everything on a fresh machine with Python 3.11 or later: make demo, make test.
# With another Python, beside the first: make test-fast PYTHON=python3.13 VENV=.venv-3.13
PYTHON ?= python3
VENV ?= .venv
# two processes, each of which takes a whole file at a time, the longest files first
SPREAD := -n 2 --dist loadfile --no-loadscope-reorder
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# or each of the hundreds of processes that the tests start would compile every module anew
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-fast test-slurm bench docs lint links format clean

demo: $(VENV)/.base          ## reconstruct a sample volume through the whole pipeline
	$(VENV)/bin/ddgm demo --folder demo

test: $(VENV)/.test          ## all tests, on real processes and files; no GPU, no network
	$(VENV)/bin/python -m pytest $(SPREAD)

test-fast: $(VENV)/.test     ## those that start no process, ask no server, train nothing and take no seconds
	$(VENV)/bin/python -m pytest $(SPREAD) -m "not (cluster or process or server or train or long or slurm or gpu)"

# -s INT: what ends late is ended as by Ctrl-C, so that all daemons are still taken down
test-slurm: $(VENV)/.test    ## the tests that need SLURM's daemons; see CONTRIBUTING.md
	DDGM_TEST_SLURM=1 timeout -k 120 -s INT 1200 $(VENV)/bin/python -m pytest tests/deploy

# on a GPU: make bench BENCH="--weights full --batch 64"
bench: $(VENV)/.test         ## speed: network, solve, pool, a run end to end; 40 minutes on 2 cores
	for what in network solve pool end_to_end; do $(VENV)/bin/python -m benchmarks.$$what $(BENCH) || exit; done
	$(VENV)/bin/python -m benchmarks.classical

# a warning is an error: a link that leads nowhere, a name that is not there, a page in no chapter;
# but not with --quiet, by which mkdocs does not count them
docs: $(VENV)/.docs links    ## the site, in build/site
	PATH="$(abspath $(VENV))/bin:$$PATH" NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build

lint: $(VENV)/.dev links     ## ruff, pyright, which room imports which, and hadolint for the container
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright
	PYTHONPATH=build/links $(VENV)/bin/lint-imports
	$(VENV)/bin/hadolint deploy/containers/Dockerfile

# `ddgm` as the folder that it is once installed, for tools that read code and do not run it
links:
	@mkdir -p build/links/ddgm
	@ln -sfn "$$PWD/ddgm_core" build/links/ddgm/core
	@ln -sfn "$$PWD"/deploy "$$PWD"/pipeline "$$PWD"/workers "$$PWD"/pipeline/api/* build/links/ddgm

format: $(VENV)/.dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf .venv* build demo *.egg-info

$(VENV)/.base: EXTRAS :=
$(VENV)/.test: EXTRAS := [test]
$(VENV)/.dev: EXTRAS := [dev]
$(VENV)/.docs: EXTRAS := [docs]
$(VENV)/.base $(VENV)/.test $(VENV)/.dev $(VENV)/.docs: pyproject.toml constraints.txt
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "installing ddgm$(EXTRAS) into $(VENV), a minute or two"
	@$(PIP) -e '.$(EXTRAS)'
	@touch $@
