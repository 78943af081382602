"""Runs a chain of commands from a YAML, each command once for the same inputs."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

from pydantic import Field, NonNegativeFloat, field_validator

from coalm_oumi.cli import identity
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json
from coalm_oumi.core.options import Options, Text
from coalm_oumi.files import provenance
from coalm_oumi.files.config import read_config
from coalm_oumi.files.journal import Journal
from coalm_oumi.files.jsontext import read_jsonl
from coalm_oumi.files.resources import resource_dir
from coalm_oumi.rendering.terminal import say

JOURNAL = "reproduce.jsonl"


class Stage(Options):
    """One command of a chain.

    Attributes:
        command: The command, run without a shell. Files that it names, files that the recipe behind
            its `-c` names, and the prompts that it renders are inputs too.
        inputs: Other files and folders that it reads.
        outputs: Files and folders that exist when it is done.
        minutes: Its duration on the hardware that the chain's head names, if measured.
    """

    command: Text
    inputs: list[Text] = Field(default_factory=list)
    outputs: list[Text] = Field(default_factory=list)
    minutes: NonNegativeFloat | None = None

    @field_validator("command")
    @classmethod
    def _has_words(cls, value: str) -> str:
        shlex.split(value)  # which raises a ValueError for a quotation that is not closed
        return value

    @property
    def words(self) -> list[str]:
        """The command's program and arguments. Without a checkout, `recipes/` is the package's."""
        words = shlex.split(self.command)
        for number, word in enumerate(words):
            if word.startswith("recipes/") and not Path(word).exists():
                words[number] = str(resource_dir("recipes") / word.removeprefix("recipes/"))
        return words


class Chain(Options):
    """A chain of commands, as `coalm reproduce` reads it.

    Attributes:
        output_dir: The folder of the journal of finished stages.
        variables: Values that commands take as `${variables.name}`.
        stages: The commands by name, in order.
    """

    output_dir: Text
    variables: dict[str, str] = Field(default_factory=dict)
    stages: dict[str, Stage] = Field(default_factory=dict)


def load_chain(file: Path, overrides: list[str]) -> Chain:
    """Reads a chain.

    Args:
        file: The YAML.
        overrides: Changes of the form `variables.dtype=float32`.

    Raises:
        CoalmError: No such file, an unknown key, or a command that cannot be split into words.
    """
    chain = read_config(Chain, file, overrides)
    if not chain.stages:
        raise CoalmError(f"{file}: `stages` is empty; add a command")
    return chain


def why_to_run(stage: Stage, done: Json | None) -> str | None:
    """Returns the reason why a stage has to run, or None if it does not.

    A stage is done if it finished with the same command and inputs, and its outputs are as it left
    them.

    Args:
        stage: The stage.
        done: The record of when it last finished; None if it never did.
    """
    if done is None:
        return "has not run"
    if done["command"] != stage.words:
        return "its command has changed"
    inputs = identity.inputs_of(stage.words, declared=stage.inputs, outputs=stage.outputs)
    changed = [name for name in inputs if inputs[name] != done["inputs"].get(name)]
    changed += [name for name in done["inputs"] if name not in inputs]
    if changed:
        return f"{changed[0]} has changed"
    gone = [name for name in stage.outputs if not Path(name).exists()]
    if gone:
        return f"{gone[0]} is gone"
    return identity.difference(done.get("outputs", {}))


def plan(chain: Chain) -> list[tuple[str, Stage, str | None]]:
    """Returns the stages with the reason why each has to run, None for one that is done."""
    file = Path(chain.output_dir) / JOURNAL
    rows = [row for _, row in read_jsonl(file)] if file.is_file() else []
    done = {row["key"]: row["record"] for row in rows if "key" in row}
    planned: list[tuple[str, Stage, str | None]] = []
    for name, stage in chain.stages.items():
        reason = why_to_run(stage, done.get(name))
        before = [n for n, s, to_do in planned if to_do and _feeds(s, stage)]
        planned.append((name, stage, reason or (f"{before[0]} comes before" if before else None)))
    return planned


def _feeds(former: Stage, latter: Stage) -> bool:
    """Returns True if a stage writes what another reads: the same path, or one inside it."""
    return any(
        Path(output).is_relative_to(place) or Path(place).is_relative_to(output)
        for output in former.outputs
        for place in latter.inputs
    )


def run(chain: Chain) -> None:
    """Runs the stages that are not done, one after another.

    A stage that finished is recorded at once, so that the same call resumes.

    Raises:
        CoalmError: A command failed or did not write its outputs, or another process is running the
            chain.
    """
    signal.signal(signal.SIGTERM, _stop)
    environment = {**os.environ, "PATH": _path()}
    with Journal(Path(chain.output_dir) / JOURNAL, made_by={"chain": "coalm reproduce"}) as journal:
        to_do = {name: stage for name, stage, reason in plan(chain) if reason}
        say(_outline(to_do, of=len(chain.stages)))
        start = time.monotonic()
        for number, (name, stage) in enumerate(chain.stages.items(), start=1):
            place = f"[{number}/{len(chain.stages)}] {name}"
            reason = why_to_run(stage, journal.records.get(name))
            to_do.pop(name, None)
            if reason is None:
                say(f"{place}: done before")
                continue
            say(f"{place}: {reason}\n$ {shlex.join(stage.words)}")
            done = _finish(name, stage, environment)
            journal.append(name, done)
            journal.sync()
            left = _minutes(to_do.values())
            so_far = f"{_written_time(done['seconds'])}; {_written_time(time.monotonic() - start)}"
            end = "" if left is None or not to_do else f", {_about(left)} left"
            say(f"{place}: took {so_far} so far{end}")


def _outline(stages: Mapping[str, Stage], *, of: int) -> str:
    """Lists the stages that will run, with the time of each and of all if known."""
    whole = _minutes(stages.values())
    lines = [f"{len(stages)} of {of} stages to run"]
    if stages and whole is not None:
        lines[0] += f", {_about(whole)} in all on the hardware that the chain names"
    width = max(map(len, stages), default=0)
    for name, stage in stages.items():
        known = "" if stage.minutes is None else f"  {stage.minutes:4.1f} min"
        lines.append(f"  {name:{width}}{known}".rstrip())
    return "\n".join(lines)


def _minutes(stages: Iterable[Stage]) -> float | None:
    """Returns the total time of stages; None if that of one is unknown."""
    minutes = [stage.minutes for stage in stages]
    known = [value for value in minutes if value is not None]
    return sum(known) if len(known) == len(minutes) else None


def _about(minutes: float) -> str:
    return f"about {max(1, round(minutes))} min"


def _written_time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def _stop(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _finish(name: str, stage: Stage, environment: Mapping[str, str]) -> Json:
    """Runs one stage; returns its record."""
    _check_mixtures(name, stage)
    inputs = identity.inputs_of(stage.words, declared=stage.inputs, outputs=stage.outputs)
    before = identity.outputs_of(stage.outputs)
    started, start = datetime.now(UTC), time.monotonic()
    try:
        process = subprocess.Popen(stage.words, env=environment)
    except OSError as error:
        raise CoalmError(f"{name}: {stage.words[0]} cannot be started: {error}") from error
    with process:
        try:
            code = process.wait()
        except BaseException:  # training must not continue after its chain was stopped
            process.terminate()
            raise
    again = "finished stages are kept: fix the cause and run the same command again"
    if code:
        raise CoalmError(f"{name} failed with exit code {code}; {again}")
    missing = [output for output in stage.outputs if not Path(output).exists()]
    if missing:
        raise CoalmError(f"{name} did not write {missing[0]}; {again}")
    return {
        "command": stage.words,
        "inputs": inputs,
        "outputs": _written(stage, before),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - start, 1),
        "made_with": provenance.made_with(),
    }


def _written(stage: Stage, before: Mapping[str, str]) -> dict[str, str]:
    """Identifies the files that a stage wrote; in a folder that stages share, those it changed."""
    written: dict[str, str] = {}
    for output in stage.outputs:
        shared = identity.is_plain_folder(Path(output))
        for file, found in identity.outputs_of([output]).items():
            if not shared or before.get(file) != found:
                written[file] = found
    return written


def _check_mixtures(name: str, stage: Stage) -> None:
    """Refuses a mixture whose shards are not those that its manifest lists."""
    for place in stage.inputs:
        if Path(place).name == identity.MANIFEST and Path(place).is_file():
            damage = identity.damaged_shard(Path(place))
            if damage is not None:
                raise CoalmError(f"{name}: {damage}; build the mixture again")


def _path() -> str:
    """Puts this environment's programs first, so that `oumi` and `coalm` are this Python's."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def as_text(stages: Sequence[tuple[str, Stage, str | None]]) -> str:
    """Writes a plan as a script, each stage with its state."""
    parts: list[str] = []
    for name, stage, reason in stages:
        state = "done" if reason is None else f"to do: {reason}"
        parts.append(f"# {name}: {state}\n{shlex.join(stage.words)}")
    return "\n\n".join(parts)
