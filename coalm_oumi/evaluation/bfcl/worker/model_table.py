"""Stands for the package's model table; to be imported before anything of the package.

The table imports the client of every API vendor, which takes longer than all checks together. The
checkers look up one flag in it: whether dots of names became underscores.
"""

import sys
import types

MODEL, MODEL_WITHOUT_DOTS = "coalm", "native"

_table = types.ModuleType("bfcl_eval.constants.model_config")
_table.MODEL_CONFIG_MAPPING = {  # pyright: ignore[reportAttributeAccessIssue]
    MODEL: types.SimpleNamespace(underscore_to_dot=False),
    MODEL_WITHOUT_DOTS: types.SimpleNamespace(underscore_to_dot=True),
}
sys.modules[_table.__name__] = _table
