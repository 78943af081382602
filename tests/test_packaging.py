import re
import runpy
import sys
from pathlib import Path

import pytest

from tests.conftest import PAGES, run

pytest.importorskip("hatchling")


def readme(repo: Path, urls: dict[str, str]) -> str:
    hook = runpy.run_path(str(repo / ".ci/readme.py"))["ReadmeHook"]
    metadata = {"urls": urls}
    hook(str(repo), {}).update(metadata)
    return metadata["readme"]["text"]


def test_the_readme_of_pypi_has_no_link_that_leads_nowhere(repo: Path):
    for text in (readme(repo, {}), readme(repo, {"Source": "https://code.example/coalm"})):
        links = re.findall(r"\]\(([^)]+)\)", text)
        assert links and all(link.startswith("https://") for link in links)
    assert "[docs/index.md](https://code.example/coalm/blob/main/docs/index.md)" in text
    assert "`docs/index.md` (in the source distribution)" in readme(repo, {})


def test_links_between_the_pages_resolve():
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?://)([^)\s]+)\)", page.read_text()):
            name, _, anchor = link.partition("#")
            file = page.parent / name if name else page
            assert file.exists(), f"{page.name}: {link}"
            assert not anchor or anchor in anchors(file), f"{page.name}: {link}"


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", title.lower()).replace(" ", "-") for title in headings}


def test_the_script_for_the_library_runs(repo: Path, mixture: Path, tiny_model: Path):
    done = run(sys.executable, repo / "docs/python.py", mixture, tiny_model, cwd=repo)
    assert done.returncode == 0, done.stderr
    assert "joint goal accuracy of the target itself: 1.0" in done.stdout
    assert "FunctionCall(name='get_weather'" in done.stdout
