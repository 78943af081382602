"""Points Oumi at this package, through the one variable that its registry reads.

The variable `OUMI_EXTRA_DEPS_FILE` names a file with one module per line. The registry reads it
once.
"""

import os

VARIABLE = "OUMI_EXTRA_DEPS_FILE"
EXTRA_DEPS_FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "extra_deps.txt")  # noqa: PTH100, PTH118, PTH120 - pathlib would cost every start of Oumi
PLUGIN_LINE = "coalm_oumi.oumi_plugin.register.py"
"""The line of `extra_deps.txt`: Oumi imports its stem, which is the plugin's module name."""


def point_oumi_at_plugin() -> None:
    """Sets the variable. If the user has set it to another file, our line is added to a copy."""
    own = os.environ.get(VARIABLE)
    if not own or own == EXTRA_DEPS_FILE:
        os.environ[VARIABLE] = EXTRA_DEPS_FILE
        return
    from coalm_oumi.oumi_plugin.merge_extra_deps import merged_file

    os.environ[VARIABLE] = merged_file(own, line=PLUGIN_LINE, variable=VARIABLE)
