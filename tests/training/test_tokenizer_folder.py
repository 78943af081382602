"""Folders of tokenizers that older and newer Transformers read."""

import json
from pathlib import Path

import transformers

from coalm_oumi.training.tokenizer_folder import save_tokenizer


def test_a_folder_names_what_both_releases_know(demo_model: Path, tmp_path: Path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(demo_model)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|call|>", "<|reply|>"]})
    save_tokenizer(tokenizer, tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert not config.get("extra_special_tokens"), "a list, which 4.57 cannot read"
    again = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text = "<|im_start|>user\nCall <|call|> it.<|reply|>  "
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert set(again(text)) == {"input_ids", "attention_mask"}, "what a decoder generates from"
    assert set(again.all_special_tokens) == set(tokenizer.all_special_tokens)
    assert again.chat_template == tokenizer.chat_template
    assert again.model_max_length == tokenizer.model_max_length


def test_the_demos_model_is_such_a_folder(demo_model: Path):
    config = json.loads((demo_model / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
