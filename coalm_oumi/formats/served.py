"""Splits what CoALM writes into what OpenAI's API returns: reasoning, content and tool calls.

The whole answer and the stream are read by the same rules. Imports no server, so that it can be
tested without one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from coalm_oumi.core.function import Function
from coalm_oumi.formats import react
from coalm_oumi.formats.calls import FunctionCall
from coalm_oumi.formats.react import ReactError

_THOUGHT = re.compile(r"\s*\**Thought[12]?\**[ \t]*:\**[ \t]*", re.IGNORECASE)
_THOUGHT_END = re.compile(
    r"(?:^|\n)[ \t]*(?:\**(?:Action|System|AI Assistant|Observation)\**[ \t]*:|\[\s*\{|\{\s*\")"
)
_REPLY = re.compile(r"\s*\**(?:System|AI Assistant)\**[ \t]*:\**[ \t]*")

# What a text must have before it is known to be no label: the longest is `**AI Assistant**:`.
_UNDECIDED = 20


@dataclass(frozen=True, slots=True)
class ServedAnswer:
    """An answer as OpenAI's API returns it.

    Attributes:
        reasoning: The thought; None if there is none.
        content: Words for the user; None beside calls.
        calls: The tool calls.
    """

    reasoning: str | None
    content: str | None
    calls: tuple[FunctionCall, ...] = ()


def split_reasoning(text: str) -> tuple[str | None, str]:
    r"""Splits a whole answer into its thought and the rest.

    Example:
        >>> split_reasoning("Thought: look\nAction: f()")
        ('look', 'Action: f()')
    """
    start = _THOUGHT.match(text)
    if start is None:
        return None, text
    end = _THOUGHT_END.search(text, start.end())
    if end is None:
        return text[start.end() :].strip(), ""
    return text[start.end() : end.start()].strip(), text[end.start() :].lstrip("\n")


def read_answer(text: str, functions: Sequence[Function]) -> ServedAnswer:
    """Reads a whole answer. What cannot be read is content as it stands."""
    try:
        answer = react.read_coalm(text, functions)
    except ReactError:
        return ServedAnswer(None, text)
    if answer.reply is not None:
        return ServedAnswer(answer.thought or None, answer.reply)
    return ServedAnswer(answer.thought or None, None, answer.calls)


@dataclass(frozen=True, slots=True)
class Piece:
    """What a piece of the stream adds.

    Attributes:
        reasoning: A piece of the thought.
        rest: Text after the thought, once it has ended.
    """

    reasoning: str = ""
    rest: str = ""


class ReasoningStream:
    """Takes the thought out of a stream.

    Attributes:
        ended: True once the thought has ended, or if there is none.
    """

    def __init__(self) -> None:
        """Starts before the first piece."""
        self.ended = False
        self._sent = 0

    def add(self, text: str) -> Piece:
        """Reads the answer so far.

        Args:
            text: All of it, not only the new piece.
        """
        if self.ended:
            return Piece()
        start = _THOUGHT.match(text)
        if start is None:
            if len(text.lstrip()) < _UNDECIDED and not re.search(r":|\n\S|[\[({]", text):
                return Piece()
            self.ended = True
            return Piece(rest=text)
        end = _THOUGHT_END.search(text, start.end())
        if end is not None:
            self.ended = True
            reasoning = text[start.end() : end.start()].rstrip()[self._sent :]
            return Piece(reasoning, text[end.start() :].lstrip("\n"))
        # The last line may yet turn out to be a label.
        safe = text.rfind("\n", start.end())
        last = text[safe + 1 :] if safe >= 0 else ""
        until = len(text) if safe < 0 or len(last) > _UNDECIDED else safe
        thought = text[start.end() : until].rstrip()
        new = thought[self._sent :]
        self._sent += len(new)
        return Piece(new)


class AnswerStream:
    """Takes replies and calls out of a stream that has no thought before them.

    A reply is passed on as it comes. A call is passed on when it is complete: its arguments are
    known to be JSON only then.
    """

    def __init__(self, functions: Sequence[Function]) -> None:
        """Starts before the first piece."""
        self._functions = functions
        self._mode = ""  # "", "reply", "call" or "done"
        self._start = 0
        self._sent = 0

    def add(self, text: str, *, is_last: bool) -> ServedAnswer:
        """Reads the answer so far, and returns what is new in it.

        Args:
            text: All of it, not only the new piece.
            is_last: True if nothing follows.
        """
        if not self._mode:
            self._begin(text, is_last)
        if self._mode == "reply":
            return self._reply(text, is_last)
        if self._mode == "call":
            return self._call(text, is_last)
        return ServedAnswer(None, None)

    def _begin(self, text: str, is_last: bool) -> None:
        shown = text.lstrip()
        undecided = len(shown) < _UNDECIDED and not re.search(r":|\n\S|[\[({]", shown)
        if undecided and not is_last:
            return
        reply = _REPLY.match(text)
        if reply is not None:
            self._mode, self._start = "reply", reply.end()
        elif self._looks_like_call(shown):
            self._mode = "call"
        else:
            self._mode = "reply"

    def _looks_like_call(self, shown: str) -> bool:
        if re.match(r"[*`]*(?:Thought|Action)", shown) or shown[:1] in ("[", "{", "`"):
            return True
        return any(shown.startswith(f"{function.name}(") for function in self._functions)

    def _reply(self, text: str, is_last: bool) -> ServedAnswer:
        end = react.label_start(text)
        reply = text[self._start : end].lstrip(" ")
        if end is None and not is_last:
            # The last line may yet turn out to start what only the user may write.
            safe = reply.rfind("\n")
            if safe >= 0 and len(reply) - safe <= _UNDECIDED:
                reply = reply[:safe]
            reply = reply.rstrip()
        new = reply[self._sent :]
        self._sent += len(new)
        if end is not None:
            self._mode, new = "done", new.rstrip()
        return ServedAnswer(None, new or None)

    def _call(self, text: str, is_last: bool) -> ServedAnswer:
        ends_line = text.rstrip(" ").endswith("\n")
        complete = text.rstrip().endswith((")", "]", "}", "```"))
        if not (is_last or ends_line or complete):
            return ServedAnswer(None, None)
        answer = read_answer(text, self._functions)
        is_list = text.lstrip(" \n`jsonActi:*")[:1] == "["
        if answer.calls and not (is_list and not text.rstrip("` \n").endswith("]")):
            self._mode = "done"
            return ServedAnswer(None, None, answer.calls)
        if is_last:
            self._mode = "done"
            return ServedAnswer(None, answer.content, answer.calls)
        return ServedAnswer(None, None)
