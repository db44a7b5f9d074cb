PYTHON ?= python3
EXTRA ?= cpu
BIN := .venv/bin

.PHONY: help install demo fast test test-all check format serve deploy work stop

help:
	@echo "make demo    install, then train two generations on real silicon DFT data"
	@echo "make test    install, then run the tests, the README among them: up to 10 minutes on two cores"
	@echo "make fast    those without servers, engine and fits to real data: up to 90 seconds"
	@echo "make test-all  all tests: up to half an hour"
	@echo "make check   ruff, mypy and the import contracts; make format formats"
	@echo "make serve   start the local Prefect server and show where its pages are"
	@echo "make deploy  register work pools, deployments and automations with the server"
	@echo "make work    run one CPU and one GPU worker on this machine, until Ctrl-C"
	@echo "make stop    end the local Prefect server"
	@echo "EXTRA=gpu    with any of them: install TensorFlow with CUDA instead of the CPU build"

install: .venv/.installed-$(EXTRA)

.venv/.installed-$(EXTRA): pyproject.toml uv.lock
	@echo "Installing into .venv (once, a few minutes at most) ..."
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	    { echo "Python 3.11, 3.12 or 3.13 is needed; name one with: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<1"
	@VIRTUAL_ENV= $(BIN)/uv sync --quiet --frozen --inexact --extra $(EXTRA)
	@rm -f .venv/.installed-* && touch $@

demo: install
	@test -f demo/campaign.yaml || $(BIN)/mlip-train init demo --elements Si --preset quick
	@$(BIN)/mlip-train run demo examples/silicon/batch_1.extxyz
	@$(BIN)/mlip-train run demo examples/silicon/batch_2.extxyz
	@$(BIN)/mlip-train status demo
	@$(BIN)/python -m deployments.local_server where
	@echo "Next:        .venv/bin/mlip-train run demo YOUR_DFT_RESULTS...   (make stop ends the server)"

fast: install
	@$(BIN)/pytest --lane fast -n 2

test: install
	@$(BIN)/pytest --lane test -n 2

test-all: install
	@$(BIN)/pytest --lane all -n 2

format: install
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

check: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

serve: install
	@$(BIN)/python -m deployments.local_server start

deploy: install
	@$(BIN)/python -m deployments.deploy

work: install
	@$(BIN)/python -m deployments.work

stop: install
	@$(BIN)/python -m deployments.local_server stop
