"""An agent's written forms, and the loop Thought, Action, Observation, Thought, reply.

May import `core`, `files`, `formats`, `rendering`, `llm` and `data`.
"""

__all__: list[str] = []
