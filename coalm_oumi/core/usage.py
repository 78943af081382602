"""Counts tokens. Separate from `chat`, so that starting Oumi does not load its client."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written.

    Attributes:
        input_tokens: Those of the prompt.
        output_tokens: Those generated, hidden reasoning included.
    """

    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        """Returns the sum."""
        return Usage(
            self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens
        )
