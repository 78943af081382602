"""Child processes that end with their parent, however it ends."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Has the system kill this process when its parent ends, also when that was killed.

    Linux alone offers this; elsewhere a child notices at its next read from its parent.

    Args:
        parent: The parent's process id, as the parent gave it. It may have ended already.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
