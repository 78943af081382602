"""From raw files to training tokens: `sources` → `mixture` → `datasets`; CRA dialogues in `cra`.

`samples` holds small raw files in each source's format. May import `core`, `files`, `formats`,
`rendering` and `llm`.
"""

__all__ = ["cra", "datasets", "mixture", "sources"]
