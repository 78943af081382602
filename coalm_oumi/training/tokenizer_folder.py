"""Writes a tokenizer's folder so that Transformers 4.57 and 5 both read it."""

from pathlib import Path
from typing import Any

from coalm_oumi.files.jsontext import read_json, write_json


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Saves a tokenizer for both releases.

    Args:
        tokenizer: A fast tokenizer.
        folder: Where to. Other files there stay.
    """
    tokenizer.save_pretrained(folder)
    rewrite_config(folder)


def rewrite_config(folder: Path) -> None:
    """Writes the configuration of a saved tokenizer by the names that both releases know.

    Transformers 5 names its own class `TokenizersBackend` and lists extra special tokens under
    `extra_special_tokens`; 4.57, which vLLM 0.14 requires, knows neither. By default, 4.57's own
    class also returns `token_type_ids`, which a decoder refuses to generate from. This can go when
    Oumi takes a vLLM that takes Transformers 5.

    Args:
        folder: Where the tokenizer is, if there is one.
    """
    file = folder / "tokenizer_config.json"
    if not file.is_file():
        return
    config: dict[str, Any] = read_json(file)
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    if config.get("tokenizer_class") == "PreTrainedTokenizerFast":
        config.setdefault("model_input_names", ["input_ids", "attention_mask"])
    if isinstance(config.get("extra_special_tokens"), list):
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    write_json(file, config)
