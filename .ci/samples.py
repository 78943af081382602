"""Renders one sample of each source, from the raw files that ship with the package, for the docs.

python .ci/samples.py            # prints the page
python .ci/samples.py --write    # writes docs/mixture_samples.md
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from coalm_oumi.core.sample import Sample
from coalm_oumi.data.sources import open_source, read
from coalm_oumi.files.resources import resource_dir

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/mixture_samples.md"

HEAD = """# One sample of each source

`python .ci/samples.py --write` renders this page from the raw files in `coalm_oumi/data/samples`.
Beside each stands the paper's figure. A golden file of the tests holds the figure's own sample as
the same template renders it.

"""

SHOWN = (
    # source, folder, figure, golden file, what the output starts with
    ("snips", "snips", "Figure 4", "snips.txt", "System:"),
    ("hammer", "xlam", "Figure 5", "hammer.txt", "[{"),
    ("toolace", "toolace", "no figure; Figure 5 with a history", "toolace.txt", "[{"),
    ("sgd", "sgd", "Figure 6, action", "cra_action.txt", "Action:"),
    ("sgd", "sgd", "Figure 7, response", "cra_response.txt", "System:"),
)
"""The samples of the page. From a conversation, the first sample with a history is taken."""


def samples(source: str, folder: str) -> Iterator[Sample]:
    """Yields a source's samples of its shipped raw files."""
    path = resource_dir("samples") / folder
    yield from (s for s in read(open_source(source, path, {})) if isinstance(s, Sample))


def page() -> str:
    """Returns the whole page."""
    parts = []
    for source, folder, figure, golden, start in SHOWN:
        found = [s for s in samples(source, folder) if s.output.startswith(start)]
        sample = next((s for s in found if "CONVERSATION HISTORY" in s.instruction), found[0])
        text = f"{sample.instruction}\n\n### Input:\n{sample.input}\n\n### Output:\n{sample.output}"
        parts.append(
            f"## {source}: {figure}\n\nGolden file: "
            f"[{golden}](../tests/rendering/golden/{golden}).\n\n````\n{text}\n````\n"
        )
    return HEAD + "\n".join(parts)


def main() -> int:
    """Prints or writes the page."""
    if "--write" in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
