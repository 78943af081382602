"""Writes models and tokenizers so that Transformers 4.57 and 5 both read them.

vLLM 0.14, the release that Oumi supports, requires 4.57. Remove this module when Oumi supports a
vLLM with Transformers 5.
"""

from pathlib import Path
from typing import Any

from coalm_oumi.core.jsontext import is_list, is_object
from coalm_oumi.files.jsontext import read_json, write_json


def save(part: Any, folder: Path) -> None:
    """Saves a model or a tokenizer for both releases.

    Args:
        part: A Transformers model, or a fast tokenizer.
        folder: The folder to write to. Other files in it stay.
    """
    part.save_pretrained(folder)
    rewrite_configs(folder)


def rewrite_configs(folder: Path) -> None:
    """Rewrites the configurations in a folder with the names that both releases know.

    Args:
        folder: The folder of a model, a tokenizer or both.
    """
    for name, rewrite in (("config.json", _model), ("tokenizer_config.json", _tokenizer)):
        file = folder / name
        if file.is_file():
            config: dict[str, Any] = read_json(file)
            rewrite(config)
            write_json(file, config)


def _model(config: dict[str, Any]) -> None:
    """Adds the rotary embedding's settings under the names of 4.57.

    Transformers 5 writes only `rope_parameters`. 4.57 silently ignores it and uses its default base
    of 10,000, where Llama 3.1 has 500,000.
    """
    if is_object(text := config.get("text_config")):
        _model(text)
    rope = config.get("rope_parameters")
    if not is_object(rope):
        return
    # Gemma 3 has two kinds of layers.
    if is_object(sliding := rope.get("sliding_attention")):
        config.setdefault("rope_local_base_freq", sliding["rope_theta"])
    rope = rope.get("full_attention", rope)
    if "rope_theta" in rope:
        config.setdefault("rope_theta", rope["rope_theta"])
    if rope.get("rope_type", "default") != "default":
        scaling = {name: value for name, value in rope.items() if name != "rope_theta"}
        config.setdefault("rope_scaling", scaling)


def _tokenizer(config: dict[str, Any]) -> None:
    """Changes the names of Transformers 5's own class and of extra special tokens.

    By default, 4.57's own class also returns `token_type_ids`, which a decoder refuses to generate
    from.
    """
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    if config.get("tokenizer_class") == "PreTrainedTokenizerFast":
        config.setdefault("model_input_names", ["input_ids", "attention_mask"])
    if is_list(config.get("extra_special_tokens")):
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
