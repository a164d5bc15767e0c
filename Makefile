# Two commands do everything on a fresh machine with Python 3.11 or later: make demo, make test.
PYTHON ?= python3
PIP := .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint format clean

demo: .venv/.base          ## reconstruct a sample volume through the whole pipeline
	.venv/bin/ddgm demo --folder demo

test: .venv/.test          ## all tests, on real processes and files; no GPU, no network
	.venv/bin/python -m pytest

lint: .venv/.dev           ## ruff and pyright
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/pyright

format: .venv/.dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

clean:
	rm -rf .venv demo *.egg-info

.venv/.base: EXTRAS :=
.venv/.test: EXTRAS := [test]
.venv/.dev: EXTRAS := [dev]
.venv/.base .venv/.test .venv/.dev: pyproject.toml constraints.txt
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@echo "installing ddgm$(EXTRAS) into .venv, a minute or two"
	@$(PIP) -e '.$(EXTRAS)'
	@touch $@
