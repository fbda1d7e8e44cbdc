# The two commands of the README, and what CI runs. Needs Python 3.11, 3.12 or 3.13 and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: train test lint
.DELETE_ON_ERROR:

train: $(VENV)/installed
	$(BIN)/python -m runners.train

# The longest file goes first, so that no process waits for it at the end.
test: $(VENV)/installed-dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder tests/test_readme.py tests

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# A stamp is made anew when a pin or a requirement changes.
$(VENV)/installed: setup.cfg constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "mnist_core needs Python 3.11, 3.12 or 3.13; set PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
