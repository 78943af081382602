"""The conversational ReAct skill on held-out CRA samples: act, answer, and choose between them.

May import the modules beside the benchmark folders, and `data`.
"""

__all__ = ["task"]
