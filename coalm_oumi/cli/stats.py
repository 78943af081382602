"""`coalm stats`."""
# pyright: standard

from pathlib import Path
from typing import Annotated

import typer

from coalm_oumi.cli.arguments import Workers
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.wording import first_line
from coalm_oumi.rendering.terminal import say


def stats(
    path: Annotated[Path, typer.Argument(help="A folder that `coalm build` wrote, or a file")],
    tokenizer: Annotated[
        str, typer.Option(help="The tokenizer: a hub id or a folder")
    ] = "meta-llama/Llama-3.1-8B-Instruct",
    window: Annotated[int, typer.Option(min=1, help="The model's context length")] = 4096,
    workers: Workers = 1,
) -> None:
    """Count a mixture's samples and tokens, beside the paper's Table 1."""
    if not path.exists():  # before the imports, which take seconds
        raise CoalmError(f"{path}: no such file or folder; `coalm build` writes one")
    import transformers

    from coalm_oumi.data.mixture import stats as counts
    from coalm_oumi.rendering.terminal import show

    try:
        loaded = transformers.AutoTokenizer.from_pretrained(tokenizer)
    except (OSError, ValueError) as error:
        raise CoalmError(
            f"--tokenizer {tokenizer}: unavailable ({first_line(error)}); give the folder of "
            "one on disk"
        ) from error
    lengths = counts.count_tokens(path, loaded, workers=workers)
    rows = counts.summarize(lengths, window=window)
    show(counts.as_table(rows, window=window))
    for remark in counts.remarks(rows):
        say(remark)
    folder = path if path.is_dir() else path.parent
    for file in counts.write(folder, lengths, rows, window=window):
        say(file)
