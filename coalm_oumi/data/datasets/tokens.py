"""Turns a prompt and its target into token ids whose loss falls on the target only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.rendering import prompts

IGNORE_INDEX = -100
"""PyTorch's cross entropy skips this label."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One tokenised sample.

    Attributes:
        input_ids: Prompt, target and end-of-turn token.
        prompt_length: How many of these are the prompt's, which carries no loss.
    """

    input_ids: list[int]
    prompt_length: int

    @property
    def labels(self) -> list[int]:
        """The same length as `input_ids`: `IGNORE_INDEX` on the prompt, the ids from there on."""
        return [IGNORE_INDEX] * self.prompt_length + self.input_ids[self.prompt_length :]


def user_message(instruction: str, input_text: str) -> str:
    """Joins a sample's instruction and input as Alpaca does."""
    return prompts.render("alpaca", instruction=instruction, input=input_text)


def encode(tokenizer: Any, users: Sequence[str], targets: Sequence[str]) -> list[Encoded]:
    """Tokenises a batch of one-turn conversations.

    The prompt is tokenised as the chat template writes it for generation, and the target apart from
    it, so that training sees the token boundary that inference sees. The sequence ends with the
    token that ends the assistant's turn; what a chat template writes after it is never generated.
    White space around a target is not learned: some templates cut it off.

    Args:
        tokenizer: A tokenizer with a chat template.
        users: What the user says, one text a sample.
        targets: What the assistant answers, one text a sample.

    Raises:
        CoalmError: The chat template does not keep prompt and target apart, or does not close
            the assistant's turn.
    """
    targets = [target.strip() for target in targets]
    rendered = [_render(tokenizer, *pair) for pair in zip(users, targets, strict=True)]
    closings = {closing: _end_of_turn(tokenizer, closing) for _, closing in rendered}
    prompt_ids = _tokenize(tokenizer, [prompt for prompt, _ in rendered])
    target_ids = _tokenize(tokenizer, targets)
    return [
        Encoded([*prompt, *target, *closings[closing]], prompt_length=len(prompt))
        for prompt, target, (_, closing) in zip(prompt_ids, target_ids, rendered, strict=True)
    ]


def _tokenize(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Tokenises texts as they are. The fast tokenizer's own batch call spares what is not used."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return [found.ids for found in backend.encode_batch_fast(texts, add_special_tokens=False)]


def _render(tokenizer: Any, user: str, target: str) -> tuple[str, str]:
    """Returns the prompt's text, and what the template writes after the target."""
    messages = [{"role": "user", "content": user}]
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    messages.append({"role": "assistant", "content": target})
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    if not whole.startswith(prompt + target):
        raise CoalmError(
            "the tokenizer's chat template does not write the target right after the generation "
            "prompt; choose another with `model.chat_template` in the recipe"
        )
    return prompt, whole[len(prompt) + len(target) :]


def _end_of_turn(tokenizer: Any, closing: str) -> list[int]:
    """Returns the tokens up to and with the first special one, which generation stops at."""
    ids = tokenizer(closing, add_special_tokens=False)["input_ids"]
    special = set(tokenizer.all_special_ids)
    for count, token in enumerate(ids, start=1):
        if token in special:
            return ids[:count]
    raise CoalmError(
        "the tokenizer's chat template does not close the assistant's turn with a special token, "
        "so the model would never learn to stop; choose another with `model.chat_template`"
    )
