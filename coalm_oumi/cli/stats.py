"""`coalm stats`."""

import argparse
from pathlib import Path

from coalm_oumi.core.errors import CoalmError

HELP = "count a mixture beside the paper's Table 1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("path", type=Path, help="a folder that `coalm build` wrote, or a file")
    parser.add_argument(
        "--tokenizer",
        default="meta-llama/Llama-3.1-8B-Instruct",
        help="a hub id or a folder (default: %(default)s)",
    )
    parser.add_argument("--window", type=int, default=4096, help="the model's length (%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes (%(default)s)")


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    import transformers

    from coalm_oumi.data.mixture import stats

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
