"""Overfits SmolLM2-135M on a few dialogues in CoALM's form, so that a server has it to say.

The demo's model does not write `Action:`. A round trip in CoALM's form needs a model that does.
"""

import json
from pathlib import Path
from typing import Any

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "GetWeather",
            "description": "Get the weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]

RESULT = '{"sky": "rain"}'
ONE = [{"role": "user", "content": "How is the weather in Ely?"}]
CALL = {"id": "c1", "type": "function", "function": {"name": "GetWeather", "arguments": {"city": "Ely"}}}  # fmt: skip
CALLED = [
    *ONE,
    {"role": "assistant", "content": None, "reasoning_content": "I look.", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": RESULT},
]
REPLIED = [
    *CALLED,
    {"role": "assistant", "reasoning_content": "I tell.", "content": "It rains in Ely."},
    {"role": "user", "content": "Thank you!"},
]
HELLO = [{"role": "user", "content": "Hello!"}]
TWO = [{"role": "user", "content": "Ely and York, please."}]
BROKEN = [{"role": "user", "content": "Make a mistake."}]

BOTH = [{"name": "GetWeather", "arguments": {"city": city}} for city in ("Ely", "York")]
TARGETS = [
    (ONE, "Thought: I look.\nAction: GetWeather(city='Ely')"),
    (CALLED, "Thought: I tell.\nSystem: It rains in Ely."),
    (REPLIED, "Thought: All is done.\nSystem: You are welcome."),
    (HELLO, "Thought: No call is needed.\nSystem: Hello! How can I help?"),
    (TWO, json.dumps(BOTH)),
    (BROKEN, "Thought: I try.\nAction: GetWeather(city='Ely'"),
]


def overfit(base: Path, output: Path, steps: int = 40) -> None:
    """Trains until the targets are said word for word, and saves the model with the template."""
    import torch
    import transformers

    from coalm_oumi.rendering.coalm_template import with_coalm

    torch.manual_seed(0)
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = with_coalm(tokenizer.chat_template)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    rows = []
    for messages, target in TARGETS:
        prompt = tokenizer.apply_chat_template(
            messages, tools=TOOLS, tokenize=False, add_generation_prompt=True
        )
        asked = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        said = tokenizer(target, add_special_tokens=False)["input_ids"]
        said.append(tokenizer.convert_tokens_to_ids("<|im_end|>"))
        rows.append((asked + said, [-100] * len(asked) + said))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    model.train()
    for _ in range(steps):
        total = 0.0
        for ids, labels in rows:
            loss = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss
            (loss / len(rows)).backward()
            total += loss.item() / len(rows)
        optimizer.step()
        optimizer.zero_grad()
        if total < 0.002:
            break
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
