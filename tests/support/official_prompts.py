"""Runs in the environment of bfcl-eval: the package's own inference loops, with a client that answers.

    python -I official_prompts.py < cases.json

A case is a model, its handler and samples of categories, for V3's release or V4's. Printed is what
the handler sent for each sample, step by step: the reference for `style: official`.
"""

# pyright: reportMissingImports=false

import copy
import functools
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
from bfcl_eval import utils  # noqa: E402
from bfcl_eval.constants import category_mapping, eval_config  # noqa: E402

IS_V4 = hasattr(utils, "load_dataset_entry")


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
        has_tools = bool(request.get("tools"))
        messages = [m if isinstance(m, dict) else vars(m) for m in request["messages"]]
        self.sent.append([copy.deepcopy(m) for m in messages])
        text = self.form.replace("NAME", self.function) if calls else "Done."
        function = SimpleNamespace(name=self.function, arguments="{}")
        call = SimpleNamespace(id="call00000", type="function", function=function)
        message = SimpleNamespace(
            role="assistant",
            content=None if calls and has_tools else text,
            tool_calls=[call] if calls and has_tools else None,
        )
        return SimpleNamespace(choices=[SimpleNamespace(message=message)], usage=self.usage)

    usage = SimpleNamespace(prompt_tokens=0, completion_tokens=0)


@functools.cache
def entries_of(category):
    if not IS_V4:
        path = eval_config.PROMPT_PATH / category_mapping.TEST_FILE_MAPPING[category]
        return utils.load_file(path, sort_by_id=True)
    found = utils.load_dataset_entry(category, include_prereq=False)
    root = eval_config.RESULT_PATH / "reference"
    found = utils.populate_initial_settings_for_memory_test_cases(found, root)
    return utils.populate_initial_settings_for_web_search_test_cases(found)


def entry_of(category, index):
    entry = copy.deepcopy(entries_of(category)[index])
    return entry if IS_V4 else generation.process_multi_turn_test_case([entry])[0]


def infer(case, entry):
    """Returns what the handler of a case sends for a sample."""
    class_ = getattr(importlib.import_module(case["module"]), case["class"])
    if IS_V4:
        handler = class_(
            model_name=case["model_name"],
            temperature=0.001,
            registry_name=case["model"],
            is_fc_model=case["way"] == "FC",
        )
    else:
        handler = class_(case["model"], 0.001)
    handler.client = Client(case["form"], entry["function"][0]["name"])
    handler.tokenizer = SimpleNamespace(tokenize=lambda text: [])
    handler.max_context_length = 10**6
    if IS_V4:
        handler.inference(entry, False, True)
    elif "multi_turn" in entry["id"]:
        getattr(handler, f"inference_multi_turn_{case['way']}")(entry, False, True)
    else:
        getattr(handler, f"inference_single_turn_{case['way']}")(entry, False)
    return handler.client.sent


def main():
    found = []
    for case in json.load(sys.stdin):
        for category, index in case["samples"]:
            sent = infer(case, entry_of(category, index))
            found.append([case["model"], category, index, sent])
    print("\n" + json.dumps(found, default=lambda value: vars(value)))


if __name__ == "__main__":
    stdout = os.dup(1)
    os.dup2(2, 1)
    main_output = sys.stdout
    sys.stdout = os.fdopen(stdout, "w")
    main()
    sys.stdout.flush()
