"""The whole chain through the real `oumi` commands, with a tiny random Llama."""

import json
from pathlib import Path

import pytest
import yaml

from coalm_oumi.files import provenance
from coalm_oumi.report import runs
from coalm_oumi.report.collect import collect
from tests.conftest import run


@pytest.mark.e2e
def test_train_evaluate_report_as_one_chain(
    repo: Path, tiny_model: Path, mixture: Path, tmp_path: Path, demo_model: Path
):
    recipe = yaml.safe_load((repo / "recipes/coalm_demo.yaml").read_text())
    recipe["model"] |= {"model_name": str(tiny_model), "torch_dtype_str": "float32"}
    recipe["data"]["train"]["datasets"][0] |= {
        "dataset_path": str(mixture),
        "dataset_kwargs": {"sources": ["snips"]},
    }
    recipe["training"] |= {
        "output_dir": str(tmp_path / "train"),
        "max_steps": 30,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "logging_steps": 1,
    }
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(recipe))
    recipe = yaml.safe_load((repo / "recipes/eval_demo.yaml").read_text())
    recipe["model"] |= {
        "model_name": str(tiny_model),
        "adapter_model": str(tmp_path / "train"),
        "torch_dtype_str": "float32",
    }
    recipe["generation"]["max_new_tokens"] = 8
    recipe["output_dir"] = str(tmp_path / "eval/tuned")
    for task in recipe["tasks"]:
        task["eval_kwargs"]["data"]["dataset_path"] = str(mixture)
        task["num_samples"] = 3
    (tmp_path / "eval.yaml").write_text(yaml.safe_dump(recipe))
    stages = {
        "train": {
            "command": "oumi train -c train.yaml",
            "inputs": [str(mixture / "manifest.json")],
            "outputs": ["train/adapter_model.safetensors"],
        },
        "evaluate": {
            "command": "oumi evaluate -c eval.yaml",
            "inputs": ["train/adapter_model.safetensors"],
            "outputs": ["eval/tuned/answers/state_tracking.jsonl"],
        },
        "report": {
            "command": "coalm report .",
            "inputs": ["eval"],
            "outputs": ["report.html"],
        },
    }
    chain = {"output_dir": ".", "stages": stages}
    (tmp_path / "chain.yaml").write_text(yaml.safe_dump(chain, sort_keys=False))
    done = run("coalm", "reproduce", "-c", "chain.yaml", "--run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr

    adapter = json.loads((tmp_path / "train/adapter_config.json").read_text())
    assert (adapter["r"], adapter["lora_alpha"]) == (16, 32)
    log = json.loads((tmp_path / "train/trainer_state.json").read_text())["log_history"]
    losses = [entry["loss"] for entry in log if "loss" in entry]
    assert len(losses) == 30
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
    answers = (tmp_path / "eval/tuned/answers/state_tracking.jsonl").read_text().splitlines()
    assert len(answers) == 3

    found = collect(tmp_path)
    results = {result.task: result for result in found.results}
    tasks = {"coalm-oumi/state_tracking", "coalm-oumi/function_calling/hammer", "coalm-oumi/react"}
    assert set(results) == tasks
    assert {"action_exact", "response_rouge_l"} < results["coalm-oumi/react"].metrics.keys()
    assert not any("decision" in metric for metric in results["coalm-oumi/react"].metrics)
    (trained,) = found.training
    assert len(trained.rates) == 30 and max(trained.rates) == pytest.approx(1e-2)
    for of in (trained, *found.results):
        assert of.made_with.data == provenance.data_hash(mixture)
        assert of.made_with.packages["oumi"] and of.made_with.hardware
    assert {task: result.num_samples for task, result in results.items()} == {
        "coalm-oumi/state_tracking": 3,
        "coalm-oumi/function_calling/hammer": 3,
        "coalm-oumi/react": 6,  # three actions and three responses
    }
    assert set(found.stages) == {"train", "evaluate", "report"}
    rows = {record.kind: record for record in runs.records(found)}
    assert rows["train"].seeds == "train 42, training 42"
    assert "not comparable" not in (tmp_path / "report.html").read_text().lower()

    shown = run("coalm", "reproduce", "-c", "chain.yaml", cwd=tmp_path)
    assert shown.stdout.count(": done") == 3, shown.stdout


@pytest.mark.e2e
def test_bad_data_stops_oumi_with_one_clear_error(repo: Path, tiny_model: Path, tmp_path: Path):
    (tmp_path / "train.jsonl").write_text('{"instruction": "i", "input": "", "output": ""}\n')
    recipe = yaml.safe_load((repo / "recipes/coalm_demo.yaml").read_text())
    recipe["model"]["model_name"] = str(tiny_model)
    recipe["data"]["train"]["datasets"][0]["dataset_path"] = str(tmp_path / "train.jsonl")
    recipe["training"]["output_dir"] = str(tmp_path / "out")
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(recipe))
    done = run("oumi", "train", "-c", tmp_path / "train.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "`output` is empty, so there is nothing to learn" in " ".join(done.stdout.split())


@pytest.mark.e2e
def test_the_converted_model_stops_and_batches(demo_model: Path):
    """Ends its turn with the token it was trained on, and answers alike alone and in a batch."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(demo_model, padding_side="left")
    model = transformers.AutoModelForCausalLM.from_pretrained(demo_model, dtype=torch.float32)
    assert tokenizer.eos_token == "<|im_end|>"
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    asked = ["What is the capital of France? Answer in one word.", "What is 2+2?"]
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
        )
        for text in asked
    ]

    def answers(texts: list[str]) -> list[str]:
        batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        ids = model.generate(**batch, max_new_tokens=32, do_sample=False)
        return tokenizer.batch_decode(ids[:, batch["input_ids"].shape[1] :])

    together = answers(prompts)
    alone = [answers([prompt])[0] for prompt in prompts]
    assert [t.split("<|im_end|>")[0] for t in together] == [t.split("<|im_end|>")[0] for t in alone]
    assert "Paris" in together[0]
    assert all("<|im_end|>" in text for text in alone)
