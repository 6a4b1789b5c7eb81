# Each target sets up its own environment first. Needs Python >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORES ?= 2
READY := $(VENV)/.ready

.PHONY: demo test bench lint
.DEFAULT_GOAL := demo

demo: $(READY)
	$(BIN)/snakemake --configfile config/planted.yaml --cores $(CORES)

test: $(READY)
	$(BIN)/python -m pytest -n $(CORES) --dist loadfile $(PYTEST)

bench: $(READY)
	$(BIN)/python -m benchmarks

lint: $(READY)
	$(BIN)/ruff check .

$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "forestsink needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { echo "a virtual environment could not be made; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@touch $@
