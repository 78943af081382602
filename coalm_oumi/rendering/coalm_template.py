"""The chat template of a merged CoALM: `prompts/chat/coalm.jinja` before the base model's own.

A chat template is one self-contained text, so the instructions are copied into it from the files
that training renders.
"""

import re

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.function import Function
from coalm_oumi.core.jsontext import dumps
from coalm_oumi.files.resources import resource_dir
from coalm_oumi.rendering import prompts

_PROMPT = re.compile(r'PROMPT\("(\w+)"\)')

# Placeholders for the parts that a request fills in. No prompt contains them.
_FUNCTION = "THE_FUNCTIONS_OF_A_REQUEST"
_HISTORY = "THE_HISTORY_OF_A_REQUEST"
_INSTRUCTION = "THE_INSTRUCTION_OF_A_REQUEST"
_INPUT = "THE_INPUT_OF_A_REQUEST"

MARK = "CoALM's chat template"
"""A mark in every template that this module wrote."""


def with_coalm(base: str) -> str:
    """Returns a chat template that also takes tools, in CoALM's form.

    Args:
        base: The base model's chat template. One that this function returned stays as it is.

    Raises:
        CoalmError: A prompt has no place for the functions or the history.
    """
    if MARK in base:
        return base
    source = (resource_dir("prompts") / "chat" / "coalm.jinja").read_text(encoding="utf-8")
    filled = _PROMPT.sub(lambda found: _literal(found[1]), source)
    return filled + base


def _literal(name: str) -> str:
    """Writes the parts of a prompt around what a request fills in, as a Jinja list."""
    if name == "alpaca":
        text = prompts.render(name, instruction=_INSTRUCTION, input=_INPUT)
        return dumps(_split(text, _INSTRUCTION, _INPUT)[:2])
    fields = {"functions": [Function(_FUNCTION, "")]}
    plain = prompts.render(name, **fields, history=[], turns=[])
    listed = re.sub(rf"^1\. {_FUNCTION}\(\).*$", _FUNCTION, plain, flags=re.MULTILINE)
    if _FUNCTION not in listed:
        listed += _FUNCTION  # an instruction that lists no functions
    before, after = listed.split(_FUNCTION)
    history = prompts.render("cra_history", history=[_HISTORY])
    opening, closing = _split(history, _HISTORY)
    return dumps([before, after, f"\n\n{opening}", closing])


def _split(text: str, *marks: str) -> list[str]:
    parts: list[str] = []
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found:
            raise CoalmError(f"prompts/: a template has no place for {mark}")
        parts.append(before)
    return [*parts, text]
