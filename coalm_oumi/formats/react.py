"""Reads one answer of an agent that writes ReAct text: calls, or a reply to the user.

Two written forms are asked for: CoALM's (Figures 6 and 7) and AutoTOD's. Models drift from both, so
every answer with a single meaning is read: a call in JSON or with unquoted values, a Markdown
fence, an answer without labels. Everything else is refused with a hint that the model can follow.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coalm_oumi.core.function import Function
from coalm_oumi.core.jsontext import Json, is_list, is_object, model_decoder
from coalm_oumi.formats import calls
from coalm_oumi.formats.calls import CallError, FunctionCall

MAX_CHARACTERS = 50_000
"""The most characters of an answer. 512 tokens are about 2,000 characters."""


class ReactError(CallError):
    """Text of a model that is neither calls nor a reply. The message is written for the model."""


@dataclass(frozen=True, slots=True)
class ReactAnswer:
    """An answer: either calls or a reply.

    Attributes:
        thought: The reasoning before it, or "".
        calls: The calls; several only if the model wrote a JSON list.
        reply: The reply to the user.
    """

    thought: str
    calls: tuple[FunctionCall, ...] = ()
    reply: str | None = None

    @property
    def call(self) -> FunctionCall | None:
        """The first call; None for a reply."""
        return self.calls[0] if self.calls else None


def read_coalm(text: str, functions: Sequence[Function]) -> ReactAnswer:
    """Reads CoALM's form: `Thought: ...`, then `Action: f(a=1)` or `System: ...`.

    Args:
        text: What the model wrote.
        functions: The functions it was shown. Their parameters give positional values a name.

    Raises:
        ReactError: The text is neither calls nor a reply, or could be read in two ways.
    """
    return _read(text, functions, {}, hint="write either a line `Action: function_name("
                 "argument='value')` or a line `System: ...`")  # fmt: skip


def read_autotod(
    text: str, functions: Sequence[Function], titles: Mapping[str, str]
) -> ReactAnswer:
    """Reads AutoTOD's form: `Action:` and `Action Input:`, or `AI Assistant: ...`.

    Args:
        text: What the model wrote.
        functions: The functions behind the tools it was shown.
        titles: The function's name by the tool's title in the prompt, in lower case.

    Raises:
        ReactError: The text is neither calls nor a reply, or could be read in two ways.
    """
    return _read(text, functions, titles, hint="write either `Action:` and `Action Input:`, or "
                 "`AI Assistant: ...`")  # fmt: skip


# --- Labels ---

_LABEL_HERE = re.compile(
    r"[ \t]*[*_`]*(Thought|Action Input|Action|Observation|System|AI Assistant|Assistant|Response"
    r"|Human|User|Input)[12]?[*_`]*[ \t]*:[*_`]*[ \t]*",
    re.IGNORECASE,
)
_LABEL = re.compile(f"^{_LABEL_HERE.pattern}", re.MULTILINE | re.IGNORECASE)
REPLY_LABELS = ("system", "ai assistant", "assistant", "response")
"""Fields that the user reads."""

STOP_LABELS = frozenset({"observation", "human", "user", "input"})
"""Fields that only the environment or the user may write. A model that continues makes them up."""

_NO_TOOL = re.compile(r"do i need to use a tool\?\s*no\b[.!]?", re.IGNORECASE)
_NO_ACTION = re.compile(
    r"(?:none|null|n/?a|nothing|no|no[ _](?:action|tool|api|function)(?: call)?"
    r"(?: (?:is )?(?:needed|required))?|\[\]|-+)?[.!]?",
    re.IGNORECASE,
)
_FENCE = re.compile(r"(?:^|(?<=:))[ \t]*```[ \t]*[A-Za-z]*[ \t]*$", re.MULTILINE)
_MARKS = re.compile(r"</?tool_call>|</?tool>|<\|python_tag\|>|\[TOOL_CALLS\]|<function_call>")


def label_start(text: str) -> int | None:
    """Returns where the first field starts that only the environment or the user may write."""
    for mark in _LABEL.finditer(text):
        if mark[1].lower() in STOP_LABELS:
            return mark.start()
    return None


@dataclass(frozen=True, slots=True)
class Label:
    """A label at the start of a line, such as `Action:`.

    Attributes:
        name: Its name in lower case.
        start: Where it starts.
        end: Where its field starts.
    """

    name: str
    start: int
    end: int


def next_label(text: str, start: int = 0) -> Label | None:
    """Returns the next label from a place on, or None."""
    mark = _LABEL.search(text, start)
    return None if mark is None else Label(mark[1].lower(), mark.start(), mark.end())


def label_at(text: str, start: int) -> Label | None:
    """Returns the label at a place, or None."""
    mark = _LABEL_HERE.match(text, start)
    return None if mark is None else Label(mark[1].lower(), mark.start(), mark.end())


def is_no_action(action: str) -> bool:
    """Returns True if an `Action:` names no tool, such as `Action: None`."""
    label = label_at(action, 0)
    text = action[label.end :] if label else action
    return bool(_NO_ACTION.fullmatch(text.strip("`* \n'\"[]()")))


def number_of_actions(text: str) -> int:
    """Returns how many `Action:` fields an answer has. Only the first is read."""
    marks = _LABEL.finditer(text[: label_start(text)])
    return sum(mark[1].lower() == "action" for mark in marks)


def _fields(text: str) -> dict[str, str]:
    """Returns the first of each labelled field, by its label in lower case.

    The field "" is the text before any label. Reading ends at a field of the environment, at a
    second action, and after the reply.
    """
    marks = list(_LABEL.finditer(text))
    fields = {"": text[: marks[0].start()].strip() if marks else text.strip()}
    for index, mark in enumerate(marks):
        label = mark[1].lower()
        is_last = index + 1 == len(marks)
        end = len(text) if is_last else marks[index + 1].start()
        if label in STOP_LABELS or (label == "action" and "action" in fields):
            break
        fields.setdefault(label, text[mark.end() : end].strip())
        if label in REPLY_LABELS and fields[label]:
            break
    return fields


def _read(
    text: str, functions: Sequence[Function], titles: Mapping[str, str], *, hint: str
) -> ReactAnswer:
    if len(text) > MAX_CHARACTERS:
        raise ReactError(f"the answer is longer than {MAX_CHARACTERS:,} characters; {hint}")
    fields = _fields(_FENCE.sub("", _MARKS.sub(" ", _without_thinking(text))))
    thought = fields.get("thought") or fields[""]
    action = fields.get("action", "").strip("`* \n")
    if not _NO_ACTION.fullmatch(action.strip("'\"[]()")):
        action_input = fields.get("action input")
        return ReactAnswer(thought, _actions(action, action_input, functions, titles, hint))
    for label in REPLY_LABELS:
        if fields.get(label):
            return ReactAnswer(thought, reply=fields[label])
    if "action" in fields or "action input" in fields:
        raise ReactError(f"`Action:` names no tool, and there is no reply; {hint}")
    if "thought" in fields:
        return _after_thought(fields["thought"], functions, titles, hint)
    return _without_labels(fields[""], functions, titles, hint)


def _without_thinking(text: str) -> str:
    """Drops the thinking section of a reasoning model, which is not its answer."""
    _, end, answer = text.rpartition("</think>")
    if end:
        return answer
    return "" if text.lstrip().startswith("<think>") else text


def _after_thought(
    thought: str, functions: Sequence[Function], titles: Mapping[str, str], hint: str
) -> ReactAnswer:
    """Reads an answer whose only label is `Thought:`.

    A reply follows AutoTOD's words `Do I need to use a tool? No`. A call may be on separate lines.
    A thought alone is neither a reply nor a call.
    """
    no_tool = _NO_TOOL.match(thought)
    if no_tool and (reply := thought[no_tool.end() :].strip()):
        return ReactAnswer(no_tool[0], reply=reply)
    first, _, rest = thought.partition("\n")
    found = _bare_calls(rest.strip(), functions, titles)
    if found:
        return ReactAnswer(first.strip(), found)
    raise ReactError(f"there is a thought, but no action and no reply; {hint}")


def _without_labels(
    text: str, functions: Sequence[Function], titles: Mapping[str, str], hint: str
) -> ReactAnswer:
    """Reads an answer without labels: calls, or words for the user."""
    if not text:
        raise ReactError(f"the answer is empty; {hint}")
    found = _bare_calls(text, functions, titles)
    if found:
        return ReactAnswer("", found)
    if _looks_like_call(text, functions, titles):
        raise ReactError(f"the call cannot be read; {hint}")
    return ReactAnswer("", reply=text)


def _bare_calls(
    text: str, functions: Sequence[Function], titles: Mapping[str, str]
) -> tuple[FunctionCall, ...]:
    """Returns the calls of a text that holds nothing else, or none."""
    if not _looks_like_call(text, functions, titles):
        return ()
    try:
        return _calls(text, functions, titles)
    except CallError:
        return ()


def _looks_like_call(text: str, functions: Sequence[Function], titles: Mapping[str, str]) -> bool:
    """Returns True if a text without a label starts like a call rather than like words."""
    start = text.lstrip("`[ \n")
    if start.startswith("{"):
        return True
    name = start.partition("(")[0].strip().lower()
    return "(" in start and (name in titles or name in {f.name.lower() for f in functions})


# --- Calls ---


def _actions(
    action: str,
    action_input: str | None,
    functions: Sequence[Function],
    titles: Mapping[str, str],
    hint: str,
) -> tuple[FunctionCall, ...]:
    try:
        name = action.partition("\n")[0].strip("\"'[] .")
        names_tool = "(" not in action and "{" not in action
        if names_tool and (action_input is not None or name.lower() in titles):
            return (FunctionCall(titles.get(name.lower(), name), _input(action_input or "")),)
        return _calls(action, functions, titles)
    except CallError as error:
        raise ReactError(f"the action cannot be read: {error}; {hint}") from error


def _calls(
    text: str, functions: Sequence[Function], titles: Mapping[str, str]
) -> tuple[FunctionCall, ...]:
    """Reads calls in JSON, or one call in Python's form.

    Raises:
        CallError: The text is something else.
    """
    text = text.strip("` \n*").rstrip(".; \n")
    if text.lstrip("[ \n").startswith("{"):
        found = [calls.from_any_record(record) for record in _json_records(text)]
        return tuple(FunctionCall(titles.get(c.name.lower(), c.name), c.arguments) for c in found)
    if text.startswith("["):
        if found := calls.parse_bracket(text):
            return tuple(found)
        raise CallError("the list of calls is empty")
    return (_call(text, functions, titles),)


def _json_records(text: str) -> list[Json]:
    """Reads JSON lists and objects that follow each other, or one with Python's quotes."""
    records: list[Json] = []
    rest = text
    try:
        while rest:
            value, end = model_decoder.raw_decode(rest)
            records += value if is_list(value) else [value]
            rest = rest[end:].lstrip(" \n,;")
    except (ValueError, RecursionError) as error:
        try:
            value = calls.parse_literal(text)
        except CallError:
            raise CallError(f"not JSON: {error}") from error
        return value if is_list(value) else [value]
    return records


