"""Parses and formats the output of models: function calls and dialogue states.

Pure functions without Oumi, so that a server with only vLLM installed can import them. May import
`core`.
"""

__all__ = ["calls", "native", "react", "states", "vllm_plugin"]
