"""Holds phrases that a native reader stumbles on out of the tree: `python .ci/prose.py`.

Prints `file:line: phrase -> what to write` for each, and exits with 1 if there is any.
"""

import re
import subprocess
import sys
from pathlib import Path

PHRASES = {
    r"\bto be had\b|\bcannot be had\b": "available, unavailable",
    r"\bfor ever\b": "forever",
    r"\b(samples?|GiB|memory|task|launcher|process) a (gpu|node|process|rank)\b": "per",
    r"\bthe mend\b|\bto mend\b|\bmends? it\b|\bmended\b": "the fix, to fix, fixed",
    r"\bsays whether\b": "returns True if",
    r"\bgo(es)? on (where|after a stop)\b": "resume",
    r"\b(lies|lie) (under|beside)\b": "is under, are beside",
    r"\bzero-shot\? drop\b": "say what the command does",
    r"\b(one|each) \w+ an? (source|gpu|sample|turn|question|line)\b": "per",
    r"\bof (its|one's|their) own\b": "say what the thing is",
    r"\bthe recipes lie in\b|\bwhat lies (here|there)\b": "is in, are in",
    r"\bwhich is called as\b|\bcalled as the last part\b": "is named after",
    r"\bwhere there is none\b": "if there is none",
    r"\b1 records\b": "1 record",
    r"\bis no matter of\b": "does not depend on",
    r"\bas far as it (is|was) there\b": "if present",
    r"\banew\b": "again, over",
    r"(?<!there\s)\b(is|are) no (text|time|values?|terminal|folder|part|inputs?)\b": "is not",
    r"\b(bytes|tokens|calls|one|mark) a (turn|token|saying|model)\b": "per",
    r"\"So many\b": "this many",
    r"\bmay say of\b": "may say about; the options of",
    r"\bin the place of\b": "instead of",
    r"\b(takes?|took) no notice\b": "ignores",
    r"\bof yours\b": "your own",
    r"\bcomes? to (its|their) end\b": "ends, finishes",
    r"\bsome (percent|minutes)\b": "a few percent, a few minutes",
    r"\bso many\b": "this many",
    r"\bwhere there (is|are) (no|none|any|nothing)\b": "if there is",
    r"\bthat (is|are) none\b(?! of)": "that is not one",
    r"\basked otherwise\b": "asked differently",
    r"\bwhole or not at all\b": "atomically",
    r"\bout of reach\b": "unreachable",
    r"\b(bytes|operations|answers|turns|tokens|requests?|reply) a (second|line|step)\b": "per",
    r"\bas \w+( \w+)? has it\b": "as in, in the form of",
    r"\bas people have them\b": "variants of",
    r"\bonly the world (or the user )?may\b": "only the environment",
    r"\bhad other work\b": "was also doing other work",
    r"\bthe model as it was\b": "the untrained model",
    r"\bthe one meant\b|\bthat is meant\b": "intended",
}
SUFFIXES = {".py", ".md", ".yaml", ".yml", ".toml", ".jinja", ".html", ".js", ".css"}
# This file holds the phrases, and a licence or a real record is quoted as it is.
EXEMPT = (".ci/prose.py", "LICENSE", "coalm_oumi/data/samples/")


def findings(file: Path) -> list[str]:
    """Returns the phrases of one file, each with its line and what to write instead."""
    text = file.read_text(encoding="utf-8")
    found: list[str] = []
    for pattern, better in PHRASES.items():
        # A phrase may go over the end of a line, also in a comment.
        for match in re.finditer(pattern.replace(" ", r"[\s#]+"), text, re.IGNORECASE):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{file}:{line}: `{' '.join(match[0].split())}` -> {better}")
    return found


def main() -> int:
    """Checks every tracked text file."""
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True)
    files = [Path(name) for name in listed.stdout.splitlines() if not name.startswith(EXEMPT)]
    found = [line for f in files if f.suffix in SUFFIXES and f.is_file() for line in findings(f)]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
