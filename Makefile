# Two commands do everything on a fresh machine with Python 3.11 or later: make demo, make test.
PYTHON ?= python3
# two processes, each of which takes a whole file at a time, the longest files first
SPREAD := -n 2 --dist loadfile --no-loadscope-reorder
PIP := .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# or each of the hundreds of processes that the tests start would compile every module anew
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-fast test-slurm bench docs lint links format clean

demo: .venv/.base          ## reconstruct a sample volume through the whole pipeline
	.venv/bin/ddgm demo --folder demo

test: .venv/.test          ## all tests, on real processes and files; no GPU, no network
	.venv/bin/python -m pytest $(SPREAD)

test-fast: .venv/.test     ## those that start no process, ask no server, train nothing and take no seconds
	.venv/bin/python -m pytest $(SPREAD) -m "not (cluster or process or server or train or long or slurm or gpu)"

# -s INT: what ends late is ended as by Ctrl-C, so that all daemons are still taken down
test-slurm: .venv/.test    ## the tests that need SLURM's daemons; see CONTRIBUTING.md
	DDGM_TEST_SLURM=1 timeout -k 120 -s INT 1200 .venv/bin/python -m pytest tests/deploy

# on a GPU: make bench BENCH="--weights full --batch 64"
bench: .venv/.test         ## speed: network, solve, pool, a run end to end; 40 minutes on 2 cores
	for what in network solve pool end_to_end; do .venv/bin/python -m benchmarks.$$what $(BENCH) || exit; done
	.venv/bin/python -m benchmarks.classical

# a warning is an error: a link that leads nowhere, a name that is not there, a page in no chapter
docs: .venv/.docs links    ## the site, in build/site
	PATH="$$PWD/.venv/bin:$$PATH" NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet

lint: .venv/.dev links     ## ruff, pyright, which room imports which, and hadolint for the container
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/pyright
	PYTHONPATH=build/links .venv/bin/lint-imports
	.venv/bin/hadolint deploy/containers/Dockerfile

# `ddgm` as the folder that it is once installed, for tools that read code and do not run it
links:
	@mkdir -p build/links/ddgm
	@ln -sfn "$$PWD/ddgm_core" build/links/ddgm/core
	@ln -sfn "$$PWD"/deploy "$$PWD"/pipeline "$$PWD"/workers "$$PWD"/pipeline/api/* build/links/ddgm

format: .venv/.dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

clean:
	rm -rf .venv build demo *.egg-info

.venv/.base: EXTRAS :=
.venv/.test: EXTRAS := [test]
.venv/.dev: EXTRAS := [dev]
.venv/.docs: EXTRAS := [docs]
.venv/.base .venv/.test .venv/.dev .venv/.docs: pyproject.toml constraints.txt
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@echo "installing ddgm$(EXTRAS) into .venv, a minute or two"
	@$(PIP) -e '.$(EXTRAS)'
	@touch $@
