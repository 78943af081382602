"""`coalm overlap`."""

import argparse
from pathlib import Path

from coalm_oumi.core.errors import CoalmError

HELP = "look for benchmark text in a mixture"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("path", type=Path, help="a folder that `coalm build` wrote, or a file")
    parser.add_argument(
        "--benchmark",
        action="append",
        required=True,
        metavar="NAME=PATH",
        help="a benchmark's JSON files; may be given several times",
    )
    parser.add_argument("--output", type=Path, help="write the mixture without what overlaps here")
    parser.add_argument("--workers", type=int, default=1, help="processes (%(default)s)")


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from coalm_oumi.data.mixture import overlap
    from coalm_oumi.data.mixture.store import read_all

    if options.output is not None:
        overlap.check_clean(options.path, options.output)
    benchmarks = []
    for given in options.benchmark:
        name, _, path = given.partition("=")
        if not path:
            raise CoalmError(f"--benchmark {given}: expected NAME=PATH")
        benchmarks.append(overlap.read_benchmark(name, Path(path)))
    table = read_all(options.path)
    results, overlapping = overlap.find(table, benchmarks, workers=options.workers)
    print(overlap.as_text(results, len(table)))
    folder = options.path if options.path.is_dir() else options.path.parent
    print(overlap.write(folder, results, len(table)))
    if options.output is not None:
        overlap.write_clean(options.path, options.output, benchmarks, overlapping)
        print(f"{options.output}: written without {overlapping.sum()} samples")
    return 0
