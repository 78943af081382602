"""Each promise of docs/reliability.md names tests that exist."""

import re

from tests.conftest import REPO


def test_every_promise_has_a_test():
    page = (REPO / "docs/reliability.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 30
    for row in rows:
        fault, _, tests = re.split(r" \| ", row.strip("| "), maxsplit=2)
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", tests)
        assert named and len(named) == tests.count("`") // 2, f"{fault}: names no test"
        for file, name in named:
            text = (REPO / file).read_text()
            assert re.search(rf"^def {name}\(", text, re.MULTILINE), f"{file} has no {name}"
