"""Splits CoALM's answers into the fields of OpenAI's API: reasoning, content and tool calls.

A whole answer is read as a stream of one piece, so that both give the same result. This module
imports no server, so that it can be tested without one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from coalm_oumi.core.function import Function
from coalm_oumi.core.jsontext import model_decoder
from coalm_oumi.formats import calls, react
from coalm_oumi.formats.calls import CallError, FunctionCall
from coalm_oumi.formats.react import ReactError

_THOUGHT = re.compile(r"\s*\**Thought[12]?\**[ \t]*:\**[ \t]*", re.IGNORECASE)
_THOUGHT_END = re.compile(
    r"(?:^|\n)[ \t]*(?:\**(?:Action|System|AI Assistant|Observation)\**[ \t]*:|\[\s*\{|\{\s*\""
    r"|[A-Za-z_]\w*\((?:\w+\s*=|\)))"
)

# A longer text is known to be no label: the longest label is `**AI Assistant**:`.
_UNDECIDED = 20


def _is_known(shown: str) -> bool:
    """Returns True if more text can no longer turn the start of an answer into a label."""
    return len(shown) >= _UNDECIDED or bool(re.search(r":|\n\S|[\[({]", shown))


@dataclass(frozen=True, slots=True)
class ServedAnswer:
    """An answer as OpenAI's API returns it.

    Attributes:
        reasoning: The thought; None if there is none.
        content: Words for the user; None if there are none.
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
    piece = ReasoningStream().add(text, is_last=True)
    return piece.reasoning or None, piece.rest


def read_answer(text: str, functions: Sequence[Function], *, may_call: bool = True) -> ServedAnswer:
    """Reads a whole answer without its thought. Unreadable text stays content."""
    return AnswerStream(functions, may_call=may_call).add(text, is_last=True)


