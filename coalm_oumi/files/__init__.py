"""Access to the disk and the Hub: configuration, JSON files, journals, downloads, provenance.

Files are written atomically. May import `core`. Fast commands import this room, so functions that
need PyTorch or PyArrow import them, and only `hub` imports the Hub's client.
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
    "records",
    "resources",
    "saved",
]
