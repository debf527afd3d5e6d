# From a fresh clone: `make demo` shows everything, `make test` tests it, `make dev` opens the Dagster UI.
# A machine without a GPU saves 3 GB with: make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
HOME_DIR := $(CURDIR)/.rllm
TORCH_INDEX ?=
SEED ?= 0

export DAGSTER_DISABLE_TELEMETRY := yes
export OMP_WAIT_POLICY ?= passive

.PHONY: setup demo dev test test-long attack lint clean

setup: $(VENV)/.ready
	@$(BIN)/python -m rllm_assets.scripts.check_machine

$(VENV)/.ready: pyproject.toml $(wildcard rllm_assets/models/kernels/*.cpp rllm_assets/models/kernels/*.h)
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed: make setup PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	# torch first and alone: any other package would take the newest build with gigabytes of CUDA.
	$(BIN)/pip install --quiet --no-compile 'torch==2.13.0' $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
	$(BIN)/pip install --quiet --no-compile --editable '.[local,ray,kserve,dev]'
	@touch $@

$(HOME_DIR)/%/dagster.yaml: deploy/local/dagster.yaml
	@mkdir -p $(dir $@) && cp $< $@

demo: setup $(HOME_DIR)/demo/dagster.yaml
	@DAGSTER_HOME=$(HOME_DIR)/demo PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python -m rllm_assets.automation.demo --seed $(SEED)

dev: setup $(HOME_DIR)/demo/dagster.yaml
	DAGSTER_HOME=$(HOME_DIR)/demo $(BIN)/dagster dev -w workspace.yaml

PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadgroup --durations 12

test: setup
	$(PYTEST) -m "not long" $(TESTS)

test-long: setup
	$(PYTEST) -m long $(TESTS)

# The table of docs/security.md, measured here.
attack: setup
	@$(BIN)/python -m tests.attacks

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	DAGSTER_HOME= $(BIN)/dagster definitions validate -w workspace.yaml

clean:
	rm -rf $(VENV) $(HOME_DIR) build dist *.egg-info