@dataclass(frozen=True, slots=True)
class Piece:
    """The new parts in a piece of the stream.

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

    def add(self, text: str, *, is_last: bool = False) -> Piece:
        """Reads the answer so far.

        Args:
            text: All of it, not only the new piece.
            is_last: True if nothing follows.
        """
        if self.ended:
            return Piece()
        start = _THOUGHT.match(text)
        if start is None:
            if not is_last and not _is_known(text.lstrip()):
                return Piece()
            self.ended = True
            return Piece(rest=text)
        end = _THOUGHT_END.search(text, start.end())
        if end is not None:
            self.ended = True
            reasoning = text[start.end() : end.start()].rstrip()[self._sent :]
            return Piece(reasoning, text[end.start() :].lstrip("\n"))
        # The last line may yet turn out to be a label or a call.
        safe = text.rfind("\n", start.end())
        last = text[safe + 1 :] if safe >= 0 else ""
        is_open = safe >= 0 and (len(last) <= _UNDECIDED or re.fullmatch(r"\w+\(?\w*", last))
        self.ended = is_last
        until = safe if is_open and not is_last else len(text)
        thought = text[start.end() : until].rstrip()
        new = thought[self._sent :]
        self._sent += len(new)
        return Piece(new)


class AnswerStream:
    """Takes words and calls out of a stream that has no thought before them.

    Words are passed on as they come, without the label `System:`. The first call, or list of calls,
    is passed on when it is complete, because only then its arguments are known to be JSON. The text
    after it is not read, nor is a field after the reply or a field of the environment, which the
    model made up.
    """

    def __init__(self, functions: Sequence[Function], *, may_call: bool = True) -> None:
        """Starts before the first piece.

        Args:
            functions: What may be called.
            may_call: False passes calls on as words.
        """
        self._functions = functions
        self._may_call = may_call
        self._field = ""  # the field that is read: "words", "reply", "call", or "" before one
        self._at = 0  # where the text starts that is neither passed on nor skipped
        self._label_end = 0  # labels up to here are read
        self._has_words = False
        self._has_words_of_field = False
        self._ended = False

    def add(self, text: str, *, is_last: bool) -> ServedAnswer:
        """Reads the answer so far, and returns what is new in it.

        Args:
            text: All of it, not only the new piece.
            is_last: True if nothing follows.
        """
        content = ""
        while not self._ended:
            if not self._field:
                self._begin(text, is_last)
                if not self._field:
                    break
            end = self._end_of_field(text)
            is_closed = is_last or end is not None
            if self._field == "call":
                found = self._calls(text[self._label_end : end], is_closed)
                if found:
                    self._ended = True
                    return ServedAnswer(None, content or None, found)
            if self._field != "call" or is_closed:
                content += self._words(text[self._at : end], is_closed)
            if end is None:
                self._ended = is_last
                break
            self._ended = self._field == "reply" and self._has_words
            self._field, self._at = "", end
        return ServedAnswer(None, content or None)

    def _begin(self, text: str, is_last: bool) -> None:
        """Finds out which field comes next, if that is known."""
        rest = text[self._at :]
        shown = rest.lstrip()
        self._at += len(rest) - len(shown)
        label = react.label_at(text, self._at)
        is_known = _is_known(shown)
        if label is not None:
            is_known = label.end < len(text)  # text after the colon may still be part of the label
        if not is_last and not is_known:
            return
        self._label_end = self._at if label is None else label.end
        self._has_words_of_field = False
        name = "" if label is None else label.name
        if name in react.STOP_LABELS:
            self._ended = True
        elif name == "action" and self._may_call:
            self._field = "call"
        elif name in react.REPLY_LABELS:
            self._field, self._at = "reply", self._label_end
        elif not name and self._looks_like_call(shown):
            self._field = "call"
        else:
            self._field = "words"

    def _looks_like_call(self, shown: str) -> bool:
        if not self._may_call:
            return False
        if shown.startswith(("[", "{", "`", "<")):
            return True
        return any(shown.startswith(f"{function.name}(") for function in self._functions)

    def _end_of_field(self, text: str) -> int | None:
        """Returns where the next field starts; None if it is not known."""
        label = react.next_label(text, max(self._at, self._label_end))
        if label is not None and self._field == "call" and label.name == "action input":
            label = react.next_label(text, label.end)  # a form of AutoTOD's: part of the call
        return None if label is None else label.start

    def _calls(self, text: str, is_closed: bool) -> tuple[FunctionCall, ...]:
        if not is_closed and not text.rstrip().endswith((")", "]", "```")):
            return ()  # reading each piece again would take long
        found = _exact_calls(text)
        if found or not is_closed:
            return found
        try:
            return react.read_coalm(f"Action: {text}", self._functions).calls
        except ReactError:
            return ()

    def _words(self, words: str, is_closed: bool) -> str:
        """Returns the words that can be passed on."""
        length = len(words)
        if self._field == "call" and react.is_no_action(words):
            words = ""
        if not is_closed:
            # The last line may yet turn out to be a label, and white space the end.
            line = words.rfind("\n")
            if line >= 0 and len(words) - line <= _UNDECIDED:
                words = words[:line]
            words = words.rstrip()
            length = len(words)
        self._at += length
        words = words.rstrip() if is_closed else words
        if words and not self._has_words_of_field:
            words = f"\n{words.lstrip()}" if self._has_words else words.lstrip()
        self._has_words_of_field = self._has_words_of_field or bool(words)
        self._has_words = self._has_words or bool(words)
        return words


def _exact_calls(text: str) -> tuple[FunctionCall, ...]:
    """Returns the call or JSON list of calls at the start of a text; none if it is cut.

    More text does not change what this returns once it returns something.
    """
    text = text.lstrip("`* \n").removeprefix("json").lstrip()
    try:
        if not text.startswith("["):
            return (calls.call_at(text, 0),)
        records, _ = model_decoder.raw_decode(text)
        return tuple(calls.from_record(record) for record in records)
    except (ValueError, RecursionError, CallError):
        return ()


class ServedStream:
    """Takes thought, words and calls out of a stream."""

    def __init__(self, functions: Sequence[Function], *, may_call: bool = True) -> None:
        """Starts before the first piece; see `AnswerStream`."""
        self._thoughts = ReasoningStream()
        self._answers = AnswerStream(functions, may_call=may_call)
        self._start = 0  # of what follows the thought

    def add(self, text: str, *, is_last: bool) -> ServedAnswer:
        """Reads the answer so far, and returns what is new in it.

        Args:
            text: All of it, not only the new piece.
            is_last: True if nothing follows.
        """
        reasoning = None
        if not self._thoughts.ended:
            piece = self._thoughts.add(text, is_last=is_last)
            reasoning = piece.reasoning or None
            if not self._thoughts.ended:
                return ServedAnswer(reasoning, None)
            self._start = len(text) - len(piece.rest)
        answer = self._answers.add(text[self._start :], is_last=is_last)
        return replace(answer, reasoning=reasoning)
