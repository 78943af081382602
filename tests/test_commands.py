"""Checks every command in recipes' heads, jobs and the documentation."""

import functools
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer
import yaml

from tests.conftest import PAGES, REPO

RECIPES = sorted((REPO / "recipes").rglob("*.yaml"))
JOBS = [file for file in RECIPES if file.parent.name == "jobs"]

STARTS = (
    "coalm ",
    "oumi ",
    "hf ",
    "huggingface-cli",
    "pip ",
    "make ",
    "vllm ",
    "python ",
    "export ",
)
PLAIN = (
    "set",
    "source",
    "export",
    "cd",
    "srun",
    "mkdir",
    "rsync",
    "git",
    "ssh",
    "echo",
    "ls",
    "sky",
)
MODULES = ("oumi", "benchmarks", "vllm")


def in_head(file: Path) -> Iterator[str]:
    """The indented lines of a recipe's first comment that look like commands, continued ones joined."""
    lines: list[str] = []
    for line in file.read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#"))
    yield from joined(
        [line for line in lines if line.startswith("   ") or line.startswith("     ")]
    )


def joined(lines: list[str]) -> Iterator[str]:
    command = ""
    for line in lines:
        text = re.sub(r"(^|\s)# .*$", "", line).strip()
        if not command and not text.startswith(STARTS) and not re.match(r"[A-Z_]+=\S+ ", text):
            continue
        command += " " + text.removesuffix("\\")
        if not text.endswith(("\\", "&&")):
            yield command.strip()
            command = ""
    assert not command, f"a command that never ends: {command}"


def in_page(file: Path) -> Iterator[str]:
    for block in re.findall(r"```(?:bash|sh|shell)\n(.*?)```", file.read_text(), re.DOTALL):
        yield from joined(block.splitlines())


def in_job(file: Path) -> Iterator[str]:
    job = yaml.safe_load(file.read_text())
    text = f"{job.get('setup') or ''}\n{job.get('run') or ''}".replace("srun --export=ALL ", "")
    yield from joined([line for line in text.splitlines() if not line.strip().startswith("#")])


def every_command() -> list[tuple[str, str]]:
    found = [(file, command) for file in RECIPES for command in in_head(file)]
    found += [(file, command) for file in JOBS for command in in_job(file)]
    found += [(file, command) for file in PAGES for command in in_page(file)]
    return [(str(file.relative_to(REPO)), command) for file, command in found]


COMMANDS = every_command()


def test_there_are_commands_in_every_place():
    places = {place for place, _ in COMMANDS}
    assert len(COMMANDS) > 100
    assert {
        "README.md",
        "docs/training.md",
        "recipes/coalm_8b.yaml",
        "recipes/jobs/coalm_8b.yaml",
    } <= places


@pytest.mark.parametrize(("place", "command"), COMMANDS, ids=[f"{p}: {c}" for p, c in COMMANDS])
def test_a_command_can_be_typed(
    place: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # A page may tell to write a recipe first, as docs/own_data.md does; its test runs it.
    if written := re.findall(r"```yaml\n# (\S+\.yaml)\n", (REPO / place).read_text()):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "recipes").symlink_to(REPO / "recipes")
        for name in written:
            (tmp_path / name).touch()
    for part in re.split(r"\s(?:&&|\|\||\||;)\s", command):
        check(shlex.split(part))


def check(words: list[str]) -> None:
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    program, *arguments = words
    if program in PLAIN:
        return
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(), re.MULTILINE)
        assert next(a for a in arguments if "=" not in a) in targets
    elif program == "pip":
        check_pip(arguments)
    elif program == "vllm":
        assert arguments[0] in ("serve", "bench")
    elif Path(program).name.startswith("python"):
        check_python(arguments)
    else:
        assert program in ("coalm", "oumi", "hf"), f"no program `{program}`"
        check_click(program, arguments)


def check_pip(arguments: list[str]) -> None:
    assert arguments[0] in ("install", "download")
    for option, value in itertools.pairwise(arguments):
        if option == "-c":
            assert (REPO / value).is_file()
    extras = set(re.findall(r"\[([a-z,]+)\]", " ".join(arguments)))
    known = re.findall(r"^([a-z]+) = \[", (REPO / "pyproject.toml").read_text(), re.MULTILINE)
    assert {name for group in extras for name in group.split(",")} <= {*known, "gpu", "vllm"}


def check_python(arguments: list[str]) -> None:
    if arguments[0] == "-m":
        assert arguments[1].split(".")[0] in (
            *MODULES,
            "coalm_oumi",
            "pip",
            "venv",
            "pytest",
            "build",
        )
    elif arguments[0].endswith(".py"):
        assert (REPO / arguments[0]).is_file()


@functools.cache
def programs() -> dict[str, click.Command]:
    from huggingface_hub.cli.hf import app as hf
    from oumi.cli.main import get_app

    from coalm_oumi.cli.app import app as coalm

    return {
        name: typer.main.get_command(app)
        for name, app in {"coalm": coalm, "oumi": get_app(), "hf": hf}.items()
    }


def check_click(program: str, arguments: list[str]) -> None:
    """Parses the arguments as the program does, and runs nothing."""
    command = programs()[program]
    context = click.Context(command, info_name=program)
    while isinstance(command, click.Group):
        name, *arguments = arguments
        found = command.get_command(context, name)
        assert found is not None, f"`{program}` has no command `{name}`"
        command = found
        context = click.Context(command, info_name=name, parent=context)
    if program == "oumi" and command.name == "distributed":
        return
    nested = "-m oumi " in " ".join(arguments) or (arguments and arguments[0] == "-m")
    if nested:  # oumi distributed torchrun -m oumi train ...
        check_click("oumi", arguments[arguments.index("oumi") + 1 :])
        return
    parsed = command.make_context(command.name, list(arguments), parent=context.parent)
    for value in parsed.params.values():
        if isinstance(value, str | Path) and str(value).startswith("recipes/"):
            assert (REPO / str(value)).is_file(), f"no recipe {value}"
    if program == "oumi" and command.name == "train" and (REPO / parsed.params["config"]).is_file():
        check_changes(str(parsed.params["config"]), parsed.args)


def check_changes(recipe: str, changes: list[str]) -> None:
    """Reads the recipe with the changes of the command line, as `oumi train` does."""
    from oumi.core.configs import TrainingConfig

    pairs = [
        f"{key.removeprefix('--')}={value}"
        for key, value in zip(changes[::2], changes[1::2], strict=True)
    ]
    TrainingConfig.from_yaml_and_arg_list(str(REPO / recipe), pairs)
