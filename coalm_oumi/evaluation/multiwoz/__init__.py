"""MultiWOZ: a zero-shot agent that queries and books, judged by what it did.

Data flows one way: `data` (dialogues, goals, states) and `database` → `world` (what a tool call
does) → `agent` and `user` (who speaks) → `rollout` (a dialogue) → `state`, `judge`, `reader`,
`context_to_response` (the metrics) → `result` and `page` (numbers, transcripts).
"""
