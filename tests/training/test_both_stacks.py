"""Folders that one stack wrote, read by the other: Transformers 5 here, and 4.57 of the GPU stack."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from coalm_oumi.cli.app import main
from coalm_oumi.training.model_folder import save
from coalm_oumi.training.trainer import CoalmSftConfig, CoalmSftTrainer
from tests.conftest import REPO

STACK = REPO / ".gpu-stack/bin/python"
TEXT = "<|im_start|>user\nBook a table for 2.<|im_end|>\n"
LOOK = f"""
import json, sys, torch, transformers
assert transformers.__version__.startswith("4.")
tokenizer = transformers.AutoTokenizer.from_pretrained(sys.argv[1])
ids = tokenizer({TEXT!r})["input_ids"]
found = dict(ids=ids, template=tokenizer.chat_template, special=sorted(tokenizer.all_special_tokens))
if len(sys.argv) > 2:
    model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
    found["logits"] = model(torch.tensor([ids])).logits[0, -1, :8].tolist()
    model.save_pretrained(sys.argv[2])
    tokenizer.save_pretrained(sys.argv[2])
print(json.dumps(found))
"""

pytestmark = [
    pytest.mark.gpu_stack,
    pytest.mark.skipif(
        not (REPO / ".gpu-stack/.installed").is_file(),
        reason="`make gpu-stack` installs the other stack",
    ),
]


def look(*folders: Path) -> dict[str, object]:
    """What the other stack reads in the first folder. It writes that again into a second one."""
    done = subprocess.run([STACK, "-c", LOOK, *map(str, folders)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def here(folder: Path) -> dict[str, object]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    special = sorted(tokenizer.all_special_tokens)
    return {"ids": tokenizer(TEXT)["input_ids"], "template": tokenizer.chat_template,
            "special": special}  # fmt: skip


def test_what_is_trained_and_merged_here_is_read_there_and_back(
    tiny_model: Path, tokenizer, tmp_path: Path
):
    import datasets
    import peft

    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    rows = datasets.Dataset.from_list([{"input_ids": [1, 2], "labels": [1, 2]}])
    trainer = CoalmSftTrainer(
        model=peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=["q_proj"])),
        processing_class=tokenizer,
        train_dataset=rows,
        args=CoalmSftConfig(
            output_dir=str(tmp_path / "trained"), use_cpu=True, bf16=False, report_to="none",
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
    )  # fmt: skip
    trainer.save_model()
    assert look(tmp_path / "trained") == here(tmp_path / "trained")

    merged, again = tmp_path / "merged", tmp_path / "again"
    assert main(["merge", str(tmp_path / "trained"), str(merged), "--dtype", "float32"]) == 0
    found = look(merged, again)
    logits = found.pop("logits")
    assert found == here(merged) == here(again)
    for folder in (merged, again):
        back = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        answer = back(torch.tensor([found["ids"]])).logits[0, -1, :8].tolist()
        assert answer == pytest.approx(logits, abs=1e-4)


SMALL: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
    "max_position_embeddings": 4096,
}  # fmt: skip
SCALED = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 32}  # fmt: skip
PLAIN = {"rope_type": "default", "rope_theta": 1e6}
KINDS: dict[str, dict[str, Any]] = {
    "llama": {"rope_parameters": SCALED},
    "qwen2": {"rope_parameters": PLAIN},
    "mistral": {"rope_parameters": PLAIN, "sliding_window": None},
    "gemma3_text": {
        "query_pre_attn_scalar": 16,
        "layer_types": ["sliding_attention", "full_attention"],
    },
}
LOGITS = """
import json, sys, torch, transformers
ids = torch.arange(4, 60)[None]
for folder in sys.argv[1:]:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    print(json.dumps(model(ids).logits[0, -1, :8].tolist()))
"""


def test_positions_are_turned_alike(tmp_path: Path):
    """The base and scaling of rotary embeddings, of each family that recipes and docs name."""
    expected: list[list[float]] = []
    for kind, settings in KINDS.items():
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model(kind, **SMALL, **settings)
        model = transformers.AutoModelForCausalLM.from_config(config)
        for weight in model.parameters():  # large enough for positions to matter
            torch.nn.init.normal_(weight, std=0.3)
        save(model, tmp_path / kind)
        ids = torch.arange(4, 60)[None]
        again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / kind)
        expected.append(again(ids).logits[0, -1, :8].tolist())
        assert expected[-1] == pytest.approx(model.eval()(ids).logits[0, -1, :8].tolist(), abs=1e-5)
    done = subprocess.run(
        [STACK, "-c", LOGITS, *(tmp_path / kind for kind in KINDS)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    for kind, mine, theirs in zip(KINDS, expected, found, strict=True):
        assert theirs == pytest.approx(mine, abs=1e-4), kind
