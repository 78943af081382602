"""Code for both versions of the package."""

# pyright: standard, reportMissingImports=false, reportAttributeAccessIssue=false

from collections.abc import Callable
from typing import Any

import model_table  # before anything of the package, see there
import patches
from bfcl_eval.constants import default_prompts
from bfcl_eval.constants.type_mappings import GORILLA_TO_OPENAPI
from bfcl_eval.eval_checker.multi_turn_eval import multi_turn_utils
from bfcl_eval.model_handler import utils as handling
from bfcl_eval.model_handler.local_inference.hammer import HammerHandler
from safety import REFUSED, methods, refusal

# The decoder calls `eval` on arguments. This is the name that it finds.
patches.without_eval(handling)


class _Brackets:
    """The decoder of BFCL's prompt mode, which Llama's and CoALM's entries in its table use."""

    decode_ast = staticmethod(handling.default_decode_ast_prompting)
    decode_execute = staticmethod(handling.default_decode_execute_prompting)


_HANDLERS = {"bracket": _Brackets(), "json": HammerHandler.__new__(HammerHandler)}
"""Decoders by the form of answers."""


def decoder(form: str) -> Any:
    """Returns the decoder of a form of answers, or the handler of a model of the table."""
    if form in _HANDLERS:
        return _HANDLERS[form]
    import official  # here, since it needs what this module prepares

    return official.handler(form)


class Decoded:
    """A handler whose steps are lists of calls already, or messages."""

    @staticmethod
    def decode_execute(step: list[str] | str, **_: Any) -> list[str]:
        """Returns the calls.

        Raises:
            ValueError: The step is a message.
        """
        if isinstance(step, str):
            raise ValueError("a message")
        return step


def decode(read: Callable[..., Any], text: str, *more: Any) -> Any:
    """Returns what a decoder of the package reads, or None if it can read nothing."""
    try:
        return read(text, *more)
    except Exception:  # the package's own runners take any exception for an unreadable answer
        return None


def allowed(entry: dict[str, Any]) -> set[str]:
    """Returns the names of a sample's own functions."""
    return methods(multi_turn_utils.CLASS_FILE_PATH_MAPPING, tuple(entry["involved_classes"]))


def allowed_steps(
    turns: list[list[str]], entry: dict[str, Any], read: Callable[[str], list[str] | None]
) -> list[list[list[str]]]:
    """Decodes each step of each turn, and replaces a refused call by a harmless one."""
    names = allowed(entry)
    return [
        [[REFUSED if refusal(call, names) else call for call in read(step) or []] for step in turn]
        for turn in turns
    ]


def execute(entry: dict[str, Any], calls: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Executes allowed calls in the sample's environment, which lasts until the end.

    Returns:
        The result of each call, and the parts of the environment by the names of their classes.
    """
    return multi_turn_utils.execute_multi_turn_func_call(
        calls,
        entry["initial_config"],
        entry["involved_classes"],
        model_table.MODEL,
        entry["id"],
        long_context="long_context" in entry["id"],
    )


def tools(functions: list[dict[str, Any]], model_style: Any) -> list[dict[str, Any]]:
    """Returns functions in OpenAI's form."""
    return handling.convert_to_tool(functions, GORILLA_TO_OPENAPI, model_style)


def addition(missed: list[dict[str, Any]], known: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the message of a turn that adds functions, and all tools from there on."""
    return {
        "prompt": default_prompts.DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_PROMPTING.format(
            functions=missed
        ),
        "short_prompt": default_prompts.DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_FC,
        "tools": known,
    }
