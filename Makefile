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
DTYPE := $(shell grep -qsE 'avx512_bf16|amx_bf16|bf16' /proc/cpuinfo && echo bfloat16 || echo float32)

ifeq ($(DATA),)
BUILD := recipes/data/demo.yaml
else
BUILD := recipes/data/demo_real.yaml
export COALM_DATA := $(DATA)
endif

.PHONY: demo test lint format clean
.DELETE_ON_ERROR:

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(BIN)/.installed
	rm -rf $(RUN)/train $(RUN)/eval $(RUN)/data
	PATH="$(CURDIR)/$(BIN):$$PATH" $(MAKE) --no-print-directory _demo

.PHONY: _demo
_demo:
	coalm demo-model $(RUN)/model
	coalm build -c $(BUILD)
	oumi evaluate -c recipes/eval_demo.yaml --model.torch_dtype_str $(DTYPE) --model.adapter_model null --output_dir $(RUN)/eval/base
	oumi train -c recipes/coalm_demo.yaml --model.torch_dtype_str $(DTYPE)
	oumi evaluate -c recipes/eval_demo.yaml --model.torch_dtype_str $(DTYPE)
	coalm report $(RUN)
