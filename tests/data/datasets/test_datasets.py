"""The dataset classes, through Oumi's own builders and trainer."""

import doctest
import hashlib
import json
import sys
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
import transformers
from oumi.builders import (
    build_chat_template,
    build_collator_from_config,
    build_dataset_mixture,
    build_model,
    build_peft_model,
    build_tokenizer,
    build_trainer,
)
from oumi.core.configs import DatasetSplit, TrainingConfig
from oumi.core.registry import REGISTRY
from oumi.core.types.conversation import Role

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.data.datasets import base, tokens
from coalm_oumi.data.datasets.mixture import MixtureDataset
from coalm_oumi.data.datasets.raw import RawDataset
from coalm_oumi.data.datasets.tokens import IGNORE_INDEX, encode, user_message
from coalm_oumi.data.mixture.store import read_samples, split_files
from coalm_oumi.files.resources import resource_dir
from tests.conftest import run

SAMPLES = resource_dir("samples")


def training_config(repo: Path, model: Path, data: Path, output: Path) -> TrainingConfig:
    config = TrainingConfig.from_yaml(repo / "recipes/coalm_demo.yaml")
    config.model.model_name = str(model)
    config.data.train.datasets[0].dataset_path = str(data)
    config.training.output_dir = str(output)
    config.training.per_device_train_batch_size = 4
    config.finalize_and_validate()
    return config


def targets_of(mixture: Path) -> set[str]:
    return {row["output"] for row in pq.read_table(mixture / "train-00000.parquet").to_pylist()}


def test_loss_falls_on_the_target_alone(
    repo: Path, tiny_model: Path, mixture: Path, tmp_path: Path
):
    """Looks at every batch that Oumi's trainer draws for the demo's recipe."""
    config = training_config(repo, tiny_model, mixture, tmp_path)
    tokenizer = build_tokenizer(config.model)
    dataset = build_dataset_mixture(config.data, tokenizer, DatasetSplit.TRAIN)
    config.training.trainer_kwargs["dataset_kwargs"] = {"skip_prepare_dataset": True}
    trainer = build_trainer(config.training.trainer_type, processor=None)(
        model=build_peft_model(build_model(config.model), False, config.peft),
        processing_class=tokenizer,
        args=config.training,
        train_dataset=dataset,
        eval_dataset=None,
        data_collator=build_collator_from_config(config, tokenizer),
        training_config=config,
    )
    targets = targets_of(mixture)
    seen = 0
    for batch in trainer._hf_trainer.get_train_dataloader():
        for ids, labels, mask in zip(
            batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True
        ):
            learned = labels != IGNORE_INDEX
            assert (ids[learned] == labels[learned]).all()
            assert mask[learned].all(), "padding carries no loss"
            text = tokenizer.decode(labels[learned])
            assert text.endswith("<|im_end|>")
            assert text.removesuffix("<|im_end|>") in targets
            # The target is the end of the sequence: one unbroken run up to the padding.
            positions = learned.nonzero().flatten().tolist()
            assert positions == list(range(positions[0], int(mask.sum())))
            assert tokenizer.decode(ids[: positions[0]]).endswith("<|im_start|>assistant\n")
            seen += 1
    assert seen == len(dataset) > 100


def test_training_sees_the_prompt_of_inference(tokenizer):
    (encoded,) = encode(tokenizer, ["hello"], ["[]"])
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hello"}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    assert encoded.input_ids[: len(prompt)] == prompt
    assert encoded.labels[: len(prompt)] == [IGNORE_INDEX] * len(prompt)
    assert encoded.input_ids[-1] == tokenizer.eos_token_id


