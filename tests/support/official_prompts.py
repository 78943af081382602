"""Runs in the environment of bfcl-eval: the package's own inference loops, with a client that answers.

    python -I official_prompts.py < cases.json

A case is a model, its handler and samples of a category. Printed is what the handler sent for each
sample, step by step: the reference for `style: official`.
"""

# pyright: reportMissingImports=false

import copy
import importlib
import json
import os
import sys
import types
from types import SimpleNamespace

table = types.ModuleType("bfcl_eval.constants.model_config")
table.MODEL_CONFIG_MAPPING = {}
sys.modules[table.__name__] = table
os.environ["OPENAI_API_KEY"] = "unused"

from bfcl_eval import _llm_response_generation as generation  # noqa: E402
from bfcl_eval.constants import category_mapping, eval_config  # noqa: E402
from bfcl_eval.utils import load_file  # noqa: E402


class Client:
    """Answers each first step of a turn with a call, and each other with words."""

    def __init__(self, form, function):
        self.form, self.function, self.sent = form, function, []
        self.completions = SimpleNamespace(create=self.complete)
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=self.chat_answer))

    def complete(self, **request):
        text = self.form.replace("NAME", self.function) if len(self.sent) % 2 == 0 else "Done."
        self.sent.append(request["prompt"])
        return SimpleNamespace(choices=[SimpleNamespace(text=text)], usage=self.usage)

    def chat_answer(self, **request):
        calls = len(self.sent) % 2 == 0
        messages = [m if isinstance(m, dict) else vars(m) for m in request["messages"]]
        self.sent.append([copy.deepcopy(m) for m in messages])
        function = SimpleNamespace(name=self.function, arguments="{}")
        call = SimpleNamespace(id="call00000", type="function", function=function)
        message = SimpleNamespace(
            role="assistant",
            content=None if calls else "Done.",
            tool_calls=[call] if calls else None,
        )
        return SimpleNamespace(choices=[SimpleNamespace(message=message)], usage=self.usage)

    usage = SimpleNamespace(prompt_tokens=0, completion_tokens=0)


def entry_of(category, index):
    path = eval_config.PROMPT_PATH / category_mapping.TEST_FILE_MAPPING[category]
    entry = load_file(path, sort_by_id=True)[index]
    return generation.process_multi_turn_test_case([copy.deepcopy(entry)])[0]


def main():
    found = []
    for case in json.load(sys.stdin):
        class_ = getattr(importlib.import_module(case["module"]), case["class"])
        for category, index in case["samples"]:
            entry = entry_of(category, index)
            handler = class_(case["model"], 0.001)
            handler.client = Client(case["form"], entry["function"][0]["name"])
            handler.tokenizer = SimpleNamespace(tokenize=lambda text: [])
            handler.max_context_length = 10**6
            kind = "multi_turn" if "multi_turn" in category else "single_turn"
            way = getattr(handler, f"inference_{kind}_{case['way']}")
            more = [True] if kind == "multi_turn" else []
            way(entry, False, *more)
            found.append([case["model"], category, index, handler.client.sent])
    print("\n" + json.dumps(found, default=lambda value: vars(value)))


if __name__ == "__main__":
    stdout = os.dup(1)
    os.dup2(2, 1)
    main_output = sys.stdout
    sys.stdout = os.fdopen(stdout, "w")
    main()
    sys.stdout.flush()
