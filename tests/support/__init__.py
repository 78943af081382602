PATIENCE = 300
"""Seconds that a test waits before it fails. On a loaded machine, importing Oumi takes a minute."""
