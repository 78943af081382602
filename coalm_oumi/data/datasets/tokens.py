"""Turns a prompt and its target into token ids whose loss falls on the target only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.data.datasets.turn import end_of_turn, generation_prompt
from coalm_oumi.rendering import prompts

IGNORE_INDEX = -100
"""PyTorch's cross entropy skips this label."""

_ROUND_TRIP = 'Action: f({"a": [1, 2]})\nThe <s> is  text.'

VERSION = 2
"""Part of the name of cached tokens. Raise it when `encode` returns different tokens. A test
compares its tokens with recorded ones."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One tokenised sample.

    Attributes:
        input_ids: Prompt, target and end-of-turn token.
        prompt_length: The number of tokens of the prompt, which carries no loss.
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


def encode(
    tokenizer: Any,
    users: Sequence[str],
    targets: Sequence[str],
    systems: Sequence[str] | None = None,
) -> list[Encoded]:
    """Tokenises a batch of one-turn conversations.

    The prompt is tokenised as the chat template writes it for generation, and the target
    separately, so that training sees the same token boundary as inference. The sequence ends with
    the token that ends the assistant's turn, because what a chat template writes after it is never
    generated. White space around a target is not learned, because some templates cut it off. If a
    target contains the text of a special token, such as `<s>` or `<|eot_id|>`, it stays text.

    Args:
        tokenizer: A tokenizer with a chat template.
        users: The user's messages, one per sample.
        targets: The assistant's answers, one per sample.
        systems: The system prompts, one per sample; None for no system prompts.

    Raises:
        CoalmError: The chat template does not keep prompt and target apart, or does not close
            the assistant's turn, or the tokenizer loses characters.
    """
    closing = end_of_turn(tokenizer)
    _check_round_trip(tokenizer)
    systems = systems or [""] * len(users)
    asked = [generation_prompt(tokenizer, *pair) for pair in zip(users, systems, strict=True)]
    prompt_ids = _tokenize(tokenizer, asked)
    target_ids = _tokenize(tokenizer, [target.strip() for target in targets], only_text=True)
    return [
        Encoded([*prompt, *target, *closing], prompt_length=len(prompt))
        for prompt, target in zip(prompt_ids, target_ids, strict=True)
    ]


def _check_round_trip(tokenizer: Any) -> None:
    """Checks that decoding gives back the encoded text.

    Transformers 5 rebuilds a tokenizer from the class that its folder names. DeepSeek V3's folder
    names Llama's class, whose rules lose its spaces.
    """
    (ids,) = _tokenize(tokenizer, [_ROUND_TRIP], only_text=True)
    text = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    if text != _ROUND_TRIP:
        raise CoalmError(
            f"the tokenizer ({type(tokenizer).__name__}) does not give text back as it was: "
            f"{_ROUND_TRIP!r} became {text!r}; correct `tokenizer_class` in its "
            "tokenizer_config.json (`PreTrainedTokenizerFast` takes tokenizer.json as it is)"
        )


def _tokenize(tokenizer: Any, texts: Sequence[str], *, only_text: bool = False) -> list[list[int]]:
    """Tokenises texts without templates.

    The fast tokenizer's own batch call leaves out offsets and masks, which are not needed here.

    Args:
        tokenizer: The tokenizer.
        texts: The texts.
        only_text: Read the text of a special token as text.
    """
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    before = backend.encode_special_tokens
    backend.encode_special_tokens = only_text
    try:
        encodings = backend.encode_batch_fast(texts, add_special_tokens=False)
    finally:
        backend.encode_special_tokens = before
    return [encoding.ids for encoding in encodings]
