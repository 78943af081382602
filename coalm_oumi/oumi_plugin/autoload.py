"""Makes plain `oumi` commands find this package. Imported by every Python start-up: keep it tiny.

Oumi has no entry points. Its registry reads `OUMI_EXTRA_DEPS_FILE` once, a file that names one
module a line. The wheel's `coalm_oumi_autoload.pth` imports this module at start-up, and this
module waits for the first `import oumi` to point the variable at `extra_deps.txt`. A program that
never imports Oumi sees nothing of it.
"""

import os
import sys

VARIABLE = "OUMI_EXTRA_DEPS_FILE"
EXTRA_DEPS_FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "extra_deps.txt")  # noqa: PTH100, PTH118, PTH120 - pathlib would cost every start-up
PLUGIN_LINE = "coalm_oumi.oumi_plugin.register.py"
"""What `extra_deps.txt` says: Oumi imports the file's stem, which is the plugin's module name."""


class _BeforeOumi:
    """A finder that finds nothing: it only notices the first import of Oumi."""

    _noticed = False

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "oumi" and not self._noticed:
            self._noticed = True
            point_oumi_at_plugin()


def point_oumi_at_plugin() -> None:
    """Sets the variable. A file of the user's own is kept: ours is added to a copy of it."""
    own = os.environ.get(VARIABLE)
    if not own or own == EXTRA_DEPS_FILE:
        os.environ[VARIABLE] = EXTRA_DEPS_FILE
        return
    from coalm_oumi.oumi_plugin.merge_extra_deps import merged_file

    os.environ[VARIABLE] = merged_file(own, line=PLUGIN_LINE, variable=VARIABLE)


sys.meta_path.insert(0, _BeforeOumi())  # pyright: ignore[reportArgumentType]