_NAME = re.compile(r"[\w .\-]+")
# The counts are bounded, so that the time for a long answer is linear in its length.
_ARGUMENT = re.compile(r"(?:^|,)\s{0,40}[\"']?([A-Za-z_][\w ]{0,40}?)[\"']?\s{0,4}[=:]")
_CALL_START = re.compile(r"\w\(")


def _call(text: str, functions: Sequence[Function], titles: Mapping[str, str]) -> FunctionCall:
    """Reads one call in Python's form: strictly if possible, otherwise with unquoted values.

    Raises:
        CallError: The text is something else.
    """
    try:
        exact = calls.parse_python(text)
        return FunctionCall(titles.get(exact.name.lower(), exact.name), exact.arguments)
    except CallError:
        pass  # less strictly below
    head, inside, rest = _parenthesised(text)
    if _CALL_START.search(rest):
        raise CallError("there is more than one call; write one action at a time")
    name = titles.get(head.lower(), head)
    if not _NAME.fullmatch(name):
        raise CallError("expected a function name before `(`")
    try:
        arguments = calls.parse_python(f"f({inside})").arguments
    except CallError:
        arguments = _arguments(inside, _parameters(name, functions))
    return FunctionCall(name, arguments)


def _parenthesised(text: str) -> tuple[str, str, str]:
    """Splits `f(a=1) rest` at the parenthesis that closes the call.

    Parentheses are counted regardless of quotes, because an apostrophe in a value opens no quote.

    Raises:
        CallError: The opening or the closing parenthesis is missing.
    """
    head, opening, after = text.partition("(")
    if not opening:
        raise CallError(f"expected `function_name(argument='value')`, found {text[:40]!r}")
    depth = 1  # of parentheses
    for mark in re.finditer(r"[()]", after):
        depth += 1 if mark[0] == "(" else -1
        if depth == 0:
            return head.strip(), after[: mark.start()].strip(), after[mark.end() :].strip("` \n")
    raise CallError("the call has no closing parenthesis")


