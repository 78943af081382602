import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import unfenced
from coalm_oumi.files import jsontext
from coalm_oumi.files.jsontext import stream_json_list

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)  # fmt: skip


def streamed(path: Path) -> list[object]:
    return [element for element, _ in stream_json_list(path, of="records")]


@given(
    values=st.lists(VALUES, max_size=6),
    indent=st.sampled_from([None, 0, 3]),
    ascii_only=st.booleans(),
    piece=st.integers(1, 9),
)
def test_a_list_comes_back_whole_whatever_the_pieces(
    tmp_path_factory: pytest.TempPathFactory,
    values: list[object],
    indent: int | None,
    ascii_only: bool,
    piece: int,
):
    file = tmp_path_factory.mktemp("list") / "list.json"
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_only)
    file.write_bytes(text.encode("utf-8", "replace"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsontext, "_PIECE", piece)
        assert streamed(file) == json.loads(file.read_bytes())


def test_it_says_how_much_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jsontext, "_PIECE", 10)
    file = tmp_path / "list.json"
    file.write_text(json.dumps(list(range(1000))))
    positions = [position for _, position in stream_json_list(file, of="numbers")]
    assert positions == sorted(positions)
    assert positions[10] < 100
    assert positions[-1] == file.stat().st_size


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a JSON list of records"),
        (b'{"a": 1}', "expected a JSON list of records"),
        (b"[1, 2", "not valid JSON: element 2: expected `,` or `]` before it"),
        (b"[1 2]", "element 1: expected `,` or `]` before it"),
        (b"[1,]", "element 1: Expecting value"),
        (b'[{"a": 1}, {"b"}]', "element 1: Expecting ':' delimiter"),
        (b"[1] 2", "there is text after the list"),
        (b"[NaN]", "NaN is not JSON"),
        (b'["\xff"]', "can't decode byte"),
        (b"[" * 100_000, "element 0: nested too deeply"),
    ],
)
def test_what_is_no_list(tmp_path: Path, content: bytes, message: str):
    file = tmp_path / "list.json"
    file.write_bytes(content)
    with pytest.raises(CoalmError) as error:
        streamed(file)
    assert str(error.value).startswith(f"{file}: ")
    assert message in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(CoalmError, match=r"nosuch.json: no such file"):
        streamed(tmp_path / "nosuch.json")


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("```json\n[1]\n```", "[1]"),
        ("\n ``` \n[1] ``` \n", "[1]"),
        ("``````", ""),
        ("```", "```"),
        ("````", "````"),
        ("```json", "```json"),
        ("so: ```[1]```", "so: ```[1]```"),
        # A model may go on forever; reading it may not.
        ("```" + " " * 100_000 + "x", "```" + " " * 100_000 + "x"),
    ],
)
def test_a_fence_is_taken_off(text: str, inside: str):
    assert unfenced(text) == inside
