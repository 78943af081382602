"""Merging, quantising, describing and publishing what was trained."""

from pathlib import Path

import huggingface_hub
import pytest
import torch
import transformers
import yaml

from coalm_oumi.cli.app import main
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
    merged = transformers.AutoModelForCausalLM.from_pretrained(output)
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
    assert "exists already" in capsys.readouterr().err
    assert main(["merge", str(adapter), str(tmp_path / "out"), "--base", "no/where"]) == 1
    assert "name it with --base" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_quantised_once(adapter: Path, tiny_model: Path, tmp_path: Path, capsys):
    output = tmp_path / "nf4"
    recipe = str(REPO / "recipes/coalm_405b.yaml")
    assert main(["quantize", "-c", recipe, str(output), "--model", str(tiny_model)]) == 0
    model = transformers.AutoModelForCausalLM.from_pretrained(output)
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
        for name, reason in (("bad.yaml", "bf17"), ("none.yaml", "not found")):
            assert main([*command, "-c", str(tmp_path / name)]) == 1
            line = capsys.readouterr().err.strip().splitlines()[-1]
            assert line.startswith("error: ") and reason in line


def test_the_card_says_what_was_done_and_goes_to_the_hub(
    adapter: Path, mixture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
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
