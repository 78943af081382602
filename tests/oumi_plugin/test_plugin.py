"""Plain `oumi` commands find this package."""

import json
import sys
import threading
import venv
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from coalm_oumi.oumi_plugin.doctor import attention
from coalm_oumi.oumi_plugin.extra_deps import EXTRA_DEPS_FILE, PLUGIN_LINE, VARIABLE
from coalm_oumi.oumi_plugin.merge_extra_deps import merged_file
from tests.conftest import run

PROBE = """
import json, os
from oumi.core.registry import REGISTRY, RegistryType
names = list(REGISTRY.get_all(RegistryType.DATASET)) + list(
    REGISTRY.get_all(RegistryType.EVALUATION_FUNCTION)) + list(
    REGISTRY.get_all(RegistryType.REWARD_FUNCTION))
print("FOUND", json.dumps([[n for n in names if n.startswith(("coalm-oumi/", "own/"))],
                           os.environ["OUMI_EXTRA_DEPS_FILE"]]))
"""


def registered(tmp_path: Path, python: str | Path = sys.executable, **environment: str):
    done = run(python, "-c", PROBE, cwd=tmp_path, **environment)
    (line,) = [x for x in done.stdout.splitlines() if x.startswith("FOUND ")] or [done.stderr]
    return json.loads(line.removeprefix("FOUND "))


def test_plain_oumi_finds_the_package(tmp_path: Path):
    names, variable = registered(tmp_path)
    assert {
        "coalm-oumi/mixture",
        "coalm-oumi/mixture_grpo",
        "coalm-oumi/state_tracking",
        "coalm-oumi/ast_match",
    } <= set(names)
    assert variable == EXTRA_DEPS_FILE


FIRST_IMPORTS = """
import json, os, sys
import datasets, torch, transformers, trl  # the seconds of an import, and no part of the circle
codes = {}
for module in ("oumi.builders", "oumi.core.evaluation", "oumi.inference", "oumi.train",
               "coalm_oumi.agent.forms", "coalm_oumi.evaluation.multiwoz.lead"):
    child = os.fork()
    if not child:
        __import__(module)
        os._exit(0)
    codes[module] = os.waitpid(child, 0)[1]
print(json.dumps(codes))
"""


def test_oumi_loads_whichever_module_comes_first(tmp_path: Path):
    """Oumi loads the plugin in the middle of imports, its own or ours: no circle may close there."""
    done = run(sys.executable, "-c", FIRST_IMPORTS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout.splitlines()[-1])
    assert len(codes) == 6 and not any(codes.values()), done.stderr