def _parameters(name: str, functions: Sequence[Function]) -> Sequence[str]:
    for function in functions:
        if function.name.lower() == name.lower():
            return (*function.required, *function.optional)
    return ()


def _arguments(inside: str, parameters: Sequence[str]) -> dict[str, Json]:
    """Reads the arguments of a call that is not Python: unquoted, positional, or a JSON object."""
    if inside.startswith("{"):
        value = calls.parse_literal(inside)
        if is_object(value):
            return value
    starts = list(_ARGUMENT.finditer(inside))
    arguments: dict[str, Json] = {}
    positional = inside[: starts[0].start()] if starts else inside
    for index, value in enumerate(_positional(positional)):
        if index >= len(parameters):
            raise CallError("a value has no argument name; write argument='value'")
        arguments[parameters[index]] = value
    for index, start in enumerate(starts):
        end = starts[index + 1].start() if index + 1 < len(starts) else len(inside)
        name = start[1].strip()
        if name in arguments:
            raise CallError(f"the argument `{name}` is given twice")
        arguments[name] = _value(inside[start.end() : end])
    return arguments


def _positional(text: str) -> list[Json]:
    text = text.strip(", \n")
    if not text:
        return []
    try:
        value = calls.parse_literal(f"[{text}]")
    except CallError:
        return [_value(part) for part in text.split(",")]
    return value if is_list(value) else [value]


