import csv
import io
import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import uvicorn

from coalm_oumi.cli.app import main
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.data.cra import validation
from coalm_oumi.data.cra.review import HOST, QUESTIONS, Reviews, app
from tests.conftest import REPO

SAMPLES = REPO / "coalm_oumi/data/samples"
TRANSCRIPTS = SAMPLES / "cra/transcripts.jsonl"
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
FINE = dict.fromkeys(QUESTIONS, 1)


def transcripts(folder: Path) -> Path:
    """The package's transcripts, of which the first says something hostile."""
    records = [json.loads(line) for line in TRANSCRIPTS.read_text().splitlines()]
    for record in records:
        record["text"] = record["text"].replace("User: ", f"User: {HOSTILE} ", 1)
    file = folder / "transcripts.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


def opened(folder: Path, size: int = 5, seed: int = 0) -> Reviews:
    cases = validation.read_cases(transcripts(folder), SAMPLES / "sgd", "dialogue")
    return Reviews.open(cases, folder / "review/journal.jsonl", size=size, seed=seed)


@contextmanager
def served(reviews: Reviews) -> Iterator[str]:
    """The page on a free port of loopback, by the server that the command uses."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app(reviews), host=HOST, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://{HOST}:{port}"
    finally:
        server.should_exit = True
        thread.join()
        reviews.journal.close()


def test_what_is_answered_is_kept_and_exported(tmp_path: Path):
    with served(opened(tmp_path)) as url, httpx.Client(base_url=url) as client:
        first = client.get("/api/dialogues/0").json()
        assert first["review"] is None and first["turns"][0][0]["name"] == "User"
        faulty = {"scores": FINE | {"hallucination": 0}, "feedback": "=turn 2: no such time"}
        assert client.put("/api/dialogues/0", json=faulty).status_code == 200
        state = client.put("/api/dialogues/3", json={"scores": FINE}).json()
        assert state["reviewed"] == [True, False, False, True, False]
        exported = client.get("/reviews.csv").text
    with served(opened(tmp_path)) as url, httpx.Client(base_url=url) as client:
        again = client.get("/api/dialogues/0").json()
        assert again["review"] == faulty
        assert client.get("/reviews.csv").text == exported
        jsonl = client.get("/reviews.jsonl").text
    rows = list(csv.reader(io.StringIO(exported)))
    assert rows[0] == ["dialogue_id", *QUESTIONS, "feedback"]
    assert rows[1] == [first["dialogue_id"], "1", "1", "0", "1", "'=turn 2: no such time"]
    file = tmp_path / "reviews.jsonl"
    file.write_text(jsonl)
    found = validation.read_reviews(file)[first["dialogue_id"]]
    assert [name for name, is_faulty in found.items() if is_faulty] == ["hallucination"]


@pytest.mark.parametrize(
    ("review", "reason"),
    [
        ({"scores": FINE | {"reasoning": 0}}, "a fault needs a remark"),
        ({"scores": FINE | {"reasoning": 0}, "feedback": "  "}, "a fault needs a remark"),
        ({"scores": {"reasoning": 1}}, "answer all of"),
        ({"scores": FINE | {"reasoning": 2}}, "a score is 0 or 1"),
        ({"scores": FINE | {"reasoning": True}}, "valid integer"),
        ({"scores": FINE, "more": 1}, "not permitted"),
    ],
)
def test_half_a_review_is_refused(tmp_path: Path, review: dict, reason: str):
    with served(opened(tmp_path)) as url:
        answer = httpx.put(f"{url}/api/dialogues/0", json=review)
        assert answer.status_code == 422 and reason in answer.text
        assert not any(httpx.get(f"{url}/api/state").json()["reviewed"])


def test_half_a_surrogate_pair_breaks_no_export(tmp_path: Path):
    body = json.dumps({"scores": dict.fromkeys(QUESTIONS, 0), "feedback": "a\ud800b"})
    with served(opened(tmp_path)) as url, httpx.Client(base_url=url) as client:
        sent = {"content": body, "headers": {"Content-Type": "application/json"}}
        assert client.put("/api/dialogues/0", **sent).status_code == 200
        for page in ("/reviews.csv", "/reviews.jsonl", "/api/dialogues/0"):
            assert "a?b" in client.get(page).text


def test_a_long_request_is_not_read_to_its_end(tmp_path: Path):
    with served(opened(tmp_path)) as url, httpx.Client(base_url=url) as client:
        long = {"scores": FINE, "feedback": "x" * 1_000_000}
        assert client.put("/api/dialogues/0", json=long).status_code == 413
        pieces = (b"x" * 1000 for _ in range(1000))
        assert client.put("/api/dialogues/0", content=pieces).status_code == 413
        assert client.get("/api/dialogues/0").json()["review"] is None


def test_a_review_that_is_not_one_is_refused_in_one_line(tmp_path: Path):
    with served(opened(tmp_path)) as url, httpx.Client(base_url=url) as client:
        headers = {"Content-Type": "application/json; charset=utf-8"}

        def put(review: object) -> httpx.Response:
            content = json.dumps(review)
            return client.put("/api/dialogues/0", content=content, headers=headers)

        for review, problem in ([], "valid dictionary"), ({"feedback": "x"}, "scores: "):
            refused = put(review)
            assert refused.status_code == 422
            assert problem in refused.json()["detail"]
            assert "\n" not in refused.json()["detail"] and "http" not in refused.json()["detail"]
        assert put({"scores": FINE}).status_code == 200


def test_other_sites_and_other_machines_stay_out(tmp_path: Path):
    with served(opened(tmp_path)) as url:
        assert httpx.get(url, headers={"Host": "evil.example"}).status_code == 400
        # What a form of another site can send without asking the browser first.
        for kind in ("text/plain", "application/x-www-form-urlencoded"):
            sent = httpx.put(
                f"{url}/api/dialogues/0",
                content=json.dumps({"scores": FINE}),
                headers={"Content-Type": kind},
            )
            assert sent.status_code == 422
        page = httpx.get(url)
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert httpx.get(f"{url}/api/dialogues/99").status_code == 404
    assert HOST == "127.0.0.1"


def test_the_sample_is_seeded_and_its_journal_is_its_own(tmp_path: Path):
    first = opened(tmp_path, size=4)
    names = [case.dialogue_id for case in first.cases]
    first.journal.close()
    again = opened(tmp_path, size=4)
    assert [case.dialogue_id for case in again.cases] == names
    again.journal.append(names[0], {"scores": FINE, "feedback": ""})
    again.journal.close()
    with pytest.raises(CoalmError, match="move the file away"):
        opened(tmp_path, size=4, seed=1)
    others = [replace(case, text=f"{case.text}!") for case in again.cases]
    with pytest.raises(CoalmError, match="move the file away"):  # said of other texts
        Reviews.open(others, tmp_path / "review/journal.jsonl", size=4, seed=0)
    with pytest.raises(CoalmError, match="must be positive"):
        opened(tmp_path, size=0)


def test_export_without_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    reviews = opened(tmp_path, size=3)
    name = reviews.cases[1].dialogue_id
    reviews.journal.append(name, {"scores": FINE | {"reasoning": 0}, "feedback": "odd"})
    reviews.journal.close()
    assert main(["cra", "review", str(tmp_path / "transcripts.jsonl"), "--sgd", str(SAMPLES / "sgd"),
                 "--sample", "3", "--functions", "dialogue", "--export"]) == 0  # fmt: skip
    printed = capsys.readouterr().out
    assert "9/100" in printed and "1 of 3 reviewed" in printed
    assert "odd" in (tmp_path / "review/reviews.csv").read_text()


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, without a window."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        instance = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield instance
        instance.close()


def test_a_person_reviews_with_the_keyboard(tmp_path: Path, browser):
    from playwright.sync_api import expect

    errors: list[str] = []
    with served(opened(tmp_path, size=3)) as url:
        page = browser.new_page(viewport={"width": 1280, "height": 900})

        def shows(selector: str, text: str) -> None:
            expect(page.locator(selector)).to_contain_text(text)

        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        page.wait_for_selector(".turn")
        assert "Dialogue 1 of 3" in page.inner_text("#title")
        # What a model wrote is shown as it is, and is never code.
        assert HOSTILE in page.inner_text("#dialogue")
        assert page.locator("#dialogue img, #dialogue script").count() == 0
        assert page.title() == "CRA review"

        page.keyboard.press("Enter")
        assert page.inner_text("#message") == "Question 1 is open."
        page.keyboard.press("0")
        page.keyboard.press("3")
        page.keyboard.press("Enter")
        assert page.inner_text("#message") == "A fault needs a remark."
        page.keyboard.type("Turn 1: 3 F 0 <b>nobody</b> said so")  # keys write, not choose
        page.screenshot(path=str(tmp_path / "fault.png"))
        page.keyboard.press("Control+Enter")
        shows("#title", "2 of 3")
        assert page.inner_text("#count") == "1 of 3 reviewed"

        page.keyboard.press("0")
        page.keyboard.press("Enter")
        shows("#title", "3 of 3")
        page.keyboard.press("ArrowLeft")
        shows("#title", "2 of 3")
        page.keyboard.press("u")
        shows("#title", "3 of 3")

        # Closed and opened again, it resumes with what was said.
        page.reload()
        shows("#title", "3 of 3")
        page.click("#previous")
        shows("#title", "2 of 3")
        page.click("#previous")
        shows("#title", "1 of 3")
        assert page.input_value("#feedback") == "Turn 1: 3 F 0 <b>nobody</b> said so"
        assert page.is_checked("input[name=hallucination][value='0']")
        page.keyboard.press("u")
        shows("#title", "3 of 3")
        page.keyboard.press("0")
        page.keyboard.press("Enter")
        shows("#message", "Every")
        rates = page.inner_text("#rates")
        assert "1/3" in rates and "33.3%" in rates and "9/100" in rates
        page.screenshot(path=str(tmp_path / "done.png"))
        with page.expect_download() as download:
            page.click("text=CSV")
        assert "nobody" in Path(download.value.path()).read_text()
        page.close()
    assert errors == []
