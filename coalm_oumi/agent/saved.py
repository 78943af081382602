"""Saves dialogues as CRA transcripts, so that conversations become training data.

A folder of saved dialogues has the shape of a split of SGD: `schema.json` describes the tools,
`dialogues_001.json` holds what was said, and `transcripts.jsonl` the transcripts of Table 6. So
`coalm cra validate FOLDER/transcripts.jsonl --sgd FOLDER` and the `sgd` source of `coalm build`
take it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from oumi.core.configs.params.tool_params import ToolParams

from coalm_oumi.agent.toolbox import function_of
from coalm_oumi.agent.turns import AgentTurn, Step
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.function import Function
from coalm_oumi.core.jsontext import Json, is_object
from coalm_oumi.data.cra import transcript
from coalm_oumi.data.cra.dialogue import ApiStep, CraTurn
from coalm_oumi.files.jsontext import read_json, read_jsonl, write_json, write_jsonl
from coalm_oumi.rendering import prompts

SERVICE = "chat"
"""The service under which a saved folder's schema lists the tools."""

DIALOGUES = "dialogues_001.json"
TRANSCRIPTS = "transcripts.jsonl"


@dataclass(frozen=True, slots=True)
class SavedDialogue:
    """A saved dialogue.

    Attributes:
        dialogue_id: The dialogue's name in the folder.
        turns: The number of turns that were saved.
        reason: Why later turns were not saved; empty if all were.
    """

    dialogue_id: str
    turns: int
    reason: str = ""


def save(folder: Path, turns: Sequence[AgentTurn], tools: Sequence[ToolParams]) -> SavedDialogue:
    """Adds a dialogue to a folder.

    Table 6 has at most one call per turn. Saving ends before the first turn with more calls: if one
    were left out, the turn would claim things that nobody said or observed. Failed calls and
    unreadable answers are left out.

    Args:
        folder: The folder; made if missing.
        turns: The dialogue.
        tools: The tools that the agent had.

    Raises:
        CoalmError: There is no turn to save, or the folder holds other tools.
    """
    written: list[CraTurn] = []
    reason = ""
    descriptions = {tool.id: tool.description for tool in tools}
    for number, turn in enumerate(turns, start=1):
        try:
            written.append(_turn(turn, descriptions))
        except CoalmError as error:
            reason = f"turn {number} {error}"
            break
    if not written:
        raise CoalmError(f"nothing to save: {reason or 'nobody has said anything'}")
    schema = [_service(tools)]
    if (folder / "schema.json").exists() and read_json(folder / "schema.json") != schema:
        raise CoalmError(f"{folder}: holds dialogues with other tools; give another folder")
    dialogues: list[Json] = []
    transcripts: list[Json] = []
    if (folder / DIALOGUES).exists():
        dialogues = read_json(folder / DIALOGUES)
        transcripts = [record for _, record in read_jsonl(folder / TRANSCRIPTS)]
    name = f"chat_{len(dialogues) + 1:05}"
    dialogues.append(_dialogue(name, written))
    transcripts.append({"dialogue_id": name, "text": transcript.write(written)})
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "schema.json", schema)
    write_jsonl(folder / TRANSCRIPTS, transcripts)
    write_json(folder / DIALOGUES, dialogues)
    return SavedDialogue(name, len(written), reason)


def _turn(turn: AgentTurn, descriptions: Mapping[str, str]) -> CraTurn:
    called = [step for step in turn.steps if _succeeded(step)]
    last = turn.steps[-1].decision if turn.steps else None
    if last is None or last.reply is None:
        raise CoalmError("ended without a reply from the model")
    if len(called) > 1:
        raise CoalmError(f"made {len(called)} calls, and a transcript has one per turn")
    user, reply = _line(turn.user), _line(turn.reply)
    if not called:
        thought = last.thought or prompts.render("chat_thought", step="reply")
        return CraTurn(user, _line(thought), None, reply)
    decision = called[0].decision
    assert decision is not None and decision.call is not None
    call = decision.call
    goal = _goal(descriptions.get(call.name, call.name))
    first = decision.thought or prompts.render(
        "chat_thought", step="action", goal=goal, name=call.name
    )
    second = last.thought or prompts.render("chat_thought", step="observation", name=call.name)
    return CraTurn(
        user, _line(first), ApiStep(call, _line(called[0].observation), _line(second)), reply
    )


def _succeeded(step: Step) -> bool:
    is_call = step.decision is not None and step.decision.call is not None
    return is_call and not step.observation.startswith('{"status": "failed"')


def _line(text: str) -> str:
    """Writes a field on one line, so that none of its lines looks like another field."""
    return " ".join(text.split())


def _goal(description: str) -> str:
    text = description.rstrip(". ")
    return text[:1].lower() + text[1:]


def _service(tools: Sequence[ToolParams]) -> Json:
    slots: dict[str, Json] = {}
    for tool in tools:
        for name, described in tool.parameters.get("properties", {}).items():
            schema: Json = described if is_object(described) else {}  # true is a schema too
            values = schema.get("enum")
            if schema.get("type") == "boolean":
                values = ["True", "False"]
            slots[name] = {
                "name": name,
                "description": str(schema.get("description", "")),
                "is_categorical": bool(values),
                "possible_values": [str(value) for value in values or ()],
            }
    return {
        "service_name": SERVICE,
        "description": "tools of a saved chat",
        "slots": list(slots.values()),
        "intents": [_intent(function_of(tool)) for tool in tools],
    }


def _intent(function: Function) -> Json:
    return {
        "name": function.name,
        "description": function.description,
        "is_transactional": False,
        "required_slots": list(function.required),
        "optional_slots": dict(function.optional),
        "result_slots": [],
    }


def _dialogue(name: str, turns: Sequence[CraTurn]) -> Json:
    said: list[Json] = []
    for turn in turns:
        said.append({"speaker": "USER", "utterance": turn.user, "frames": []})
        said.append({"speaker": "SYSTEM", "utterance": turn.system, "frames": []})
    return {"dialogue_id": name, "services": [SERVICE], "turns": said}
