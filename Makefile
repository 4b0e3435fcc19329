# The RadImageNet Book. Needs Python 3.11, make and git; everything else is set up here.
#   make book   phantoms -> pages -> a rendered book   (PROFILE=demo, DATA="breast=FOLDER")
#   make sweep  the same, training split into jobs for many devices   (GPUS=, DRY=1: estimates only)
#   make test   ruff, pytest, nbval, a strict build

PYTHON ?= python3.11
PROFILE ?= demo
DATA ?=
KERNEL ?=
JOBS ?= 2
GPUS ?=
DRY ?=
BIN := .venv/bin
READY := .venv/.ready

# python3.11 may be called python3 where it is the only one
PYTHON := $(shell command -v $(PYTHON) || command -v python3)

.PHONY: help setup book sweep test test-sweep test-jax test-onnx lab kernel lock lint clean

help:
	@sed -n 's/^#   //p' Makefile

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	  || { echo "error: Python 3.11 is needed, $(PYTHON) is another; try make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Setting up .venv from requirements.lock (once, a few minutes) ..."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $(READY)

setup: $(READY)

book: $(READY)
	$(BIN)/python -m rin.book --profile $(PROFILE) --jobs $(JOBS) \
	  $(foreach pair,$(DATA),--data $(pair)) $(if $(KERNEL),--kernel $(KERNEL))

# Snakemake comes with it; a cluster's options are on the page Run it on a cluster
sweep: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-batch.lock
	$(BIN)/python -m rin.sweep --profile $(PROFILE) $(if $(filter command line,$(origin JOBS)),--jobs $(JOBS)) \
	  $(foreach pair,$(DATA),--data $(pair)) $(if $(KERNEL),--kernel $(KERNEL)) \
	  $(if $(GPUS),--gpus $(GPUS)) $(if $(DRY),--dry-run)

test: $(READY) lint
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile
	$(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout 600 -n $(JOBS) \
	  --dist loadfile -o addopts="" book

# The sweep engine, with Snakemake
test-sweep: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-batch.lock
	$(BIN)/python -m pytest -m sweep tests/test_sweep.py

# The core tests on another Keras backend
test-jax: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-jax.lock
	KERAS_BACKEND=jax $(BIN)/python -m pytest -m core

# Exports to ONNX, with its packages
test-onnx: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-onnx.lock
	$(BIN)/python -m pytest tests/test_export.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/nbstripout --verify book/*.ipynb

lab: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-lab.lock
	$(BIN)/jupyter lab book

# The kernel `rin` that papermill and JupyterLab name; run it again after installing the gpu extra
kernel: $(READY)
	$(BIN)/python -m ipykernel install --user --name rin --display-name "RadImageNet Book (rin)"

# Pins, for maintainers: needs uv on the PATH. All extras are resolved together first, so that each
# lock fits beside the core's. torch is the one package whose build (CPU or CUDA) decides what else
# comes with it, so its lock names torch alone.
LOCK := uv pip compile pyproject.toml --python-version 3.11 --no-header --no-annotate --quiet
EXTRAS := gpu jax lab batch torch onnx

lock:
	$(LOCK) --all-extras --output-file .venv/all.lock
	$(LOCK) --extra test --constraints .venv/all.lock --output-file requirements.lock
	for extra in $(EXTRAS); do \
	  $(LOCK) --extra $$extra --constraints .venv/all.lock --output-file requirements-$$extra.lock; done
	sed -i -E '/^(nvidia|cuda|triton)/d' requirements-torch.lock

clean:
	rm -rf _build _executed tests/_nb