def test_llamas_template_cuts_white_space_and_adds_a_bos(demo_model: Path):
    """Its template trims what is said, and names other tokens than SmolLM2's."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(demo_model)
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]}
    )
    tokenizer.chat_template = build_chat_template("llama3-instruct")
    (encoded,) = encode(tokenizer, ["hello "], [" [] \n"])
    learned = [label for label in encoded.labels if label != IGNORE_INDEX]
    assert tokenizer.decode(learned) == "[]<|eot_id|>"


def test_templates_that_cannot_be_masked(tokenizer):
    class Fake:
        def __init__(self, template: str) -> None:
            self.inner = transformers.AutoTokenizer.from_pretrained(tokenizer.name_or_path)
            self.inner.chat_template = template

        def __getattr__(self, name: str):
            return getattr(self.inner, name)

        def __call__(self, *args, **kwargs):
            return self.inner(*args, **kwargs)

    open_ended = Fake("{% for m in messages %}{{ m.content }}{% endfor %}")
    with pytest.raises(CoalmError, match="does not close the assistant's turn"):
        encode(open_ended, ["a"], ["b"])
    late = Fake(
        "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %} \n<|im_end|>"
        "{% endif %}{% endfor %}"
    )
    (encoded,) = encode(late, ["a"], ["b"])
    assert encoded.input_ids[-1] == tokenizer.eos_token_id
    shouting = Fake("{% for m in messages %}{{ m.content | upper }}.{% endfor %}")
    with pytest.raises(CoalmError, match="right after the generation prompt"):
        encode(shouting, ["a"], ["b"])


def test_conversations_are_one_turn_and_the_target(mixture: Path):
    dataset = MixtureDataset(
        dataset_name="coalm-oumi/mixture", dataset_path=str(mixture), split="train"
    )
    conversation = dataset.conversation(0)
    assert [message.role for message in conversation.messages] == [Role.USER, Role.ASSISTANT]
    row = dataset.samples[0]
    assert conversation.messages[0].content == f"{row['instruction']}\n\n### Input:\n{row['input']}"
    assert conversation.messages[1].content == row["output"]


def test_oumis_system_prompt_is_an_option(mixture: Path, tokenizer):
    options = {"dataset_path": str(mixture), "tokenizer": tokenizer}
    plain = MixtureDataset(**options)
    prompted = MixtureDataset(**options, include_system_prompt=True)
    conversation = prompted.conversation(0)
    assert [m.role for m in conversation.messages] == [Role.SYSTEM, Role.USER, Role.ASSISTANT]
    assert str(conversation.messages[0].content).startswith("Below is an instruction")
    together = prompted.to_hf()
    assert prompted[0] == together[0]
    read = tokenizer.decode(together[0]["input_ids"])
    assert "Below is an instruction" in read
    without = tokenizer.decode(plain.to_hf()[0]["input_ids"])
    assert "Below is an instruction" not in without


def test_one_sample_and_the_batch_agree(mixture: Path, tokenizer):
    dataset = MixtureDataset(
        dataset_name="coalm-oumi/mixture", dataset_path=str(mixture), tokenizer=tokenizer
    )
    together = dataset.to_hf()
    for index in (0, 7, len(dataset) - 1):
        assert dataset[index] == together[index]
    lazily = next(iter(dataset.to_hf(return_iterable=True)))
    assert lazily == together[0]


def test_options_reach_the_selection(mixture: Path):
    def sources(**options) -> list[str]:
        dataset = MixtureDataset(
            dataset_name="coalm-oumi/mixture", dataset_path=str(mixture), split="train", **options
        )
        return dataset.samples["source"]

    assert set(sources(domains=["la"])) == {"hammer", "toolace"}
    assert set(sources(sources=["sgd"])) == {"sgd"}
    assert len(sources(weights={"snips": 3}, sources=["snips"])) == 3 * len(
        sources(sources=["snips"])
    )


def test_too_long_is_dropped_or_an_error_never_cut(mixture: Path, demo_model: Path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(demo_model, model_max_length=400)
    place = {"dataset_name": "coalm-oumi/mixture", "dataset_path": str(mixture)}
    dataset = MixtureDataset(**place, tokenizer=tokenizer)
    kept = dataset.to_hf()
    assert 0 < len(kept) < len(dataset)
    targets = targets_of(mixture)
    for row in kept:
        assert len(row["input_ids"]) <= 400
        learned = [label for label in row["labels"] if label != IGNORE_INDEX]
        assert tokenizer.decode(learned).removesuffix("<|im_end|>") in targets
    with pytest.raises(CoalmError, match=r"tokens, more than the model's 400; raise"):
        MixtureDataset(**place, tokenizer=tokenizer, too_long="error").to_hf()
    with pytest.raises(CoalmError, match="more than the model's 400"):
        [dataset[index] for index in range(len(dataset))]
    tokenizer.model_max_length = 50
    with pytest.raises(CoalmError, match=r"all .* samples are longer than 50 tokens"):
        MixtureDataset(**place, tokenizer=tokenizer).to_hf()


def test_the_token_cache_misses_when_it_must(mixture: Path, demo_model: Path):
    def fingerprint(length: int = 512, template: str | None = None, **options) -> str:
        tokenizer = transformers.AutoTokenizer.from_pretrained(demo_model, model_max_length=length)
        tokenizer.chat_template = template or tokenizer.chat_template
        return MixtureDataset(
            dataset_name="m", dataset_path=str(mixture), tokenizer=tokenizer, **options
        )._fingerprint()

    assert fingerprint() == fingerprint()
    others = [
        fingerprint(length=256),
        fingerprint(template="{% for m in messages %}{{ m.content }}{% endfor %}"),
        fingerprint(domains=["tod"]),
        fingerprint(too_long="error"),
        fingerprint(max_length=511),
        fingerprint(completion_mask=True),
    ]
    assert len({fingerprint(), *others}) == 7


def test_a_date_that_cannot_be_pinned_is_part_of_the_key(mixture: Path, demo_model: Path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(demo_model)
    tokenizer.chat_template = (
        "{{ 'now: ' ~ now_() }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
    )
    dataset = MixtureDataset(dataset_name="m", dataset_path=str(mixture), tokenizer=tokenizer)
    rendered = tokenizer.apply_chat_template
    found = []
    for day in ("Monday", "Tuesday"):
        tokenizer.apply_chat_template = lambda *a, day=day, **k: rendered(*a, now_=lambda: day, **k)
        found.append(dataset._fingerprint())
    assert found[0] != found[1]


def test_the_version_of_the_tokens_is_raised_with_them(tokenizer):
    """Cached tokens are named by this version: other tokens need another one."""
    users = [user_message("Do it.", "User: hi"), user_message("Do it.", "")]
    found = [sample.input_ids for sample in encode(tokenizer, users, [" a <s>\n", "[]"])]
    digest = hashlib.sha256(json.dumps(found).encode()).hexdigest()[:12]
    assert (tokens.VERSION, digest) == (2, "b7c0d135112c"), (
        "`encode` gives other tokens: raise tokens.VERSION and record both here"
    )


def test_the_dataset_has_a_length_of_its_own(mixture: Path, tokenizer):
    place = {"dataset_name": "m", "dataset_path": str(mixture), "tokenizer": tokenizer}
    kept = MixtureDataset(**place, max_length=400).to_hf()
    everything = MixtureDataset(**place).to_hf()
    assert 0 < len(kept) < len(everything)
    assert len(kept) == sum(len(row) <= 400 for row in everything["input_ids"])
    with pytest.raises(CoalmError, match="more than `max_length` 400; raise `max_length` in"):
        MixtureDataset(**place, max_length=400, too_long="error").to_hf()
    with pytest.raises(CoalmError, match="max_length: input should be greater than or equal to 1"):
        MixtureDataset(**place, max_length=0)


@pytest.mark.parametrize("completion_mask", [False, True])
def test_streaming_gives_the_same_rows(mixture: Path, tokenizer, completion_mask: bool):
    dataset = MixtureDataset(
        dataset_name="m",
        dataset_path=str(mixture),
        tokenizer=tokenizer,
        max_length=400,
        completion_mask=completion_mask,
    )
    assert list(dataset.to_hf(return_iterable=True)) == dataset.to_hf().to_list()


def test_later_starts_read_the_cache(
    mixture: Path, tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(base, "HF_DATASETS_CACHE", tmp_path)
    own = tmp_path / "train.jsonl"
    own.write_text(json.dumps(dict.fromkeys(
        ("instruction", "input", "output", "source", "dialogue_id"), "x") | {"domain": "la"}))  # fmt: skip
    for path in (mixture, own):
        place = {"dataset_name": "m", "dataset_path": str(path), "tokenizer": tokenizer}
        first = MixtureDataset(**place).to_hf()
        with monkeypatch.context() as patch:
            patch.setattr(base, "encode", None)  # nothing is tokenised again
            second = MixtureDataset(**place).to_hf()
        assert first[:] == second[:]
        assert second.cache_files, "memory-mapped, not held"
        tokens = Path(second.cache_files[0]["filename"])
        expected, content = first[:], tokens.read_bytes()
        tokens.unlink()  # the datasets above are mapped from this file
        tokens.write_bytes(content[:-100])  # as a full disk cuts it
        assert MixtureDataset(**place).to_hf()[:] == expected


def test_more_workers_make_the_same_tokens(
    mixture: Path, tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place = {"dataset_name": "m", "dataset_path": str(mixture), "tokenizer": tokenizer}
    found = []
    for workers in (1, 2):
        monkeypatch.setattr(base, "HF_DATASETS_CACHE", tmp_path / str(workers))
        found.append(MixtureDataset(**place, transform_num_workers=workers).to_hf())
    assert found[0][:] == found[1][:]


START_TWO_RANKS = """
import os, sys
import transformers
from coalm_oumi.data.datasets.mixture import MixtureDataset
encode, mine = MixtureDataset._encode_batch, []
def counted(self, batch, indices):
    mine.append(len(indices))
    return encode(self, batch, indices)
