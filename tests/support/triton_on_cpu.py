"""Runs a Python program with Triton's interpreter, so that Liger's kernels compute on a CPU.

    python tests/support/triton_on_cpu.py -m oumi train -c RECIPE ...

The interpreter lacks two things that these kernels use: numbers with a fraction as arguments, and
CUDA's `rsqrt`. The last line says which kernels ran.
"""

import atexit
import os
import runpy
import sys
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"

import numpy as np
import triton.language as tl
from triton.runtime import interpreter

convert = interpreter._implicit_cvt


def with_fractions(value: Any) -> Any:
    """Converts an argument of a kernel as the interpreter does, and a float as well."""
    if not isinstance(value, float):
        return convert(value)
    number = np.array([value], dtype=np.float32)
    return tl.tensor(interpreter.TensorHandle(number, tl.float32), tl.float32)


def main() -> None:
    """Runs the module that the command line names."""
    interpreter._implicit_cvt = with_fractions
    ran: set[str] = set()
    launch = interpreter.GridExecutor.__call__

    def noted(self: Any, *args: Any, **kwargs: Any) -> None:
        ran.add(self.fn.__name__)
        launch(self, *args, **kwargs)

    interpreter.GridExecutor.__call__ = noted
    atexit.register(lambda: print("KERNELS", *sorted(ran)))
    from liger_kernel.ops import rms_norm

    rms_norm.rsqrt = lambda value: tl.rsqrt(value)
    del sys.argv[:2]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
