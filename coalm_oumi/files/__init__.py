"""What touches the disk or the Hub: configuration, JSON files, journals, downloads, provenance.

Writes are whole or not at all. May import `core`. Commands that answer at once import this room,
so PyTorch and PyArrow are imported where they are used, and `hub` alone imports the Hub's client.
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
