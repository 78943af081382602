import time
from pathlib import Path

import pytest

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.options import Options
from coalm_oumi.files.config import read_config


class Anything(Options):
    a: object = None
    b: object = None


def test_anchors_that_stand_for_too_much_are_refused(tmp_path: Path):
    file = tmp_path / "bomb.yaml"
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]
    file.write_text("\n".join(lines))
    start = time.monotonic()
    with pytest.raises(CoalmError, match=r"bomb.yaml: its anchors stand for more than 100,000"):
        read_config(Anything, file, [])
    assert time.monotonic() - start < 5


def test_an_anchor_that_contains_itself_is_refused(tmp_path: Path):
    file = tmp_path / "circle.yaml"
    file.write_text("a: &a [*a]")
    with pytest.raises(CoalmError, match=r"circle.yaml: nested too deeply"):
        read_config(Anything, file, [])


def test_an_ordinary_anchor_is_read(tmp_path: Path):
    file = tmp_path / "plain.yaml"
    file.write_text("a: &a [1, 2]\nb: *a")
    assert read_config(Anything, file, []) == Anything(a=[1, 2], b=[1, 2])
