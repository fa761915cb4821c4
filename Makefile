# Short names for the commands of this project; each one also works by itself.

.DEFAULT_GOAL := help
.PHONY: help install lock lint types test one bench findings

PYTHON ?= python3
BIN := .venv/bin

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 10

install: ## make .venv with blobd, editable, and everything that the tests need
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c .ci/constraints.txt -e '.[test]'

lock: ## write the versions installed in .venv to .ci/constraints.txt
	{ sed -n 1p .ci/constraints.txt; $(BIN)/pip freeze --exclude blobd; } > .venv/constraints.txt
	mv .venv/constraints.txt .ci/constraints.txt

lint: ## check style, format and the import contracts (seconds)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: ## check types with mypy --strict
	$(BIN)/mypy

test: ## run the whole suite, without the tests marked long
	$(BIN)/pytest

one: ## run some tests: make one TEST=tests/core/test_digest.py
	@test -n "$(TEST)" || { echo "name the tests: make one TEST=tests/core/test_digest.py" >&2; exit 2; }
	$(BIN)/pytest -q $(TEST)

bench: ## run the quick benchmark (needs docker-registry, nginx and an idle machine)
	$(BIN)/python -m bench --quick

findings: ## run the scripts in findings/ (needs a package registry; takes minutes)
	findings/run-all
