# Two commands do everything on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := output/demo
# Raw files to build the demo's mixture from; empty for those that ship with the package.
DATA ?=

# No telemetry, no experiment trackers, no look-ups on a hub that may be out of reach.
export DO_NOT_TRACK := 1
export WANDB_MODE := disabled
export HF_HUB_DISABLE_TELEMETRY := 1
export TOKENIZERS_PARALLELISM := false

# Processors without bfloat16 instructions emulate them many times slower than float32.
DTYPE := $(shell grep -qs bf16 /proc/cpuinfo && echo bfloat16 || echo float32)

ifeq ($(DATA),)
BUILD := recipes/data/demo.yaml
else
BUILD := recipes/data/demo_real.yaml
export COALM_DATA := $(DATA)
API_BANK := $(wildcard $(DATA)/api_bank/hammer_original)
LEVELS := $(foreach n,0 1,"--tasks[$(n)].eval_kwargs.data.path=$(API_BANK)/apibank_l$(if $(filter 0,$(n)),1,2).json")
endif

EVALUATE = oumi evaluate --model.torch_dtype_str $(DTYPE) -c
BASE := --model.adapter_model null --output_dir $(RUN)/eval/base

.PHONY: demo _demo test lint format

demo: $(BIN)/.installed
	rm -rf $(RUN)/data $(RUN)/train $(RUN)/eval
	PATH="$(CURDIR)/$(BIN):$$PATH" $(MAKE) --no-print-directory _demo

_demo:
	coalm demo-model $(RUN)/model
	coalm build -c $(BUILD)
	oumi train -c recipes/coalm_demo.yaml --model.torch_dtype_str $(DTYPE)
	$(EVALUATE) recipes/eval_demo.yaml $(BASE)
	$(EVALUATE) recipes/eval_demo.yaml
ifneq ($(API_BANK),)
	$(EVALUATE) recipes/eval_demo_api_bank.yaml $(LEVELS) $(BASE)
	$(EVALUATE) recipes/eval_demo_api_bank.yaml $(LEVELS)
endif
	coalm report $(RUN)

test: lint
	$(BIN)/python -m pytest

lint: $(BIN)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright

format: $(BIN)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
