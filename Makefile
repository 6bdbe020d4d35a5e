# Two commands to know: `make demo` and `make test`.
PYTHON := .venv/bin/python
SOURCES := plugins dags runner localgrid payloads bench deploy tests
# Locks are full of hashes, and the word "password" is none.
NO_SECRETS := --disable-plugin KeywordDetector --disable-plugin HexHighEntropyString
# Tests of workflows that go with the others, so that both halves of `make test` take as long.
BELOW := tests/e2e/workflows/test_ska_hi_cube.py tests/e2e/workflows/test_slurm.py
LOCK := uv pip compile --quiet --generate-hashes --no-header --no-annotate --python-version 3.11
export PYTHONPATH := plugins:.

.PHONY: setup demo up down test test-below test-workflows test-unit test-heavy test-deploy lint lock image secrets

setup: ## the environments; up to date ones are skipped
	@localgrid/bootstrap.sh

# What the demo of a use case needs beyond the usual environments.
EXTRAS_cta_concordia := toolchain
EXTRAS_km3net_concordia := toolchain
EXTRAS_ska_hi_cube := ska
EXTRAS_fair_analysis := root
EXTRAS_km3net_reduction := root testdata

demo: ## a production from request to product, live
	@localgrid/bootstrap.sh $(EXTRAS_$(USE_CASE))
	@$(PYTHON) -m localgrid.demo $(USE_CASE)

up: setup ## the local grid and Airflow
	@$(PYTHON) -m localgrid start

down: ## stop them; `python -m localgrid down --purge` also forgets
	@$(PYTHON) -m localgrid down

test: ## all tests
	@localgrid/bootstrap.sh gammapy toolchain testdata pyvo python2 django-uws ska root
	-@localgrid/bootstrap.sh apptainer # its tests say so where it cannot be had
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=line test-below test-workflows

test-below: # beside those of the workflows, which wait more than they work
	@$(PYTHON) -m pytest -n 2 --dist loadgroup tests/unit
	@$(PYTHON) -m pytest --durations 15 tests/integration tests/e2e/portal $(BELOW)

test-workflows:
	@ESAP_TEST_GRID_NAME=workflows $(PYTHON) -m pytest --durations 15 tests/e2e/workflows $(addprefix --ignore=,$(BELOW))

test-unit: ## the fast ones
	@localgrid/bootstrap.sh ska root testdata
	-@localgrid/bootstrap.sh apptainer
	@$(PYTHON) -m pytest -n 2 --dist loadgroup tests/unit

test-heavy: ## those that need ctapipe or gammapy
	@localgrid/bootstrap.sh ctapipe gammapy
	@$(PYTHON) -m pytest tests/heavy

test-deploy: ## the compose file on a real Docker engine; needs root on Debian
	@localgrid/bootstrap.sh
	@$(PYTHON) -m pytest tests/deploy

lint: setup
	@localgrid/bootstrap.sh scan
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy $(SOURCES)
	@.venv/bin/lint-imports
	@.venv/bin/hadolint payloads/*/Containerfile
	@.venv/bin/hadolint --trusted-registry docker.io Dockerfile deploy/grid/Dockerfile
	@.envs/scan/bin/check-jsonschema --builtin-schema vendor.compose-spec docker-compose*.yaml deploy/monitoring/compose.yaml
	@.envs/scan/bin/checkov --quiet --compact --skip-download --framework dockerfile --file Dockerfile deploy/grid/Dockerfile
	@git ls-files -z > .envs/scan/files
	@xargs -0 -a .envs/scan/files .envs/scan/bin/detect-secrets-hook $(NO_SECRETS)

image: ## the container image of a payload, by `make image NAME=noop`, into .envs/images
	@$(PYTHON) -m payloads.build $(NAME)

secrets: ## what docker-compose.yaml needs, into deploy/secrets
	@deploy/make_secrets.sh

lock: ## pin the environments anew
	@$(LOCK) --upgrade --group dev pyproject.toml -o requirements/airflow.txt
	@$(LOCK) --upgrade pyproject.toml requirements/deploy.in -c requirements/airflow.txt -o requirements/deploy.txt
	@for name in $(filter-out deploy,$(patsubst requirements/%.in,%,$(wildcard requirements/*.in))); do \
		$(LOCK) --upgrade requirements/$$name.in -o requirements/$$name.txt; done
