"""The library from Python: render, read, score, load. Run it after the demo has built its data.

python docs/python.py output/demo/data output/demo/model [output/demo/train]
"""

import sys

import datasets
import peft
import transformers

from coalm_oumi.data.datasets.tokens import user_message
from coalm_oumi.evaluation.held_out.metrics import joint_goal_accuracy
from coalm_oumi.formats import calls, states

data, base, *adapter = sys.argv[1:]

# Load the mixture: Alpaca columns, a source, a domain and the dialogue of each sample.
mixture = datasets.load_dataset("parquet", data_files=f"{data}/train-*.parquet", split="train")
print(mixture.num_rows, "samples of", sorted(set(mixture["source"])))

# Render a sample as the trainer and the evaluations do.
sample = next(row for row in mixture if row["source"] == "snips")
prompt = user_message(sample["instruction"], sample["input"])

# Read what a model wrote, and score it.
print(calls.parse_json('[{"name": "get_weather", "arguments": {"city": "Ghent"}}]'))
state = states.parse_state(sample["output"])
print("joint goal accuracy of the target itself:", joint_goal_accuracy([state], [state]))

# Load the model, with its adapter, and ask it.
tokenizer = transformers.AutoTokenizer.from_pretrained(base)
model = transformers.AutoModelForCausalLM.from_pretrained(base)
if adapter:
    model = peft.PeftModel.from_pretrained(model, adapter[0])
chat = [{"role": "user", "content": prompt}]
inputs = tokenizer.apply_chat_template(
    chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
output = model.generate(**inputs, max_new_tokens=48, do_sample=False)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
