"""Prompt templates to text, and the HTML style that every page shares.

The prompts are the Jinja files of the top-level `prompts` folder. May import `core`, `files` and
`formats`.
"""

__all__ = ["prompts"]
