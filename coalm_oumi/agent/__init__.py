"""An agent that talks to a user and calls tools, independent of any benchmark.

Read `session` first: the loop Thought, Action, Observation, Thought, reply. `forms` holds the
prompts and the readers of answers, `toolbox` the tools of Oumi's environments, `chat` the terminal.
May import `data` and every room below it.
"""

__all__ = ["forms", "mcp_tools", "python_tools", "session", "start", "toolbox", "turns"]
