"""`coalm plan`."""

import argparse
from pathlib import Path

from coalm_oumi.core.errors import CoalmError

HELP = "say whether a training recipe fits, how long it takes and what it costs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add = parser.add_argument
    add("recipe", type=Path, help="a training recipe, such as recipes/coalm_8b.yaml")
    add("changes", nargs="*", metavar="KEY=VALUE", help="changes to the recipe, before any option")
    add("--gpu", metavar="NAME", help="the kind of GPU (h100)")
    add("--gpus", type=_positive(int), help="how many (those that make the batch)")
    add("--here", action="store_true", help="take this machine's GPUs and check its packages too")
    add("--global-batch", type=_positive(int), help="sequences to a step (the paper's 8)")
    add("--price", type=_positive(float), help="of one GPU-hour")
    add("--mfu", type=_positive(float), help="share of the GPU's speed used, in (0, 1]")
    add("--network", type=_positive(float), metavar="GB/S", help="a GPU to other nodes")
    add("--samples", type=_positive(int), help="samples in an epoch")
    add("--tokens-per-sample", type=_positive(float), help="their mean length")
    add("--output", type=Path, metavar="FOLDER", help="write plan.json and plan.png there")


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code, 1 where the recipe cannot run as it stands."""
    from coalm_oumi.training.plan import show
    from coalm_oumi.training.plan.build import make_plan
    from coalm_oumi.training.plan.gpus import gpu_by_name, gpus_here
    from coalm_oumi.training.plan.schedule import DEFAULT_MFU, NETWORK_GB_S

    mfu = options.mfu or DEFAULT_MFU
    if mfu > 1:
        raise CoalmError(f"--mfu {mfu}: a share in (0, 1], such as {DEFAULT_MFU}")
    gpu, gpus = gpu_by_name(options.gpu or "h100"), options.gpus
    if options.here:
        gpu, found = gpus_here(gpu if options.gpu else None)
        gpus = gpus or found
        if gpus > found:
            raise CoalmError(f"--gpus {gpus}: this machine has {found}; leave out --here")
    plan = make_plan(
        options.recipe,
        gpu,
        changes=options.changes,
        gpus=gpus,
        here=options.here,
        global_batch=options.global_batch,
        mfu=mfu,
        network_gb_s=options.network or NETWORK_GB_S,
        price=options.price,
        samples=options.samples,
        tokens_per_sample=options.tokens_per_sample,
    )
    print(show.as_text(plan))
    if options.output is not None:
        for file in show.write(options.output, plan):
            print(file)
    return 0 if plan.ok else 1


def _positive(kind: type):
    def read(text: str):
        value = kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not positive")
        return value

    read.__name__ = kind.__name__  # argparse names it in its own message
    return read
