"""Points Oumi at this package, through the one variable that its registry reads.

The registry reads `OUMI_EXTRA_DEPS_FILE` once, a file that names one module per line.
"""

import os

VARIABLE = "OUMI_EXTRA_DEPS_FILE"
EXTRA_DEPS_FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "extra_deps.txt")  # noqa: PTH100, PTH118, PTH120 - pathlib would cost every start of Oumi
PLUGIN_LINE = "coalm_oumi.oumi_plugin.register.py"
"""What `extra_deps.txt` says: Oumi imports the file's stem, which is the plugin's module name."""


def point_oumi_at_plugin() -> None:
    """Sets the variable. A file of the user's own is kept: ours is added to a copy of it."""
    own = os.environ.get(VARIABLE)
    if not own or own == EXTRA_DEPS_FILE:
        os.environ[VARIABLE] = EXTRA_DEPS_FILE
        return
    from coalm_oumi.oumi_plugin.merge_extra_deps import merged_file

    os.environ[VARIABLE] = merged_file(own, line=PLUGIN_LINE, variable=VARIABLE)
