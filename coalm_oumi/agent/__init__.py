"""An agent that talks to a user and calls tools, free of any benchmark.

Read `session` first: the loop Thought, Action, Observation, Thought, reply. `forms` holds how an
agent is prompted and read, `toolbox` the tools of Oumi's environments, `chat` the terminal.
"""