def _value(text: str) -> Json:
    """Reads a value: a literal if it is one, otherwise the text without quotes around it."""
    text = text.strip(", \n")
    try:
        return calls.parse_literal(text)
    except CallError:
        pass
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1].replace("\\'", "'")
    inner = text.strip("[]")
    if ("," in inner and inner != text) or "{" in text:
        raise CallError(f"the value {text[:40]!r} is not one value")
    return inner


# --- AutoTOD's action input ---

_PAIR_START = re.compile(
    r"(?:^|[,;\n]| and )[-*\"' ]{0,4}([A-Za-z][A-Za-z _]{0,30}?)[\"']?[ ]?[:=]"
)


def _input(text: str) -> dict[str, Json]:
    """Reads `name: pizza hut, people: 2`, `area=north and stars=4`, or a JSON object.

    A comma or an `and` that is not followed by a slot belongs to the value.
    """
    text = re.sub(r"[ \t]+", " ", text.strip("` \n"))
    if text[:1] in ("'", '"') and text[-1:] == text[:1] and len(text) > 1:
        text = text[1:-1].strip()
    if _NO_ACTION.fullmatch(text):
        return {}
    if text.startswith("{"):
        value = calls.parse_literal(text.rstrip(". "))
        if is_object(value):
            return value
    starts = list(_PAIR_START.finditer(text))
    if not starts or text[: starts[0].start()].strip():
        raise CallError("write the action input as `slot: value, slot: value`")
    pairs: dict[str, Json] = {}
    for index, start in enumerate(starts):
        end = starts[index + 1].start() if index + 1 < len(starts) else len(text)
        name = " ".join(start[1].lower().split())
        value = text[start.end() : end].strip("'\"[],; \n")
        if index + 1 == len(starts):
            value = value.removesuffix(".")
        if name in pairs and pairs[name] != value:
            raise CallError(f"the slot `{name}` is given twice")
        pairs[name] = value.strip("'\"[] ")
    return pairs
