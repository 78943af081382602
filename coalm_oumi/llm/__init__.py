"""Questions to a model: through Oumi's engines, or to an OpenAI-compatible server.

May import `core`, `files`, `formats` and `rendering`.
"""

__all__ = ["batches", "chat", "chat_batch", "recorded", "text", "waiting"]
