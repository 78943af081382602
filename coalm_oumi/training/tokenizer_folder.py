"""Writes a tokenizer's folder so that Transformers 4.57 and 5 both read it."""

from pathlib import Path
from typing import Any

from coalm_oumi.files.jsontext import read_json, write_json


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Saves a tokenizer.

    Transformers 5 names its own class `TokenizersBackend` and lists extra special tokens under
    `extra_special_tokens`; 4.57, which vLLM 0.14 requires, knows neither. Both know the names that
    are written here instead.

    Args:
        tokenizer: A fast tokenizer.
        folder: Where to. Other files there stay.
    """
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    config: dict[str, Any] = read_json(file)
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(config.get("extra_special_tokens"), list):
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    write_json(file, config)
