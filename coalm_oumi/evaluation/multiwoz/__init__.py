"""MultiWOZ: a zero-shot agent that queries and books, judged by what it did (paper, Table 2).

Data flows one way: `data` (dialogues, goals, states) and `database` → `world` (what a tool call
does) → `agent` and `user` (who speaks) → `rollout` (a dialogue) → `lead` (all of them, in a
journal) → `state`, `judge`, `reader`, `context_to_response` (the metrics) → `llm_judge` (a
language model) → `result` and `page` (numbers, transcripts). May import the modules beside the
benchmark folders.
"""

__all__ = ["options", "task", "world"]
