# Two commands to know: `make demo` and `make test`.
PYTHON := .venv/bin/python
SOURCES := plugins dags runner localgrid payloads tests

.PHONY: setup demo up down test test-unit lint bench

setup: ## the environments; up to date ones are skipped
	@localgrid/bootstrap.sh

demo: setup ## a production from request to product, live
	@$(PYTHON) -m localgrid.demo

up: setup ## the local grid and Airflow
	@$(PYTHON) -m localgrid start

down: ## stop them; `python -m localgrid down --purge` also forgets
	@$(PYTHON) -m localgrid down

test: setup ## all tests
	@$(PYTHON) -m pytest

test-unit: setup
	@$(PYTHON) -m pytest tests/unit

lint: setup
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy $(SOURCES)
	@PYTHONPATH=plugins:. .venv/bin/lint-imports

bench: setup
	@$(PYTHON) -m bench
