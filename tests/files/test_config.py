import re
from collections.abc import Callable
from pathlib import Path

import pytest
from oumi.core.configs import EvaluationConfig

from coalm_oumi.agent import recipe as chat_recipe
from coalm_oumi.cli import identity
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.options import Options
from coalm_oumi.files.config import read_config, read_yaml
from coalm_oumi.oumi_plugin import doctor
from coalm_oumi.training import check
from coalm_oumi.training.recipe import read_oumi_config
from tests.conftest import REPO


class Anything(Options):
    a: object = None
    b: object = None


READERS: dict[str, Callable[[Path], object]] = {
    "read_config": lambda file: read_config(Anything, file, []),
    "read_yaml": read_yaml,
    "coalm check": lambda file: list(check.check(file)),
    "coalm doctor": lambda file: list(doctor.hub_access(file)),
    "coalm chat": chat_recipe.read,
    "coalm reproduce": lambda file: identity.inputs_of(
        ["oumi", "evaluate", "-c", str(file)], declared=[], outputs=[]
    ),
    "coalm plan": lambda file: read_oumi_config(EvaluationConfig, file, []),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS.keys())
def test_anchors_that_stand_for_too_much_are_refused(tmp_path: Path, read: Callable):
    """Written out, they are a tera of lists: a reader without the bound does not come back."""
    file = tmp_path / "bomb.yaml"
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]
    file.write_text("\n".join(lines))
    with pytest.raises(CoalmError, match=r"bomb.yaml: its anchors stand for more than 100,000"):
        read(file)


def test_no_yaml_of_a_user_is_read_elsewhere():
    """These read the package's own files, or check the size first."""
    known = {"files/config.py", "core/paper.py", "agent/recipe.py", "cli/identity.py",
             "training/plan/gpus.py", "training/plan/shape.py"}  # fmt: skip
    home = REPO / "coalm_oumi"
    found = {
        file.relative_to(home).as_posix()
        for file in home.rglob("*.py")
        if re.search(r"yaml\.(safe_)?load\(|OmegaConf\.load\(", file.read_text())
    }
    assert found <= known


@pytest.mark.parametrize("text", ["a: 2020-13-40", "a: [", "a: \xff", "a: " + "9" * 5000])
def test_what_is_no_yaml_is_one_clear_error(tmp_path: Path, text: str):
    file = tmp_path / "bad.yaml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(CoalmError, match=r"bad.yaml: not valid YAML"):
        read_yaml(file)


def test_an_anchor_that_contains_itself_is_refused(tmp_path: Path):
    file = tmp_path / "circle.yaml"
    file.write_text("a: &a [*a]")
    with pytest.raises(CoalmError, match=r"circle.yaml: nested too deeply"):
        read_config(Anything, file, [])


def test_an_ordinary_anchor_is_read(tmp_path: Path):
    file = tmp_path / "plain.yaml"
    file.write_text("a: &a [1, 2]\nb: *a")
    assert read_config(Anything, file, []) == Anything(a=[1, 2], b=[1, 2])
