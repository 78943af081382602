"""`coalm doctor`."""

import argparse

HELP = "say whether everything is in place"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments: none."""


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from coalm_oumi.oumi_plugin.doctor import examine

    healthy = True
    for finding in examine():
        healthy = healthy and finding.ok
        fix = f" -> {finding.fix}" if finding.fix else ""
        print(f"{'ok  ' if finding.ok else 'BAD '} {finding.text}{fix}")
    return 0 if healthy else 1