MixtureDataset._encode_batch = counted
ranks = []
for _ in range(2):
    rank = os.fork()
    if not rank:
        tokenizer = transformers.AutoTokenizer.from_pretrained(sys.argv[1])
        MixtureDataset(dataset_name="m", dataset_path=sys.argv[2], tokenizer=tokenizer).to_hf()
        os.write(1, f"{sum(mine)}\\n".encode())
        os._exit(0)
    ranks.append(rank)
sys.exit(any(os.waitpid(rank, 0)[1] for rank in ranks))
"""


def test_one_rank_tokenises_for_all(mixture: Path, demo_model: Path, tmp_path: Path):
    done = run(
        sys.executable, "-c", START_TWO_RANKS, demo_model, mixture, cwd=tmp_path,
        HF_DATASETS_CACHE=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tokenised = sorted(int(line) for line in done.stdout.splitlines() if line.isdigit())
    assert tokenised[0] == 0
    assert tokenised[1] >= len(read_samples(split_files(mixture, "train")[0]))
    assert len(list((tmp_path / "coalm_oumi").glob("*.arrow"))) == 1


@pytest.mark.parametrize(
    ("name", "options"),
    [("snips", {}), ("toolace", {}), ("sgd", {"source_options": {"functions": "dialogue"}})],
)
def test_raw_sources_hold_dialogues_out(name: str, options: dict[str, object]):
    registered = REGISTRY.get_dataset(f"coalm-oumi/{name}")
    assert registered is RawDataset

    def ids(split: str) -> set[str]:
        dataset = registered(dataset_name=f"coalm-oumi/{name}", dataset_path=str(SAMPLES / name),
                             split=split, validation_fraction=0.3, **options)  # fmt: skip
        return set(dataset.samples["dialogue_id"])

    assert ids("train") and ids("validation")
    assert not ids("train") & ids("validation")


def test_strict_raw_sources():
    with pytest.raises(CoalmError, match=r"data\.json\[17\]"):
        RawDataset(
            dataset_name="coalm-oumi/toolace", dataset_path=str(SAMPLES / "toolace"), strict=True
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domain": ["tod"]}, "unknown dataset_kwargs domain; the options are .*domains.*hub_id"),
        ({"too_long": "cut"}, "too_long: input should be 'drop' or 'error', found 'cut'"),
        ({"split": "test"}, "unknown split `test`"),
    ],
)
def test_bad_options(mixture: Path, options: dict[str, object], message: str):
    with pytest.raises(CoalmError, match=message):
        MixtureDataset(dataset_name="m", dataset_path=str(mixture), **options)


def test_wrong_columns_and_empty_targets(tmp_path: Path):
    file = tmp_path / "train.parquet"
    datasets.Dataset.from_list([{"prompt": "a", "output": "b"}]).to_parquet(file)
    with pytest.raises(CoalmError, match="no column `instruction`; a CoALM-IT mixture has"):
        MixtureDataset(dataset_name="m", dataset_path=str(file))
    rows = [{"instruction": "i", "input": "", "output": text} for text in ("x", " \n")]
    datasets.Dataset.from_list(rows).to_parquet(file)
    with pytest.raises(CoalmError, match="record 1: `output` is empty"):
        MixtureDataset(dataset_name="m", dataset_path=str(file), strict=True)
    assert list(MixtureDataset(dataset_path=str(file)).samples["output"]) == ["x"]


def test_a_mixture_of_ones_own_in_json_lines(tmp_path: Path, tokenizer):
    file = tmp_path / "mine.jsonl"
    row = {"instruction": "i", "input": "q", "output": "a", "source": "own", "domain": "la",
           "dialogue_id": "1"}  # fmt: skip
    file.write_text(json.dumps(row) + "\n")
    dataset = MixtureDataset(dataset_name="m", dataset_path=str(file), tokenizer=tokenizer)
    assert len(dataset.to_hf()) == 1


def test_no_hub_access_is_one_clear_error():
    with pytest.raises(
        CoalmError, match=r"uiuc-convai/CoALM-IT: unavailable .* Set `dataset_path`"
    ):
        MixtureDataset(dataset_name="coalm-oumi/mixture")


def test_names_do_not_collide_with_oumis_own():
    own = REGISTRY.get_dataset("uiuc-convai/CoALM-IT")
    assert own is not None and own.__module__.startswith("oumi.")
    assert REGISTRY.get_dataset("coalm-oumi/mixture") is MixtureDataset


def test_the_example_of_the_mixtures_docstring(mixture: Path, tokenizer):
    """`MixtureDataset(dataset_path=...)` works without a recipe, and its rows can be indexed."""
    known = {"MixtureDataset": MixtureDataset, "folder": mixture, "tokenizer": tokenizer}
    (example,) = doctest.DocTestFinder(recurse=False).find(
        MixtureDataset, "MixtureDataset", globs=known
    )
    assert len(example.examples) == 4
    assert doctest.DocTestRunner().run(example).failed == 0


def test_indexing_a_long_sample_says_what_leaves_it_out(mixture: Path, demo_model: Path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(demo_model, model_max_length=50)
    dataset = MixtureDataset(dataset_path=mixture, tokenizer=tokenizer)
    with pytest.raises(CoalmError, match=r"raise `model.model_max_length`, or use `to_hf\(\)`"):
        dataset[0]


def test_the_validation_split_of_a_hub_data_set_is_used(tmp_path: Path, mixture: Path):
    """`load_dataset` reads a folder as it reads the Hub's."""
    (tmp_path / "data").mkdir()
    rows = {
        split: pq.read_table(mixture / f"{split}-00000.parquet")
        for split in ("train", "validation")
    }
    for split, table in rows.items():
        pq.write_table(table, tmp_path / f"data/{split}-00000-of-00001.parquet")
    for split, table in rows.items():
        dataset = MixtureDataset(hub_id=str(tmp_path), split=split)
        assert list(dataset.samples["input"]) == table["input"].to_pylist()
    (tmp_path / "data/validation-00000-of-00001.parquet").unlink()
    with pytest.raises(CoalmError, match="no validation split"):
        MixtureDataset(hub_id=str(tmp_path), split="validation")
    cut: dict[str, set[str]] = {}
    for split in rows:
        dataset = MixtureDataset(hub_id=str(tmp_path), split=split, validation_fraction=0.2, seed=1)
        cut[split] = set(dataset.samples["dialogue_id"])
    assert all(cut.values()) and not cut["train"] & cut["validation"]
