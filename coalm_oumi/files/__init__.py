"""What touches the disk or the Hub: configuration, JSON files, journals, downloads, provenance.

Writes are whole or not at all. May import `core`.
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
