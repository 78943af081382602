"""Folders of tokenizers that older and newer Transformers read."""

import json
from pathlib import Path

import transformers

from coalm_oumi.training.model_folder import save


def test_a_folder_names_what_both_releases_know(demo_model: Path, tmp_path: Path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(demo_model)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|call|>", "<|reply|>"]})
    save(tokenizer, tmp_path)
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


def test_rotary_positions_by_the_names_of_4_57(tmp_path: Path):
    """Llama 3.1's base and scaling, which 4.57 would replace by its default."""
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 64}  # fmt: skip
    config = transformers.LlamaConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, rope_theta=500000.0, rope_scaling=dict(scaling),
    )  # fmt: skip
    save(transformers.LlamaForCausalLM(config), tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["rope_theta"] == 500000.0
    assert written["rope_scaling"] == scaling
    again = transformers.AutoConfig.from_pretrained(tmp_path)
    for name in ("rope_parameters", "rope_theta", "rope_scaling"):  # what this release has
        assert getattr(again, name, None) == getattr(config, name, None)
