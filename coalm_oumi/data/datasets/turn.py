"""Finds out by a trial conversation how a chat template writes the assistant's turn."""

import re
from collections.abc import Sequence
from typing import Any

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.wording import one_line

_USER = "What does the Trial user ask?"
_TARGET = "This is the Trial answer: {'a': 1}."
"""Text that no template contains, and that a template which changes case would change."""

_EMPTY_THOUGHT = re.compile(r"<think>\s*</think>")
_OPEN_THOUGHT = re.compile(r"<think>\s*$")


def generation_prompt(tokenizer: Any, user: str, system: str = "") -> str:
    """Returns the text that a model reads before it answers.

    Args:
        tokenizer: A tokenizer with a chat template.
        user: The user's message.
        system: A system prompt; empty for none.

    Raises:
        CoalmError: There is no chat template, or it cannot write a plain conversation.
    """
    messages = [{"role": "user", "content": user}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    return _render(tokenizer, messages, add_generation_prompt=True)


def end_of_turn(tokenizer: Any) -> list[int]:
    """Returns the tokens that end the assistant's turn, from a trial conversation.

    Two differences between the prompt and the whole conversation are allowed, because the model
    reads the prompt at inference and nothing else. White space before the target (Mistral, Llama 2)
    is left out. So is an empty thinking block (Qwen3): the model learns to answer at once.

    Returns:
        The added tokens right after the target, white space aside: `<|im_end|>`, or Cohere's
        `<|END_RESPONSE|>` and `<|END_OF_TURN_TOKEN|>`. What follows these is never generated, such
        as the `<|endoftext|>` that Phi 3.5 writes at the end of a conversation.

    Raises:
        CoalmError: The template does not keep prompt and target apart, does not close the turn, or
            leaves the user's words out. The message says which.
    """
    user = {"role": "user", "content": _USER}
    prompt = generation_prompt(tokenizer, _USER)
    whole = _render(tokenizer, [user, {"role": "assistant", "content": _TARGET}])
    before, target, after = whole.rpartition(_TARGET)
    if target and _OPEN_THOUGHT.search(prompt):
        raise _refusal(
            "opens a block of thoughts (`<think>`) in the generation prompt, and a target has none"
        )
    if not target or _without_thought(before) != _without_thought(prompt):
        added = before[len(prompt) :] if target and before.startswith(prompt) else ""
        between = f" (it writes {added.strip()!r} between the two)" if added else ""
        raise _refusal(f"does not write the target right after the generation prompt{between}")
    if _USER not in prompt:
        raise _refusal("does not write what the user says as plain text")
    tokens = _closing_tokens(tokenizer, after.lstrip())
    if not tokens:
        raise _refusal(
            "does not close the assistant's turn with a special token, so the model would never "
            "learn to stop"
        )
    return tokens


def _render(tokenizer: Any, messages: Sequence[Any], **options: bool) -> str:
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, **options)
    except Exception as error:  # a template is a program: it may raise anything
        raise _refusal(f"cannot write a plain conversation of text ({one_line(error)})") from error


def _without_thought(text: str) -> str:
    return _EMPTY_THOUGHT.sub("", text).rstrip()


def _closing_tokens(tokenizer: Any, text: str) -> list[int]:
    """Returns the added tokens that a text starts with, up to the one that ends generation.

    Some turns close with several (Cohere's), and some templates open the next turn at once (Llama
    3's first one): the tokenizer's own `eos_token` is the last if it is among them, else the first.
    """
    added: dict[str, int] = dict(tokenizer.get_added_vocab())
    for token in tokenizer.all_special_tokens:  # some are in the vocabulary proper
        added.setdefault(token, tokenizer.convert_tokens_to_ids(token))
    found: list[int] = []
    while text and not text[0].isspace():  # Gemma's line breaks are added tokens
        matching = [token for token in added if token and text.startswith(token)]
        if not matching:
            break
        longest = max(matching, key=len)
        found.append(added[longest])
        if longest == tokenizer.eos_token:
            return found
        text = text[len(longest) :]
    return found[:1]


def _refusal(what: str) -> CoalmError:
    return CoalmError(
        f"the tokenizer's chat template {what}; choose another with `model.chat_template` in the "
        "recipe"
    )
