"""Runs a chain of commands from a YAML under `recipes/reproduce`, each once for the same inputs."""

import hashlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

from pydantic import Field

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json
from coalm_oumi.core.options import Options
from coalm_oumi.files import provenance
from coalm_oumi.files.config import read_config
from coalm_oumi.files.journal import Journal
from coalm_oumi.files.jsontext import read_jsonl
from coalm_oumi.files.resources import resource_dir

JOURNAL = "reproduce.jsonl"
_LARGE = 64 * 2**20
"""From this many bytes on, a file is known by its size and time instead of its content."""


class Stage(Options):
    """One command of a chain.

    Attributes:
        command: What to run, without a shell. The files that it names are inputs too.
        inputs: Files and folders that it reads, beside those that it names.
        outputs: Files and folders that are there when it is done.
    """

    command: str
    inputs: list[str] = Field(default_factory=list)
    outputs: list[str] = Field(default_factory=list)

    @property
    def words(self) -> list[str]:
        """The command's program and arguments. Without a checkout, `recipes/` is the package's."""
        home = resource_dir("recipes")
        return [
            str(home / word.removeprefix("recipes/"))
            if word.startswith("recipes/") and not Path(word).exists()
            else word
            for word in shlex.split(self.command)
        ]


class Chain(Options):
    """What `coalm reproduce` reads.

    Attributes:
        output_dir: Where the journal of finished stages is kept.
        variables: Values that commands take as `${variables.name}`.
        stages: The commands by name, in their order.
    """

    output_dir: str
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
        raise CoalmError(f"{file}: `stages` is empty")
    for name, stage in chain.stages.items():
        try:
            words = stage.words
        except ValueError as error:
            raise CoalmError(f"{file}: stages.{name}.command: {error}") from error
        if not words:
            raise CoalmError(f"{file}: stages.{name}.command is empty")
    return chain


def why_to_run(stage: Stage, done: Json | None) -> str | None:
    """Says why a stage has to run.

    Args:
        stage: The stage.
        done: What was recorded when it last finished; None where it never did.

    Returns:
        The reason; None for a stage that finished with the same command and inputs, and whose
        outputs are there.
    """
    if done is None:
        return "has not run"
    if done["command"] != stage.words:
        return "its command is another one"
    inputs = input_hashes(stage)
    changed = [name for name in inputs if inputs[name] != done["inputs"].get(name)]
    changed += [name for name in done["inputs"] if name not in inputs]
    if changed:
        return f"{changed[0]} has changed"
    gone = [name for name in stage.outputs if not Path(name).exists()]
    return f"{gone[0]} is gone" if gone else None


def input_hashes(stage: Stage) -> dict[str, str | None]:
    """Identifies what a stage reads, by path; None for what is not there yet."""
    named = [word for word in stage.words if Path(word).is_file()]
    return {name: _hash(Path(name)) for name in dict.fromkeys([*named, *stage.inputs])}


def _hash(path: Path) -> str | None:
    if not path.exists():
        return None
    digest = hashlib.sha256()
    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    for file in files:
        stat = file.stat()
        digest.update(f"{file.relative_to(path)} {stat.st_size}\n".encode())
        large = stat.st_size >= _LARGE
        digest.update(str(stat.st_mtime_ns).encode() if large else file.read_bytes())
    return digest.hexdigest()


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
    """Returns True if a stage writes what another reads: the same path, or one within the other."""
    return any(
        Path(output).is_relative_to(place) or Path(place).is_relative_to(output)
        for output in former.outputs
        for place in latter.inputs
    )


def run(chain: Chain) -> None:
    """Runs the stages that are not done, one after another.

    A stage that finished is recorded at once, so that the same call resumes.

    Raises:
        CoalmError: A command failed, or did not give its outputs, or another process runs the
            chain.
    """
    signal.signal(signal.SIGTERM, _stop)
    environment = {**os.environ, "PATH": _path()}
    with Journal(Path(chain.output_dir) / JOURNAL, made_by={"chain": "coalm reproduce"}) as journal:
        for number, (name, stage) in enumerate(chain.stages.items(), start=1):
            place = f"[{number}/{len(chain.stages)}] {name}"
            reason = why_to_run(stage, journal.records.get(name))
            if reason is None:
                print(f"{place}: done before", flush=True)
                continue
            print(f"{place}: {reason}\n$ {shlex.join(stage.words)}", flush=True)
            journal.append(name, _finish(name, stage, environment))
            journal.sync()


def _stop(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _finish(name: str, stage: Stage, environment: Mapping[str, str]) -> Json:
    """Runs one stage; returns what is recorded of it."""
    inputs = input_hashes(stage)
    started, start = datetime.now(UTC), time.monotonic()
    try:
        process = subprocess.Popen(stage.words, env=environment)
    except OSError as error:
        raise CoalmError(f"{name}: {stage.words[0]} cannot be started: {error}") from error
    with process:
        try:
            code = process.wait()
        except BaseException:  # a training must not go on behind a chain that was stopped
            process.terminate()
            raise
    again = "what is finished is kept: fix the cause and run the same command again"
    if code:
        raise CoalmError(f"{name} failed with exit code {code}; {again}")
    missing = [output for output in stage.outputs if not Path(output).exists()]
    if missing:
        raise CoalmError(f"{name} did not give {missing[0]}; {again}")
    return {
        "command": stage.words,
        "inputs": inputs,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - start, 1),
        "made_with": provenance.made_with(),
    }


def _path() -> str:
    """Puts this environment's programs first: `oumi` and `coalm` are those beside this Python."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def as_text(stages: Sequence[tuple[str, Stage, str | None]]) -> str:
    """Writes a plan as a script, each stage with its state."""
    parts = []
    for name, stage, reason in stages:
        state = "done" if reason is None else f"to do: {reason}"
        parts.append(f"# {name}: {state}\n{shlex.join(stage.words)}")
    return "\n\n".join(parts)
