"""Conversational ReAct API dialogues: User, Thought1, Action, Observation, Thought2, Response."""
