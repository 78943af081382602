"""Prompts, terminal tables and Markdown tables as text, and the HTML style of every page.

The prompts are the Jinja files of the top-level `prompts` folder. May import `core`, `files` and
`formats`.
"""

__all__ = ["chat_template", "coalm_template", "markdown", "prompts", "terminal"]
