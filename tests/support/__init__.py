PATIENCE = 300
"""Seconds after which a test calls what it waits for hung. A loaded machine imports Oumi in a minute."""
