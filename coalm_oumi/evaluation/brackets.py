"""BFCL's default answer, `[func(a=1), other()]`, read as its own decoder reads it.

`default_decode_ast_prompting` of bfcl-eval parses the text as Python and evaluates any arithmetic
in it with `eval`, that is, runs what the model wrote. This reader accepts what that one accepts and
gives the same values, but computes arithmetic on literals itself and refuses all else.
"""

import ast
import itertools
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from coalm_oumi.calls import MAX_DEPTH, CallError, FunctionCall

MAX_TEXT = 100_000
"""Longer answers are refused: no benchmark has them."""

_MAX_REPEAT = 1000
_TAGGED = re.compile(r"<TOOLCALL>(.*?)</TOOLCALL>", re.DOTALL)
_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def parse(text: str) -> list[FunctionCall]:
    """Reads calls with Python's own syntax, without evaluating anything.

    As in BFCL's decoder: the outer brackets may be missing; arguments without a name are dropped;
    a bare name is text; a call as a value is `{name: arguments}`, or text where it has no named
    argument; a tuple stays one; a sign in front of a number turns it negative.

    Raises:
        CallError: The text is something else.
    """
    text = text.strip("`\n ").strip("[]'")
    if len(text) > MAX_TEXT:
        raise CallError(f"longer than {MAX_TEXT} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd escapes in text are the model's matter
            body = ast.parse(text, mode="eval").body
        return [_call(node) for node in _calls(body)]
    except CallError:
        raise
    except RecursionError as error:
        raise CallError("nested too deeply") from error
    except (SyntaxError, ValueError, MemoryError, ArithmeticError, TypeError) as error:
        raise CallError(f"not a list of calls: {error}") from error


def harmless(text: str) -> str:
    """Returns the text itself, unless BFCL's decoder would evaluate more in it than `parse` does.

    Unlike what `parse` accepts, it may be anything else: a message, or calls in another form.
    """
    seen = text.strip("`\n ")
    seen = ("" if seen.startswith("[") else "[") + seen + ("" if seen.endswith("]") else "]")
    tagged = _TAGGED.search(seen)
    found = [seen, tagged.group(1)] if tagged else [seen]
    return text if all(map(_is_harmless, found)) else ""


def _is_harmless(text: str) -> bool:
    """Says whether a text holds nothing that BFCL's decoder evaluates, or `parse` reads it."""
    if len(text) > MAX_TEXT:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(text.strip().strip("'"), mode="eval").body
    except (SyntaxError, ValueError):
        return True  # the decoder parses it just so, and fails just so
    except (RecursionError, MemoryError):
        return False
    # The decoder gives up at the first thing that is not a call.
    nodes = [body] if isinstance(body, ast.Call) else getattr(body, "elts", [])
    read = itertools.takewhile(lambda node: isinstance(node, ast.Call), nodes)
    inner = itertools.chain.from_iterable(map(ast.walk, read))
    if not any(isinstance(node, ast.BinOp | ast.Lambda) for node in inner):
        return True
    try:
        parse(text)
    except CallError:
        return False
    return True


def to_execution(call: FunctionCall) -> str:
    """Writes a call as BFCL executes it in its multi-turn categories, nested calls included.

    Raises:
        CallError: An argument is an empty mapping, at which BFCL's own writer fails.
    """
    return f"{call.name}({_arguments(call.arguments)})"


def _arguments(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_execution_value(value)}" for name, value in arguments.items())


def _execution_value(value: Any) -> str:
    if not isinstance(value, dict):
        return repr(value)
    if not value:
        raise CallError("an argument is an empty mapping")
    if all(isinstance(inner, dict) for inner in value.values()):
        name, arguments = next(iter(value.items()))
        return f"{name}({_arguments(arguments)})"
    items = (f"'{key}': {_execution_value(inner)}" for key, inner in value.items())
    return "{" + ", ".join(items) + "}"


def _calls(body: ast.expr) -> list[ast.Call]:
    if isinstance(body, ast.Call):
        return [body]
    if not isinstance(body, ast.Tuple | ast.List | ast.Set):
        raise CallError("expected calls")
    calls = [node for node in body.elts if isinstance(node, ast.Call)]
    if len(calls) < len(body.elts):
        raise CallError("expected nothing but calls")
    return calls


def _call(node: ast.Call) -> FunctionCall:
    return FunctionCall(_name(node.func), _named(node, depth=0))


def _name(function: ast.expr) -> str:
    parts: list[str] = []
    node = function
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        parts.append(node.id)
    # Where there is no name at all, BFCL's decoder has an empty one.
    return ".".join(reversed(parts)) or ast.unparse(function)


def _named(node: ast.Call, depth: int) -> dict[str, Any]:
    # BFCL's decoder names what stands after two asterisks `None`, which JSON writes as null.
    return {word.arg or "null": _value(word.value, depth) for word in node.keywords}


def _value(node: ast.expr | None, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise CallError(f"nested deeper than {MAX_DEPTH} levels")
    match node:
        case ast.Constant(value=value):
            return "..." if value is ... else value
        case ast.UnaryOp(operand=ast.Constant(value=int() | float() | complex() as number)):
            return -number
        case ast.List(elts=items):
            return [_value(item, depth + 1) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_value(item, depth + 1) for item in items)
        case ast.Dict(keys=keys, values=values):
            pairs = zip(keys, values, strict=True)
            return {_value(key, depth + 1): _value(value, depth + 1) for key, value in pairs}
        case ast.BinOp():
            return _arithmetic(node, depth)
        case ast.Name(id=name):
            return name
        case ast.Call(keywords=[]):
            return ast.unparse(node)
        case ast.Call():
            return {_name(node.func): _named(node, depth + 1)}
        case ast.Subscript(value=value, slice=index):
            return f"{ast.unparse(value)}[{ast.unparse(index)}]"
    raise CallError(f"{type(node).__name__} is not a value")


def _arithmetic(node: ast.expr, depth: int) -> Any:
    """Computes what BFCL evaluates, as far as it is arithmetic on literals and small."""
    if depth > MAX_DEPTH:
        raise CallError(f"nested deeper than {MAX_DEPTH} levels")
    match node:
        case ast.Constant(value=int() | float() | complex() | str() as value):
            return value
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            value = _arithmetic(operand, depth + 1)
            return -value if isinstance(sign, ast.USub) else +value
        case ast.List(elts=items):
            return [_arithmetic(item, depth + 1) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_arithmetic(item, depth + 1) for item in items)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
            first, second = _arithmetic(left, depth + 1), _arithmetic(right, depth + 1)
            if isinstance(sign, ast.Mod) and isinstance(first, str):
                raise CallError("text formatting is not a value")
            if isinstance(sign, ast.Mult):
                _check_repeat(first, second)
            return _OPERATORS[type(sign)](first, second)
    raise CallError("only arithmetic on numbers, text and lists is a value")


def _check_repeat(first: Any, second: Any) -> None:
    """Refuses text or lists that a multiplication would blow up."""
    for value, times in ((first, second), (second, first)):
        if isinstance(value, str | list | tuple) and len(value) * max(int(times), 0) > _MAX_REPEAT:
            raise CallError("a repeated value is too long")
