"""`coalm overlap`."""
# pyright: standard

from pathlib import Path
from typing import Annotated

import typer

from coalm_oumi.cli.arguments import Workers
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.rendering.terminal import say


def overlap(
    path: Annotated[Path, typer.Argument(help="A folder that `coalm build` wrote, or a file")],
    benchmark: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=PATH", help="A benchmark's JSON files; repeat for several benchmarks"
        ),
    ],
    workers: Workers = 1,
) -> None:
    """Look for benchmark text in a mixture."""
    from coalm_oumi.data.mixture import overlap as overlaps
    from coalm_oumi.data.mixture.store import read_all
    from coalm_oumi.rendering.terminal import show

    benchmarks = []
    for given in benchmark:
        name, _, place = given.partition("=")
        if not place:
            raise CoalmError(f"--benchmark {given}: expected NAME=PATH")
        benchmarks.append(overlaps.read_benchmark(name, Path(place)))
    table = read_all(path)
    results = overlaps.find(table, benchmarks, workers=workers)
    show(overlaps.as_table(results, len(table)))
    folder = path if path.is_dir() else path.parent
    say(overlaps.write(folder, results, len(table)))
