# VENV=path reuses or makes another environment; PYTHON=python3.12 makes it with another Python.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: demo test test-isa lint format types bench docs env

demo: env  ## Search channel dimensions on the bundled images, in 3 to 5 minutes on 2 cores
	$(BIN)/rexnet search --config recipes/demo.yaml

test: env lint types  ## Lint, types and tests
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

# The smallest set of instructions that torch, oneDNN (in torch and OpenVINO) and Numba can be given.
SMALLEST := ONEDNN_MAX_CPU_ISA=SSE41 ATEN_CPU_CAPABILITY=default NUMBA_CPU_NAME=generic

test-isa: env  ## The numeric tests as on a processor of few instructions
	$(SMALLEST) $(BIN)/python -m pytest -m numeric --numprocesses 2 --dist worksteal

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: env
	$(BIN)/mypy

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: env
	for file in benchmarks/[a-z]*.py; do $(BIN)/python $$file || exit 1; done

docs: env
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	rm -rf docs/generated  # pages of modules that are gone would be built, too
	$(BIN)/sphinx-build -W -b html docs docs/_build

# The environment is made once, and again when what it is made of has changed.
env:
	@made="$(CURDIR) $$(cat pyproject.toml constraints.txt | cksum)"; \
	if [ "$$(cat $(VENV)/made 2>/dev/null)" != "$$made" ]; then \
		echo "Installing into $(VENV): about 5.6 GB with torch, a few minutes ..."; \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
			|| { echo "rexnet needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 2; }; \
		[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV) || exit 1; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check \
			--constraint constraints.txt --editable '.[dev]' || exit 1; \
		echo "$$made" > $(VENV)/made; \
	fi