def test_a_file_of_the_users_own_is_kept(tmp_path: Path):
    (tmp_path / "mine.py").write_text(
        "from oumi.core.registry import register_evaluation_function\n"
        "@register_evaluation_function('own/task')\n"
        "def task(): return {}\n"
    )
    own = tmp_path / "deps.txt"
    own.write_text(f"{tmp_path / 'mine.py'}")
    names, variable = registered(
        tmp_path, **{VARIABLE: str(own), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    )
    assert {"coalm-oumi/mixture", "own/task"} <= set(names)
    assert Path(variable).is_relative_to(tmp_path / "cache")
    assert own.read_text() == f"{tmp_path / 'mine.py'}", "the user's file is left alone"


def test_when_no_merged_copy_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    own = tmp_path / "deps.txt"
    own.write_text("/x/mine.py\n")
    blocked = tmp_path / "blocked"
    blocked.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert merged_file(str(own), line=PLUGIN_LINE, variable=VARIABLE) == str(own)
    assert f"add the line `{PLUGIN_LINE}` to that file" in capsys.readouterr().err


def test_a_merged_copy_is_trusted_by_its_content_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    own = tmp_path / "deps.txt"
    own.write_text("/x/mine.py\n")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    merged = Path(merged_file(str(own), line=PLUGIN_LINE, variable=VARIABLE))
    content = merged.read_text()
    merged.write_text("/x/evil.py\n")
    assert merged_file(str(own), line=PLUGIN_LINE, variable=VARIABLE) == str(merged)
    assert merged.read_text() == content and "evil" not in content
    merged.parent.chmod(0o777)
    assert merged_file(str(own), line=PLUGIN_LINE, variable=VARIABLE) == str(own)
    assert "other users can write to the folder" in capsys.readouterr().err


def test_files_that_need_no_merging(tmp_path: Path):
    own = tmp_path / "deps.txt"
    own.write_text(f"# mine\n{PLUGIN_LINE}\n")
    assert merged_file(str(own), line=PLUGIN_LINE, variable=VARIABLE) == str(own)
    assert merged_file(str(tmp_path / "nosuch"), line=PLUGIN_LINE, variable=VARIABLE) == str(
        tmp_path / "nosuch"
    )


def test_other_programs_see_nothing_of_it(tmp_path: Path):
    code = (
        "import os, sys; print('OUMI_EXTRA_DEPS_FILE' in os.environ,"
        " sorted(m for m in sys.modules if m.startswith(('coalm_oumi', 'oumi', 'torch'))))"
    )
    done = run(sys.executable, "-c", code, cwd=tmp_path)
    assert done.stdout.strip() == "False []"


def test_the_start_up_file_looks_for_no_module(repo: Path):
    """Every start of Python runs it, so it may import nothing but what is there already."""
    line = (repo / "coalm_oumi_autoload.pth").read_text()
    code = (
        f"import sys; before = set(sys.modules); exec({line!r}); print(set(sys.modules) - before)"
    )
    done = run(sys.executable, "-S", "-c", code, cwd=repo)
    assert done.stdout.strip() == "set()", done.stderr


def test_help_loads_nothing_heavy(tmp_path: Path):
    code = (
        "import sys\nfrom coalm_oumi.cli.app import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'transformers', 'datasets', 'numpy') if m in sys.modules])"
    )
    done = run(sys.executable, "-c", code, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_wheel_carries_prompts_recipes_and_plugin(repo: Path, tmp_path: Path):
    """Builds the wheel and installs it, without its dependencies, over this environment's."""
    built = run(
        sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", tmp_path, cwd=repo
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    fresh = tmp_path / "venv"
    venv.create(fresh, with_pip=True, symlinks=True)
    python = fresh / "bin/python"
    site = next((fresh / "lib").glob("python*/site-packages"))
    here = next(Path(p) for p in sys.path if p.endswith("site-packages"))
    (site / "over.pth").write_text(f"{here}\n")
    installed = run(python, "-m", "pip", "install", "--no-deps", "-q", wheel, cwd=tmp_path)
    assert installed.returncode == 0, installed.stderr
    code = (
        "import coalm_oumi; from coalm_oumi.rendering import prompts; from coalm_oumi.files import resources;"
        "print(coalm_oumi.__file__); print(resources.resource_dir('recipes') / 'coalm_8b.yaml');"
        "print(resources.resource_dir('samples')); print(prompts.render('query', query='hello'))"
    )
    done = run(python, "-c", code, cwd=tmp_path)
    package, recipe, samples, *prompt = done.stdout.splitlines()
    assert Path(package).is_relative_to(site)
    assert Path(recipe).is_relative_to(site) and Path(recipe).is_file()
    assert Path(samples, "xlam/xlam_function_calling.json").is_file()
    assert prompt == ["[BEGIN OF QUERY]", "hello", "[END OF QUERY]"]
    names, variable = registered(tmp_path, python)
    assert "coalm-oumi/mixture" in names
    assert Path(variable).is_relative_to(site)


def test_doctor(tmp_path: Path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"model: {{model_name: {tmp_path}}}")
    coalm = Path(sys.executable).with_name("coalm")
    done = run(coalm, "doctor", "-c", recipe, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "coalm-oumi/mixture" in done.stdout
    assert "names nothing on the Hub" in done.stdout


def test_doctor_names_the_fix(tmp_path: Path):
    own = tmp_path / "deps.txt"
    own.write_text("/nosuch/module_that_is_not_there.py\n")
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = run(Path(sys.executable).with_name("coalm"), "doctor", cwd=tmp_path,
               **{VARIABLE: str(own)}, **cache)  # fmt: skip
    assert done.returncode == 1
    assert f"check the file that {VARIABLE} names" in done.stdout
    assert "module_that_is_not_there" in done.stdout


class Gate(BaseHTTPRequestHandler):
    """A hub with one open and one gated model."""

    def do_GET(self) -> None:
        name = self.path.removeprefix("/api/models/").removesuffix("/auth-check")
        code, error = {"me/open": (200, ""), "me/gated": (403, "GatedRepo")}.get(
            name, (404, "RepoNotFound")
        )
        self.send_response(code)
        if error:
            self.send_header("X-Error-Code", error)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None: ...


ACCESS = """
import sys
from pathlib import Path
from coalm_oumi.oumi_plugin.doctor import hub_access
for recipe in sys.argv[1:]:
    for finding in hub_access(Path(recipe)):
        print(finding)
"""


def test_doctor_checks_access_to_what_a_recipe_names(tmp_path: Path):
    (tmp_path / "here").mkdir()
    models = {
        "open": "{model_name: me/open, adapter_model: ./here}",
        "gated": "{model_name: me/gated}",
        "nosuch": "{model_name: me/nosuch}",
    }
    for name, model in models.items():
        (tmp_path / f"{name}.yaml").write_text(f"model: {model}")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gate)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-c", ACCESS, *(f"{name}.yaml" for name in models)]
    try:
        done = run(*command, cwd=tmp_path, **hub)
    finally:
        server.shutdown()
    assert not done.stderr
    can, gated, unknown = done.stdout.splitlines()
    assert can == "ok   me/open: can be downloaded"
    assert gated.startswith("BAD  me/gated: gated, and this account has no access")
    assert unknown.startswith("BAD  me/nosuch: no such model")
    assert "hf auth login" in gated and "hf auth login" in unknown
    done = run(*command[:3], "open.yaml", cwd=tmp_path, HF_HUB_OFFLINE="1")
    assert "BAD  me/open: the Hub cannot be reached" in done.stdout


@pytest.mark.parametrize(
    ("torch", "set_to", "warned"),
    [("2.9.1+cu128", None, False), ("2.11.0", None, True), ("2.13.0+cpu", "1", False)],
)
def test_doctor_names_what_attention_wants(torch: str, set_to: str | None, warned: bool):
    name = "TORCH_CUDNN_SDPA_DEPRIORITIZED"
    environment = {} if set_to is None else {name: set_to}
    flash, *others = attention(torch, flash=False, environment=environment)
    assert flash.fix == "pip install flash-attn --no-build-isolation"
    assert [finding.fix for finding in others] == [f"export {name}=1"] * warned
