"""GPUs that a plan may name, and those of this machine."""
# pyright: standard

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

from coalm_oumi.core.errors import CoalmError


@dataclass(frozen=True, slots=True)
class Gpu:
    """A kind of GPU.

    Attributes:
        name: Its name.
        memory: Bytes in all.
        tflops: Dense tensor-core speed in 16 bits, 1e12 floating-point operations per second.
        bf16: Whether it has bfloat16 arithmetic.
        link_gb_s: 1e9 bytes per second to another GPU of its node, in one direction.
    """

    name: str
    memory: int
    tflops: float
    bf16: bool
    link_gb_s: float


def known_gpus() -> dict[str, Gpu]:
    """Returns the GPUs of `gpus.yaml` by name."""
    text = (files("coalm_oumi.training.plan") / "gpus.yaml").read_text(encoding="utf-8")
    rows: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return {
        name: Gpu(
            name=name,
            memory=int(row["memory_gb"] * 1e9),
            tflops=row["tflops"],
            bf16=row["bf16"],
            link_gb_s=row["link_gb_s"],
        )
        for name, row in rows.items()
    }


def gpu_by_name(name: str) -> Gpu:
    """Returns a GPU of `gpus.yaml`.

    Raises:
        CoalmError: No GPU has this name.
    """
    known = known_gpus()
    if name not in known:
        raise CoalmError(f"--gpu {name}: unknown; use one of {', '.join(known)}")
    return known[name]


class NoGpuError(CoalmError):
    """This machine has no GPU."""


def gpus_here(like: Gpu | None = None) -> tuple[Gpu, int]:
    """Finds this machine's GPUs: the kind of the first one, and their number.

    The driver gives memory and bfloat16. The speed is that of the known GPU of the same name.

    Args:
        like: The known GPU to take the speed from; None looks for one by name.

    Raises:
        NoGpuError: This machine has no GPU.
        CoalmError: The GPU is not known.
    """
    import torch

    if not torch.cuda.is_available():
        raise NoGpuError(
            "--here: PyTorch finds no GPU on this machine (`coalm plan --gpu NAME --gpus N` plans "
            "for another)"
        )
    properties = torch.cuda.get_device_properties(0)
    plain = properties.name.lower().replace(" ", "")
    named = [gpu for name, gpu in known_gpus().items() if name in plain]
    like = like or (named[0] if named else None)
    if like is None:
        raise CoalmError(f"--here: {properties.name} is not known; add --gpu with one as fast")
    found = Gpu(
        name=properties.name,
        memory=properties.total_memory,
        tflops=like.tflops,
        bf16=torch.cuda.is_bf16_supported(including_emulation=False),
        link_gb_s=like.link_gb_s,
    )
    return found, torch.cuda.device_count()
