"""What touches the disk or the Hub: configuration, JSON files, journals, downloads, provenance.

Writes are whole or not at all. May import `core`. Commands that answer at once import this room,
so PyTorch, PyArrow and the Hub's client are imported where they are used.
"""

__all__ = [
    "atomic",
    "children",
    "config",
    "download",
    "hub",
    "journal",
    "jsontext",
    "provenance",
    "resources",
]
