"""Merging, quantising, describing and publishing what was trained."""

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
import transformers
import yaml

from coalm_oumi.cli.app import main
from coalm_oumi.files.jsontext import read_json
from tests.conftest import REPO
from tests.support.hub_server import hub


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter by the recipe's own settings, whose B is not zero."""
    import peft

    from coalm_oumi.training.recipe import read_recipe

    folder = tmp_path_factory.mktemp("adapter")
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)
    tuned = peft.get_peft_model(base, read_recipe(REPO / "recipes/coalm_8b.yaml").peft.to_lora())
    torch.manual_seed(0)
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.05)
    tuned.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


def logits(model: transformers.PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model.float()(input_ids=torch.arange(1, 40)[None]).logits


def test_a_merged_model_answers_as_its_adapter(adapter: Path, tiny_model: Path, tmp_path: Path):
    import peft

    output = tmp_path / "merged"
    assert main(["merge", str(adapter), str(output)]) == 0
    merged = transformers.AutoModelForCausalLM.from_pretrained(output, dtype="auto")
    assert merged.dtype == torch.bfloat16
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_model)
    untuned = logits(base)
    tuned = logits(peft.PeftModel.from_pretrained(base, str(adapter)))
    assert (logits(merged) - tuned).abs().mean() < 0.05 * (untuned - tuned).abs().mean()
    assert transformers.AutoTokenizer.from_pretrained(output).chat_template


def test_what_cannot_be_merged(adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["merge", str(tmp_path), str(tmp_path / "out")]) == 1
    assert "no adapter_config.json" in capsys.readouterr().err
    assert main(["merge", str(adapter), str(tmp_path)]) == 1
    assert "already exists" in capsys.readouterr().err
    assert main(["merge", str(adapter), str(tmp_path / "out"), "--base", "no/where"]) == 1
    assert "name another with --base" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_quantised_once(adapter: Path, tiny_model: Path, tmp_path: Path, capsys):
    output = tmp_path / "nf4"
    recipe = str(REPO / "recipes/coalm_405b.yaml")
    assert main(["quantize", "-c", recipe, str(output), "--model", str(tiny_model)]) == 0
    model = transformers.AutoModelForCausalLM.from_pretrained(output, dtype=torch.bfloat16)
    layer = model.model.layers[0].mlp.up_proj
    assert layer.weight.dtype == torch.bfloat16, "stored so that FSDP can shard it"
    assert layer.weight.numel() == 64 * 128 / 4
    assert layer.weight.quant_state.quant_type == "nf4"
    assert layer.weight.quant_state.nested
    capsys.readouterr()
    assert main(["merge", str(adapter), str(tmp_path / "out"), "--base", str(output)]) == 1
    assert "is quantised" in capsys.readouterr().err
    full = str(REPO / "recipes/coalm_8b.yaml")
    assert main(["quantize", "-c", full, str(tmp_path / "other")]) == 1
    assert "does not quantise" in capsys.readouterr().err


def test_a_recipe_that_cannot_be_read_is_one_line(tmp_path: Path, capsys):
    text = (REPO / "recipes/coalm_405b.yaml").read_text()
    (tmp_path / "bad.yaml").write_text(text.replace("_str: bfloat16", "_str: bf17"))
    for command in (["card", str(tmp_path)], ["quantize", str(tmp_path / "out")]):
        for name, reason in (("bad.yaml", "bf17"), ("none.yaml", "no such file")):
            assert main([*command, "-c", str(tmp_path / name)]) == 1
            line = capsys.readouterr().err.strip().splitlines()[-1]
            assert line.startswith("error: ") and reason in line


def copied(adapter: Path, folder: Path, *, base: str) -> Path:
    """An adapter of another base model: what training on it would have written."""
    copy = folder / "adapter"
    shutil.copytree(adapter, copy)
    settings = read_json(copy / "adapter_config.json")
    (copy / "adapter_config.json").write_text(
        json.dumps({**settings, "base_model_name_or_path": base})
    )
    return copy


