"""Reinforcement learning: the dataset of prompts, and real steps of GRPO through `oumi train`."""

import json
from pathlib import Path

import pytest
import yaml
from oumi.core.configs import TrainingConfig
from oumi.core.registry import REGISTRY, RegistryType
from trl import GRPOConfig

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.sample import COLUMNS, Sample
from coalm_oumi.data.datasets.tokens import user_message
from coalm_oumi.training.rewards import functions
from coalm_oumi.training.rewards.grpo import MixtureGrpoDataset


def prompts(path: Path, tokenizer, **options) -> list[dict]:
    dataset = MixtureGrpoDataset(
        dataset_name="coalm-oumi/mixture_grpo",
        dataset_path=str(path),
        split="train",
        tokenizer=tokenizer,
        **options,
    )
    return dataset.to_hf().to_list()


def test_rows_are_prompts_with_the_samples_columns(mixture: Path, tokenizer):
    rows = prompts(mixture, tokenizer, domains=["cra"])
    assert rows and {row["domain"] for row in rows} == {"cra"}
    for row in rows:
        ((role, content),) = [tuple(message.values()) for message in row["prompt"]]
        assert role == "user"
        assert content == user_message(row["instruction"], row["input"])
        assert row["output"] not in content
    columns = {name: [row[name] for row in rows] for name in COLUMNS}
    completions = [[{"role": "assistant", "content": row["output"]}] for row in rows]
    assert functions.ast_match_reward(completions, **columns) == [1.0] * len(rows)


def test_long_prompts_are_dropped_and_never_cut(mixture: Path, tokenizer, monkeypatch):
    everything = prompts(mixture, tokenizer, domains=["cra"])
    monkeypatch.setattr(tokenizer, "model_max_length", 450)
    short = prompts(mixture, tokenizer, domains=["cra"])
    assert 0 < len(short) < len(everything)
    assert all(row in everything for row in short)
    with pytest.raises(CoalmError, match="more than the model's 450"):
        prompts(mixture, tokenizer, domains=["cra"], too_long="error")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"domain": "tod"}, r"own/1: its target is not one of the domain `tod`: "),
        ({"domain": "chat"}, "unknown domain `chat`"),
        ({"domain": None}, "column `domain` is missing, which the rewards need"),
    ],
)
def test_bad_data_is_found_before_a_model_is_asked(tmp_path: Path, tokenizer, changes, message):
    row = Sample("i", "q", "[]", "own", "la", "own/1").as_dict() | changes
    (tmp_path / "train.jsonl").write_text(json.dumps({k: v for k, v in row.items() if v}))
    with pytest.raises(CoalmError, match=message):
        prompts(tmp_path / "train.jsonl", tokenizer)


def test_the_recipe_is_one_that_trl_takes(repo: Path):
    config = TrainingConfig.from_yaml(repo / "recipes/coalm_8b_grpo.yaml")
    arguments = config.training.to_hf()
    assert isinstance(arguments, GRPOConfig)
    assert arguments.per_device_train_batch_size % (arguments.num_generations or 0) == 0
    names = config.training.reward_functions or []
    assert all(REGISTRY.contains(name, RegistryType.REWARD_FUNCTION) for name in names)
    assert len(arguments.reward_weights or []) == len(names) == 4
    assert sum(arguments.reward_weights or []) == pytest.approx(1)
    whole = config.model.model_max_length + (arguments.max_completion_length or 0)
    assert (arguments.use_vllm, arguments.vllm_max_model_length) == (True, whole)


def undecided(model_folder: Path, folder: Path, asked: list[str], answers: list[str]) -> Path:
    """Teaches the tiny model to give one of two answers, each as often, and adds a LoRA adapter."""
    import peft
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
            tokenize=False,
        ).rstrip()
        for question in asked
        for answer in answers
    ]
    batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    for _ in range(20):
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    torch.manual_seed(0)
    lora = peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")
    peft.get_peft_model(model, lora).save_pretrained(folder / "adapter")
    return folder


@pytest.mark.e2e
def test_grpo_steps_raise_the_rewards(repo: Path, tiny_model: Path, tmp_path: Path, oumi):
    """From half of the answers right to nearly all, in a few real steps of the 8B recipe."""
    samples = [Sample("", f"Hello {n}", "[]", "own", "la", f"own/{n}") for n in range(2)]
    (tmp_path / "train.jsonl").write_text(
        "\n".join(json.dumps(sample.as_dict()) for sample in samples)
    )
    asked = [user_message(sample.instruction, sample.input) for sample in samples]
    undecided(tiny_model, tmp_path, asked, ["[]", "no"])
    recipe = yaml.safe_load((repo / "recipes/coalm_8b_grpo.yaml").read_text())
    recipe["model"] |= {
        "model_name": str(tmp_path / "model"),
        "adapter_model": str(tmp_path / "adapter"),
        "torch_dtype_str": "float32",
        "tokenizer_pad_token": "<|endoftext|>",
    }
    recipe["data"]["train"]["datasets"][0]["dataset_path"] = str(tmp_path / "train.jsonl")
    recipe["training"]["grpo"] |= {"use_vllm": False, "max_completion_length": 4}
    recipe["training"] |= {
        "output_dir": str(tmp_path / "grpo"),
        "max_steps": 3,
        "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 1,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
    }
    (tmp_path / "grpo.yaml").write_text(yaml.safe_dump(recipe))
    code, printed = oumi("train", "-c", tmp_path / "grpo.yaml")
    assert code == 0, printed
    state = json.loads((tmp_path / "grpo/trainer_state.json").read_text())
    steps = [entry for entry in state["log_history"] if "reward" in entry]
    assert len(steps) == 3
    assert 0.2 < steps[0]["rewards/ast_match_reward/mean"] < 0.8
    assert steps[-1]["rewards/ast_match_reward/mean"] > 0.9
    assert steps[-1]["reward"] == pytest.approx(steps[-1]["rewards/format_reward/mean"])
    assert (tmp_path / "grpo/adapter_model.safetensors").is_file()
