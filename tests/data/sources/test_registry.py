"""Sources that another package adds: a real one, installed into a folder on the path."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.sample import Sample
from coalm_oumi.data.mixture.build import build
from coalm_oumi.data.mixture.config import load_config
from coalm_oumi.data.sources import find_source, open_source, read, registry, source_names
from tests.conftest import run

GREETINGS = '''
"""Greetings in lines of text, one sample per line."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from coalm_oumi.core.options import Options
from coalm_oumi.core.sample import Sample
from coalm_oumi.data.sources import Record, RecordError, Source, SourcePath
from coalm_oumi.rendering.prompts import templates


class GreetingOptions(Options):
    greeting: str = "Hello"
    names: SourcePath | None = None


class Greetings:
    def __init__(self, path: Path, options: GreetingOptions) -> None:
        self.size = path.stat().st_size
        self._path = path
        self._greeting = options.greeting

    def records(self) -> Iterator[Record]:
        for number, line in enumerate(self._path.read_text().splitlines(), start=1):
            yield Record(f"{self._path}:{number}", str(number), line, self.size)

    def samples(self, record: Record) -> Sequence[Sample]:
        if not record.content:
            raise RecordError("the line is empty")
        template = templates(Path(__file__).parent).get_template("greeting.jinja")
        return [
            Sample(
                instruction=template.render(),
                input=record.content,
                output=f"{self._greeting}, {record.content}!",
                source="greetings",
                domain="tod",
                dialogue_id=f"greetings/{record.key}",
            )
        ]


SOURCE = Source("tod", Greetings, GreetingOptions)
'''


def install(folder: Path, entry_points: str, **modules: str) -> None:
    """Installs a package as pip does: its modules, and what its dist-info says of it."""
    package = folder / "polite"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "greeting.jinja").write_text("Greet whoever is named.")
    for name, code in modules.items():
        (package / f"{name}.py").write_text(code)
    information = folder / "polite-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: polite\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{entry_points}\n")


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Returns a function that installs a package, whose sources are gone after the test."""

    def forget() -> None:
        registry._added_sources.cache_clear()
        registry.find_source.cache_clear()
        for name in [name for name in sys.modules if name.partition(".")[0] == "polite"]:
            del sys.modules[name]

    def add(entry_points: str, **modules: str) -> Path:
        install(tmp_path / "site", entry_points, **modules)
        monkeypatch.syspath_prepend(tmp_path / "site")
        forget()
        return tmp_path / "site"

    yield add
    monkeypatch.undo()
    forget()


def greeted(path: Path, **options: object) -> list[str]:
    return [
        item.output if isinstance(item, Sample) else str(item)
        for item in read(open_source("greetings", path, options))
    ]


def test_a_package_adds_a_source_with_an_option(added, tmp_path: Path):
    added("greetings = polite.greetings:SOURCE", greetings=GREETINGS)
    names = tmp_path / "names.txt"
    names.write_text("Ada\n\nGrace\n")
    assert "greetings" in source_names()
    assert find_source("greetings").domain == "tod"
    assert greeted(names) == ["Hello, Ada!", f"{names}:2: the line is empty", "Hello, Grace!"]
    assert greeted(names, greeting="Good day")[0] == "Good day, Ada!"
    with pytest.raises(CoalmError, match="source greetings: greeting: expected text, found 3"):
        greeted(names, greeting=3)
    with pytest.raises(CoalmError, match="unknown key `salute`; the keys are greeting, names"):
        greeted(names, salute="Hi")
    shipped = open_source("greetings", names, {"names": "samples:xlam"})
    assert shipped.size == names.stat().st_size


def test_an_added_source_is_a_part_of_a_mixture_and_a_dataset(added, tmp_path: Path):
    """`coalm build` with two processes, and Oumi's registry, each in a separate process."""
    site = added("greetings = polite.greetings:SOURCE", greetings=GREETINGS)
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"person {n}" for n in range(300)))
    recipe = tmp_path / "greetings.yaml"
    recipe.write_text(
        f"output_dir: {tmp_path / 'built'}\nvalidation_fraction: 0.1\nsources:\n"
        f"  greetings: {{path: {names}, options: {{greeting: Welcome}}}}\n"
    )
    built = run(
        "coalm", "build", "-c", recipe, "--workers", "2", cwd=tmp_path, PYTHONPATH=str(site)
    )
    assert built.returncode == 0, built.stderr
    manifest = json.loads((tmp_path / "built/manifest.json").read_text())
    counts = [manifest["samples"][split]["greetings"] for split in ("train", "validation")]
    assert sum(counts) == 300 and all(counts)

    script = f"""
from oumi.core.registry import REGISTRY
dataset = REGISTRY.get_dataset("coalm-oumi/greetings")(
    dataset_name="coalm-oumi/greetings", dataset_path={str(names)!r},
    source_options={{"greeting": "Welcome"}},
)
print(dataset.samples[7]["output"])
"""
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=site
    )
    assert loaded.stdout.splitlines()[-1:] == ["Welcome, person 7!"], loaded.stderr


def test_a_changed_source_renders_its_parts_anew(added):
    site = added("greetings = polite.greetings:SOURCE", greetings=GREETINGS)
    before = registry.code_hash("greetings")
    assert before and registry.code_hash("snips") == ""
    (site / "polite/greeting.jinja").write_text("Greet them all.")
    assert registry.code_hash("greetings") != before


@pytest.mark.parametrize(
    ("entry_points", "module", "message"),
    [
        ("greetings = polite.nosuch:SOURCE", "", "polite.nosuch.*cannot be imported: ModuleNotFound"),
        ("greetings = polite.greetings:SOURCE", "1 / 0", "cannot be imported: ZeroDivisionError"),
        ("greetings = polite.greetings:SOURCE", "SOURCE = 3", "expected an instance of .*Source, found 3"),
        ("greetings = polite.greetings:SOURCE",
         "from coalm_oumi.data.sources import Source\nSOURCE = Source('tod', list, dict)",
         "its options: expected a subclass of .*Options, found <class 'dict'>"),
        ("snips = polite.greetings:SOURCE", GREETINGS, "source `snips` is offered more than once"),
    ],
)  # fmt: skip
def test_a_broken_package_is_named(added, entry_points: str, module: str, message: str):
    added(entry_points, greetings=module)
    with pytest.raises(CoalmError, match=message):
        find_source(entry_points.partition(" ")[0])
    assert find_source("hammer").domain == "la", "the others still work"


def test_a_name_that_is_taken_is_left_out(added):
    with pytest.warns(UserWarning, match="`mixture` cannot be the name of a source"):
        added("mixture = polite.greetings:SOURCE", greetings=GREETINGS)
        assert "mixture" not in source_names()


def test_an_unknown_source_is_refused_with_the_known_ones(tmp_path: Path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"output_dir: {tmp_path}/out\nsources: {{nosuch: {{path: x}}}}\n")
    with pytest.raises(
        CoalmError, match="unknown source `nosuch`; use some of alpaca, hammer, sgd"
    ):
        build(load_config(recipe, []))
