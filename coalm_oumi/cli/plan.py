"""`coalm plan`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from coalm_oumi.cli.arguments import Changes, existing, positive
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.rendering.terminal import say


def plan(
    recipe: Annotated[
        Path,
        typer.Argument(callback=existing, help="A training recipe, such as recipes/coalm_8b.yaml"),
    ],
    changes: Changes = None,
    gpu: Annotated[
        str | None, typer.Option(metavar="NAME", help="The kind of GPU (default: h100)")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=1, help="Number of GPUs (default: as many as the batch needs)")
    ] = None,
    here: Annotated[
        bool, typer.Option("--here", help="Plan for this machine's GPUs, and check its packages")
    ] = False,
    global_batch: Annotated[
        int | None, typer.Option(min=1, help="Sequences per step (default: the paper's 8)")
    ] = None,
    price: Annotated[
        float | None, typer.Option(callback=positive, help="Price of a GPU-hour")
    ] = None,
    network: Annotated[
        float | None,
        typer.Option(callback=positive, metavar="GB/S", help="Network speed per GPU between nodes"),
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Samples per epoch")] = None,
    tokens_per_sample: Annotated[
        float | None, typer.Option(callback=positive, help="Mean length of the samples in tokens")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The folder to write plan.json and plan.png into"),
    ] = None,
) -> None:
    """Estimate whether a training recipe fits, how long it takes and what it costs.

    The exit code is 1 if the recipe cannot run as it is.
    """
    from coalm_oumi.training.plan import show
    from coalm_oumi.training.plan.build import PlanOptions, make_plan
    from coalm_oumi.training.plan.gpus import NoGpuError, gpu_by_name, gpus_here
    from coalm_oumi.training.plan.schedule import NETWORK_GB_S

    kind = gpu_by_name(gpu or "h100")
    no_gpu = False
    if here:
        try:
            kind, found = gpus_here(kind if gpu else None)
        except NoGpuError as error:  # the rest of the plan is useful without a GPU
            no_gpu = True
            say(f"error: {error}; planned for {kind.name}", file=sys.stderr)
        else:
            gpus = gpus or found
            if gpus > found:
                raise CoalmError(f"--gpus {gpus}: this machine has {found}; leave out --here")
    options = PlanOptions(
        changes=changes or (),
        gpus=gpus,
        here=here,
        global_batch=global_batch,
        network_gb_s=network or NETWORK_GB_S,
        price=price,
        samples=samples,
        tokens_per_sample=tokens_per_sample,
    )
    made = make_plan(recipe, kind, options)
    show.show(made)
    if output is not None:
        for file in show.write(output, made):
            say(file)
    if no_gpu or not made.ok:
        raise typer.Exit(1)
