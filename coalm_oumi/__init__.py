"""CoALM on Oumi: build the data, train and evaluate one model for dialogue and tool use.

Data flows one way through the rooms, from `core`, `files`, `formats` and `rendering` through `llm`,
`data`, `agent`, `evaluation`, `training` and `report` to `oumi_plugin` and `cli`. Each room's
docstring says what it holds and what it may import; `make lint` checks it.
"""

__version__ = "0.1.0"
