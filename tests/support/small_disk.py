"""A disk that is soon full: a tmpfs of a few KiB, where this system lets a test mount one."""

import subprocess
from pathlib import Path

import pytest


class SmallDisk:
    """A mounted tmpfs.

    Attributes:
        folder: Where it is mounted.
    """

    def __init__(self, folder: Path, size: str) -> None:
        """Mounts it, or skips the test.

        Args:
            folder: A folder that is there.
            size: As tmpfs takes it, such as `300k`.
        """
        self.folder = folder
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True)
        except FileNotFoundError:
            pytest.skip("this system has no `mount`")
        if done.returncode:
            pytest.skip("mounting a tmpfs takes root")

    def __enter__(self) -> "SmallDisk":
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def grow(self) -> None:
        """Makes space."""
        subprocess.run(["mount", "-o", "remount,size=64m", str(self.folder)], check=True)
