"""The pinned versions satisfy all requirements, and each other's as far as known offline."""

import importlib.metadata
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.conftest import REPO

LINUX = {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64",
         "python_version": "3.11", "python_full_version": "3.11.9", "implementation_name": "cpython",
         "platform_python_implementation": "CPython", "os_name": "posix"}  # fmt: skip


def pins(file: Path) -> dict[str, Version]:
    lines = [line.partition("#")[0].strip() for line in file.read_text().splitlines()]
    pairs = [line.split("==") for line in lines if line]
    return {canonical(name): Version(version.split(";")[0].strip()) for name, version in pairs}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted(requirements: list[str], extras: tuple[str, ...] = ()) -> list[Requirement]:
    """Those that hold on Linux with some extras."""
    found = [Requirement(text) for text in requirements]
    return [
        one
        for one in found
        if one.marker is None
        or any(one.marker.evaluate(LINUX | {"extra": e}) for e in ("", *extras))
    ]


def broken(pinned: dict[str, Version], requirements: list[Requirement]) -> list[str]:
    return [
        f"{one} has {pinned.get(canonical(one.name))}"
        for one in requirements
        if canonical(one.name) not in pinned
        or not one.specifier.contains(pinned[canonical(one.name)], prereleases=True)
    ]


@pytest.mark.parametrize(("name", "extra"), [("constraints-gpu.txt", "gpu")])
def test_pins_satisfy_the_package_and_each_other(name: str, extra: str):
    pinned = pins(REPO / name)
    own = importlib.metadata.requires("coalm-oumi") or []
    assert not broken(pinned, wanted(own, (extra,)))
    # Of what is installed here in the pinned version, the requirements can be read.
    checked = 0
    for package, version in pinned.items():
        try:
            found = importlib.metadata.distribution(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        if Version(found.version) != version:
            continue
        extras = (extra,) if package == "oumi" else ()
        assert not broken(pinned, wanted(found.requires or [], extras)), package
        checked += 1
    assert checked > 100


def test_the_gpu_stack_still_resolves():
    """Asks PyPI: only where uv is installed and COALM_TEST_RESOLVE is set."""
    uv = shutil.which("uv") or os.environ.get("COALM_UV")
    if not (uv and os.environ.get("COALM_TEST_RESOLVE")):
        pytest.skip("set COALM_TEST_RESOLVE=1 and install uv to resolve the GPU stack from PyPI")
    done = subprocess.run(
        [uv, "pip", "compile", "pyproject.toml", "--extra", "gpu", "-c", "constraints-gpu.txt",
         "--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28", "--quiet"],
        cwd=REPO, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