def test_the_card_says_what_was_done_and_goes_to_the_hub(
    adapter: Path, mixture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    adapter = copied(adapter, tmp_path, base="meta-llama/Llama-3.1-8B-Instruct")
    recipe = yaml.safe_load((REPO / "recipes/coalm_8b.yaml").read_text())
    recipe["data"]["train"]["datasets"][0]["dataset_path"] = str(mixture)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    state = '{"log_history": [{"loss": 2.0, "step": 1}, {"loss": 1.0, "step": 2}]}'
    (adapter / "trainer_state.json").write_text(state)
    (adapter / "optimizer.pt").write_bytes(b"not to be published")
    with hub(tmp_path / "hub") as address:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        api = huggingface_hub.HfApi(endpoint=address, token="hf_test")
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api)
        arguments = ["card", str(adapter), "-c", str(tmp_path / "recipe.yaml")]
        assert main([*arguments, "--push-to-hub", "me/coalm"]) == 0
    card = (adapter / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["base_model"] == "meta-llama/Llama-3.1-8B-Instruct"
    assert head["license"] == "llama3.1"
    assert head["library_name"] == "peft"
    for line in (
        "| train | snips |", "| learning rate | 0.0001, linear |", "| length | 3 epochs |",
        "| LoRA | r=16, alpha=32 |", "loss | 2.0000 at step 1, 1.0000 at step 2 |",
        "None recorded.",
    ):  # fmt: skip
        assert line in card
    sent = {file.name for file in (tmp_path / "hub/me/coalm").iterdir()}
    assert {"README.md", "adapter_model.safetensors", "adapter_config.json"} <= sent
    assert "optimizer.pt" not in sent


def test_the_card_states_the_run_and_refuses_another_recipe(
    adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    recipe = REPO / "recipes/coalm_8b.yaml"
    folder = copied(adapter, tmp_path, base="./model")
    assert main(["card", str(folder)]) == 1
    assert "no telemetry/training_config.yaml of the run" in capsys.readouterr().err
    assert main(["card", str(folder), "-c", str(recipe)]) == 1
    assert "base model is `meta-llama/Llama-3.1-8B-Instruct` in the recipe and `./model` in" in (
        capsys.readouterr().err
    )
    run = yaml.safe_load(recipe.read_text())
    run["model"]["model_name"] = "./model"
    run["training"]["learning_rate"] = 3e-4
    (folder / "telemetry").mkdir()
    (folder / "telemetry/training_config.yaml").write_text(yaml.safe_dump(run))
    (folder / "trainer_state.json").write_text('{"log_history": []}')
    assert main(["card", str(folder)]) == 0
    card = (folder / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert "base_model" not in head and head["license"] == "other"
    assert "# CoALM\n" in card and "| learning rate | 0.0003, linear |" in card
    assert "--lora-modules coalm=THIS_FOLDER --max-lora-rank 16" in card
    run["training"]["learning_rate"] = 1e-4
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(run))
    capsys.readouterr()
    assert main(["card", str(folder), "-c", str(tmp_path / "other.yaml")]) == 1
    assert "learning rate is `0.0001, linear` in the recipe and `0.0003, linear` in" in (
        capsys.readouterr().err
    )
    run["peft"]["lora_r"] = 8
    (folder / "telemetry/training_config.yaml").write_text(yaml.safe_dump(run))
    assert main(["card", str(folder)]) == 1
    assert "LoRA r is `8` in the recipe and `16`" in capsys.readouterr().err


def test_the_card_of_a_merged_model_states_the_run(
    adapter: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = yaml.safe_load((REPO / "recipes/coalm_8b.yaml").read_text())
    run["model"]["model_name"] = str(tiny_model)
    folder = copied(adapter, tmp_path, base=str(tiny_model))
    (folder / "telemetry").mkdir(exist_ok=True)
    (folder / "telemetry/training_config.yaml").write_text(yaml.safe_dump(run))
    merged = tmp_path / "merged"
    assert main(["merge", str(folder), str(merged), "--dtype", "float32"]) == 0
    assert main(["card", str(merged)]) == 0
    assert f"| base model | {tiny_model} |" in (merged / "README.md").read_text()
    assert main(["card", str(merged), "-c", str(REPO / "recipes/coalm_70b.yaml")]) == 1
    assert "base model is `meta-llama/Llama-3.3-70B-Instruct` in the recipe" in (
        capsys.readouterr().err
    )


def test_merging_a_small_change_says_what_rounding_took(
    adapter: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    from safetensors.torch import load_file, save_file

    small = copied(adapter, tmp_path, base=str(tiny_model))
    weights = load_file(small / "adapter_model.safetensors")
    save_file(
        {name: w / 200 if "lora_B" in name else w for name, w in weights.items()},
        small / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    assert main(["merge", str(small), str(tmp_path / "bf16")]) == 0
    said = capsys.readouterr().err
    assert "bfloat16 rounded away" in said and "--dtype float32" in said
    assert main(["merge", str(small), str(tmp_path / "fp32"), "--dtype", "float32"]) == 0
    assert "rounded away" not in capsys.readouterr().err
    merged = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "fp32", dtype="auto")
    assert merged.dtype == torch.float32
    assert main(["merge", str(small), str(tmp_path / "x"), "--dtype", "int8"]) == 2
