# Two commands do everything on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Raw files to build the demo's mixture from; empty for those that ship with the package.
DATA ?=

# No telemetry, no experiment trackers, no look-ups on a hub that may be out of reach.
export DO_NOT_TRACK := 1
export WANDB_MODE := disabled
export HF_HUB_DISABLE_TELEMETRY := 1
export TOKENIZERS_PARALLELISM := false

# Processors without bfloat16 instructions emulate them many times slower than float32.
DTYPE := $(shell grep -qs bf16 /proc/cpuinfo && echo bfloat16 || echo float32)

ifneq ($(DATA),)
export COALM_DATA := $(DATA)
endif
SCALE := $(if $(DATA),demo_real,demo)

.PHONY: demo test lint format

demo: $(BIN)/.installed
	$(BIN)/coalm reproduce --scale $(SCALE) --run variables.dtype=$(DTYPE)

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(BIN)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/python .ci/rooms.py --check
	$(BIN)/python .ci/prose.py

format: $(BIN)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
