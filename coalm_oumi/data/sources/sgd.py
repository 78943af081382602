"""Schema-Guided Dialogue to CRA samples (paper, section 4.1, Figures 6 and 7).

The thoughts come from recorded CRA transcripts where there are any, and else from templates over
SGD's own annotations: the calls, results and dialogue acts are in the data, so the mixture can be
built without an API key.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from coalm_oumi.core.function import Function
from coalm_oumi.core.jsontext import Json, dumps
from coalm_oumi.core.options import Options
from coalm_oumi.core.sample import Sample
from coalm_oumi.data.cra import dialogue as cra
from coalm_oumi.data.cra import sgd as raw
from coalm_oumi.data.cra import transcript
from coalm_oumi.data.cra.dialogue import ApiStep, CraDialogue, CraTurn
from coalm_oumi.data.cra.sgd import Scope, Services
from coalm_oumi.data.sources.raw import listed, raw_files, total_size
from coalm_oumi.data.sources.reader import Record, RecordError, Rejected, Source, SourcePath
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.rendering import prompts


class SgdOptions(Options):
    """What a recipe may say of the source `sgd`.

    Attributes:
        transcripts: A JSON Lines file of `{dialogue_id, text}`, the text as Table 6 asks for it.
            These dialogues take their turns from there.
        functions: Which functions a prompt lists: those of all services, as in Figure 6, or only
            those of the dialogue's services.
        max_results: How many results of a call an observation keeps. All, if not given.
    """

    transcripts: SourcePath | None = None
    functions: Scope = "all"
    max_results: int | None = Field(None, ge=0)


class Sgd:
    """Reads one split of SGD: two samples a turn with a call, one a turn without."""

    def __init__(self, path: Path, options: SgdOptions | None = None) -> None:
        """Opens the split.

        Args:
            path: The split's folder: `schema.json` and `dialogues_*.json`.
            options: The defaults, if not given.

        Raises:
            CoalmError: A file is missing or is not of SGD's shape.
        """
        options = options or SgdOptions()
        self._path = path
        self._functions: Scope = options.functions
        self._max_results = options.max_results
        self._services = raw.read_services(path)
        self._transcripts = options.transcripts
        self._recorded = transcript.read(options.transcripts) if options.transcripts else {}
        self._files = raw_files(path, "dialogues_*.json", of="one split of SGD")
        self.size = total_size(self._files)

    def records(self) -> Iterator[Record | Rejected]:
        """Yields the dialogues, and the recorded transcripts of no dialogue.

        Raises:
            CoalmError: A file is not a JSON list.
        """
        unmatched = set(self._recorded)
        for record in listed(self._files, of="dialogues"):
            if isinstance(record.content, dict):
                unmatched.discard(str(record.content.get("dialogue_id")))
            yield record
        for name in sorted(unmatched):
            where = f"{self._transcripts}: {name}"
            yield Rejected(where, f"no dialogue of this id is in {self._path}")

    def samples(self, record: Record) -> list[Sample]:
        """Renders one dialogue.

        Raises:
            CoalmError: It is not of SGD's shape, or its recorded transcript cannot be parsed.
        """
        name, used = raw.identify(record.content, self._services)
        turns = (
            transcript.parse(self._recorded[name])
            if name in self._recorded
            else annotated_turns(record.content, self._services, self._max_results)
        )
        functions = raw.functions(self._services, used, self._functions)
        return list(cra.samples(CraDialogue(f"sgd/{self._path.name}/{name}", functions, turns)))


SOURCE = Source("cra", Sgd, SgdOptions)


class _Act(NamedTuple):
    act: str
    slots: Sequence[str]


def annotated_turns(
    record: Json, services: Services, max_results: int | None = None
) -> list[CraTurn]:
    """Makes turns of a dialogue's own annotations, with templated thoughts.

    Args:
        record: The dialogue, as SGD has it.
        services: The split's schema.
        max_results: How many results of a call an observation keeps. All, if not given.

    Raises:
        CoalmError: It is not annotated as SGD is.
    """
    turns = record.get("turns")
    if not isinstance(turns, list) or not turns:
        raise RecordError("`turns` is missing or empty")
    try:
        speakers = [turn["speaker"] for turn in turns]
        if speakers[: len(turns) // 2 * 2] != ["USER", "SYSTEM"] * (len(turns) // 2):
            raise RecordError("the speakers do not alternate, user first")
        return [
            _annotated_turn(user, system, services, max_results)
            for user, system in zip(turns[::2], turns[1::2], strict=False)
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"not SGD's annotation: {error!r}") from error


def _annotated_turn(
    user: Json, system: Json, services: Services, max_results: int | None
) -> CraTurn:
    for turn in (user, system):
        if not isinstance(turn["utterance"], str) or not turn["utterance"].strip():
            raise RecordError("an utterance is missing or empty")
    acts = _acts(system)
    called = [frame for frame in system["frames"] if "service_call" in frame]
    if not called:
        thought = prompts.render("cra_thought_reply", acts=acts)
        return CraTurn(user["utterance"], thought, None, system["utterance"])
    frame = called[0]
    call = FunctionCall(frame["service_call"]["method"], frame["service_call"]["parameters"])
    results = frame.get("service_results", [])
    function = services[frame["service"]].functions.get(call.name)
    if function is None:
        raise RecordError(f"`{call.name}` is not a function of {frame['service']}")
    return CraTurn(
        user=user["utterance"],
        thought=prompts.render("cra_thought_action", goal=_goal(function), call=call),
        api=ApiStep(
            call=call,
            observation=dumps(results[:max_results]),
            thought=prompts.render(
                "cra_thought_observation",
                acts=acts,
                results=len(results),
                failed=any(act.act == "NOTIFY_FAILURE" for act in acts),
            ),
        ),
        system=system["utterance"],
    )


def _acts(system: Json) -> list[_Act]:
    """Groups a system turn's slots by act, in order of first mention."""
    slots: dict[str, list[str]] = {}
    for frame in system["frames"]:
        for action in frame["actions"]:
            named = slots.setdefault(action["act"], [])
            # An offered intent stands among the values; every other act is about its slot.
            mentioned = action["values"] if action["act"] == "OFFER_INTENT" else [action["slot"]]
            named += [_spaced(slot) for slot in mentioned if slot and slot not in named]
    return [_Act(act, names) for act, names in slots.items()]


def _goal(function: Function) -> str:
    """Makes a description such as "Find a bus" the tail of "The user wants to"."""
    text = function.description.rstrip(". ") or _spaced(function.name)
    return text[0].lower() + text[1:]


def _spaced(name: str) -> str:
    """Writes `FindBus` and `leaving_date` as words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ").lower()
