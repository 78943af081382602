"""MultiWOZ: values, data, databases, and what tool calls do."""

import json
import sqlite3
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oumi.core.configs.params.environment_params import EnvironmentParams

from coalm_oumi.agent.toolbox import Toolbox
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.evaluation.multiwoz import data, fetch
from coalm_oumi.evaluation.multiwoz.database import Database
from coalm_oumi.evaluation.multiwoz.values import canonical, clean_name, clean_time
from coalm_oumi.evaluation.multiwoz.world import ENV_TYPE, FUNCTIONS, TOOLS, World
from coalm_oumi.formats.calls import FunctionCall
from tests.support.chat_server import ChatServer, Reply
from tests.support.multiwoz_data import TABLE, write_archive, write_databases


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(write_databases(tmp_path / "db"))


@pytest.fixture
def world(database: Database) -> World:
    return World(database, "D", data.dialogue("D", TABLE, Path("x")).goals)


def call(world: World, name: str, /, **arguments: object) -> dict:
    return observe(world, FunctionCall(name, arguments))


def observe(world: World, call: FunctionCall) -> dict:
    """Runs a call as the agent does, through the toolbox."""
    params = EnvironmentParams(id="multiwoz", env_type=ENV_TYPE, tools=list(TOOLS))
    return json.loads(Toolbox([params], build=lambda _: world).call(call))


@pytest.mark.parametrize(
    ("text", "time"),
    [("9:30", "09:30"), ("17:15", "17:15"), ("after 5 pm", "17:00"), ("5:30 p.m.", "17:30"),
     ("12 am", "00:00"), ("noon", "12:00"), ("1715", "17:15"), ("17.15", "17:15"),
     ("soon", "soon"), ("25:00", "25:00"), ("", ""), ("7", "07:00")],
)  # fmt: skip
def test_times(text: str, time: str):
    assert clean_time(text) == time


@pytest.mark.parametrize(
    ("one", "other"),
    [("The Copper Pot", "copper pot"), ("Gonville Hotel", "gonville"), ("A & B Guest House",
     "a and b guesthouse"), ("City Centre North B&B", "city centre north b and b"),
     ("saint john 's chop house", "St Johns chop-house")],
)  # fmt: skip
def test_names_that_are_the_same(one: str, other: str):
    assert clean_name(one) == clean_name(other)


@pytest.mark.parametrize(
    ("slot", "value", "canon"),
    [("area", "Center", "centre"), ("internet", "free", "yes"), ("type", "guest house",
     "guesthouse"), ("pricerange", "do n't care", "dontcare"), ("stars", "four stars", "4"),
     ("book people", 4, "4"), ("leaveat", "9:00", "09:00"), ("food", "not mentioned", "")],
)  # fmt: skip
def test_canonical_values(slot: str, value: object, canon: str):
    assert canonical(slot, value) == canon


@given(st.sampled_from(["area", "stars", "leaveat", "name", "food"]), st.text(max_size=30))
def test_what_is_canonical_stays(slot: str, value: str):
    once = canonical(slot, value)
    assert canonical(slot, once) == once


def test_the_archive_as_published(tmp_path: Path):
    folder = write_archive(tmp_path / "MULTIWOZ2.4")
    dialogues = data.read(folder, version="2.4")
    assert [d.dialogue_id for d in dialogues] == ["TABLE", "TRIP"], "the long one is left out"
    assert [d.dialogue_id for d in data.read(folder, version="2.4", split="train")] == ["TRAIN"]
    table = dialogues[0]
    assert table.message[0] == "Find an indian place in the centre"
    goal = table.goals["restaurant"]
    assert (goal.requests, goal.fail_book) == (("phone",), {"time": "19:00"})
    assert goal.book == {"people": "2", "day": "friday", "time": "18:00"}
    assert table.turns[1].state == {
        "restaurant-food": ("indian",), "restaurant-area": ("centre",),
        "restaurant-name": ("copper pot",), "restaurant-book people": ("2",),
        "restaurant-book day": ("friday",), "restaurant-book time": ("19:00",),
    }  # fmt: skip
    packed = tmp_path / "MULTIWOZ2.4.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"MULTIWOZ2.4/{file.name}")
    assert data.read(packed, version="2.4") == dialogues


def test_what_is_not_the_archive(tmp_path: Path):
    folder = write_archive(tmp_path / "MULTIWOZ2.4")
    with pytest.raises(CoalmError, match=r"says MultiWOZ 2\.4, and the recipe 2\.1"):
        data.read(folder, version="2.1")
    with pytest.raises(CoalmError, match="expected one of train, validation, test"):
        data.read(folder, version="2.4", split="dev")
    (folder / "valListFile.json").unlink()
    with pytest.raises(CoalmError, match=r"valListFile\.json is missing"):
        data.read(folder, version="2.4")
    (folder / "data.json").write_text('{"X": {"goal": {}}}')
    (folder / "testListFile.json").unlink()
    with pytest.raises(CoalmError, match="X: not a dialogue of MultiWOZ"):
        data.read(folder, version="2.4")
    with pytest.raises(CoalmError, match="no such file"):
        data.read(tmp_path / "nowhere.json", version="2.4")


def zipped(folder: Path, *members: tuple[str, bytes]) -> Path:
    file = folder / "MULTIWOZ2.4.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        # The flags and the compression method, in the local and in the central header.
        ({6: b"\x01\x00"}, "encrypted"),
        ({8: b"\x63\x00"}, "compression"),
    ],
)
def test_an_archive_that_zipfile_cannot_open(tmp_path: Path, marks: dict, message: str):
    file = zipped(tmp_path, ("data.json", b"{}"))
    content = bytearray(file.read_bytes())
    central = content.index(b"PK\x01\x02")
    for place, mark in marks.items():
        content[place : place + 2] = mark
        content[central + place + 2 : central + place + 4] = mark
    file.write_bytes(content)
    with pytest.raises(CoalmError, match=rf"MULTIWOZ2\.4\.zip: cannot be read .*{message}"):
        data.read(file, version="2.4")


def test_an_archive_with_faults_of_its_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    twice = zipped(tmp_path, ("a/data.json", b"{}"), ("b/data.json", b"{}"))
    with pytest.raises(CoalmError, match=r"holds data\.json twice, one at b/data\.json"):
        data.read(twice, version="2.4")
    latin = zipped(tmp_path, ("data.json", b'{"caf\xe9": 1}'))
    with pytest.raises(CoalmError, match="cannot be read as a zip file: 'utf-8' codec"):
        data.read(latin, version="2.4")
    cut = zipped(tmp_path, ("data.json", b"{}" * 500))
    cut.write_bytes(cut.read_bytes().replace(b"{}{}{}", b"{}{}[}", 1))
    with pytest.raises(CoalmError, match="cannot be read as a zip file: Bad CRC"):
        data.read(cut, version="2.4")
    monkeypatch.setattr(data, "MAX_BYTES", 1000)
    bomb = zipped(tmp_path, ("data.json", b" " * 1001))
    with pytest.raises(CoalmError, match=r"would unpack to 1,001 bytes; the limit is 1,000"):
        data.read(bomb, version="2.4")
    folder = write_archive(tmp_path / "folder")
    (folder / "data.json").write_bytes(b'{"caf\xe9": 1}')
    with pytest.raises(CoalmError, match="folder: cannot be read: 'utf-8' codec"):
        data.read(folder, version="2.4")


def test_the_paper_s_999_test_dialogues(shared: Path):
    dialogues = data.read(shared / "multiwoz" / "multiwoz_2.1_test.json.zip", version="2.1")
    assert len(dialogues) == 999
    assert all(turn.state is not None for dialogue in dialogues for turn in dialogue.turns)


def test_queries(world: World):
    found = call(world, "query_restaurant", food="British", area="NORTH")
    assert (found["count"], [r["name"] for r in found["results"]]) == (
        2,
        ["blue door", "green door"],
    )
    assert call(world, "query_restaurant", name="The Cooper Pot")["count"] == 1, "a slip of the pen"
    assert call(world, "query_restaurant", name="dontcare", area=None)["count"] == 3
    assert call(world, "query_train", departure="Cambridge", leave="10 am")["count"] == 1
    assert call(world, "query_train", arriveBy="10:30")["results"][0]["trainID"] == "TR0001"
    assert call(world, "query_hotel", stars=4.0, parking=False)["count"] == 1
    assert call(world, "query_hospital", department="cardiology")["results"][0]["phone"]
    assert call(world, "query_police")["count"] == 1


def test_bookings_succeed_and_fail_as_the_goal_says(world: World):
    wanted = {"name": "Copper Pot", "people": 2, "day": "Friday"}
    refused = call(world, "book_restaurant", **wanted, time="7 pm")
    assert refused["status"] == "failed" and "time 19:00" in refused["message"]
    made = call(world, "book_restaurant", **wanted, time="18:00")
    (booking,) = world.bookings()
    assert (made["status"], booking.reference) == ("success", made["reference"])
    assert booking.record == {
        "name": "the copper pot", "people": "2", "day": "friday", "time": "18:00",
    }  # fmt: skip
    taxi = call(world, "book_taxi", departure="blue door", destination="ely", leaveAt="9:00")
    assert taxi["status"] == "success" and len(taxi["phone"]) == 10
    assert call(world, "book_train", **{"train id": "tr0001"}, tickets=3)["status"] == "success"
    assert world.bookings()[-1].record == {"trainID": "TR0001", "people": "3"}


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("book_table", {}, "there is no tool `book_table`"),
        ("query_hotel", {"colour": "red"}, "takes no `colour`"),
        ("query_hotel", {"area": ["north"]}, "one value"),
        ("book_hotel", {"name": "oak guest house", "people": 1, "day": "monday"}, "needs stay"),
        ("book_hotel", {"name": "oak guest house", "people": 0, "day": "monday", "stay": 1},
         "number above 0"),
        ("book_hotel", {"name": "oak guest house", "people": 1, "day": "noday", "stay": 1},
         "day of the week"),
        ("book_hotel", {"name": "palace", "people": 1, "day": "monday", "stay": 1}, "no hotel"),
        ("book_hotel", {"name": "none", "people": 1, "day": "monday", "stay": 1}, "needed: name"),
        ("book_restaurant", {"name": "blue door", "people": 1, "day": "monday", "time": "soon"},
         "as hh:mm"),
        ("book_train", {"trainID": "TR9999", "people": 1}, "no train"),
        ("book_taxi", {"departure": "a", "destination": "b"}, "leaveAt or arriveBy"),
        ("book_taxi", {"departure": "The A", "destination": "a", "leaveAt": "9:00"}, "same place"),
    ],
)  # fmt: skip
def test_calls_that_cannot_be_carried_out(world: World, name: str, arguments: dict, message: str):
    answer = call(world, name, **arguments)
    assert answer["status"] == "failed" and message in answer["message"]
    assert world.bookings() == []


def test_each_dialogue_has_its_own_book_and_repeats_itself(database: Database):
    worlds = [World(database, name, {}) for name in ("one", "one", "two")]
    references = [
        call(world, "book_train", trainID="TR0001", people=1)["reference"] for world in worlds
    ]
    assert references[0] == references[1] != references[2]
    assert all(len(world.bookings()) == 1 for world in worlds)


def test_parameters_are_bound_and_the_databases_are_read_only(database: Database):
    world = World(database, "D", {})
    for value in ("' OR '1'='1", "x'; DROP TABLE hotel; --", "\x00", "\ud800", "é"):
        for name in ("area", "name"):
            assert call(world, "query_hotel", **{name: value})["count"] == 0
    assert call(world, "query_hotel")["count"] == 2
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        database._connection.execute("DELETE FROM hotel")


_FUZZED: list[World] = []


@given(
    st.sampled_from([function.name for function in FUNCTIONS]),
    st.dictionaries(
        st.sampled_from(["name", "area", "people", "day", "time", "trainID", "leaveAt", "stars"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        max_size=5,
    ),
)
def test_whatever_a_model_calls_is_answered(name: str, arguments: dict):
    answer = observe(_FUZZED[0], FunctionCall(name, arguments))
    assert answer["status"] in ("success", "failed")


@pytest.fixture(scope="module", autouse=True)
def _fuzzed_world(tmp_path_factory: pytest.TempPathFactory):
    _FUZZED.append(World(Database(write_databases(tmp_path_factory.mktemp("db"))), "fuzz", {}))


def test_a_database_that_is_not_multiwoz(tmp_path: Path):
    folder = write_databases(tmp_path)
    (folder / "hotel_db.json").write_text('[{"title": "x"}]')
    with pytest.raises(CoalmError, match=r"hotel_db\.json\[0\]: not a record of MultiWOZ's hotel"):
        Database(folder)
    (folder / "hotel_db.json").unlink()
    with pytest.raises(CoalmError, match=r"hotel_db\.json: no such file"):
        Database(folder)


def test_names_in_a_text(database: Database):
    assert database.named_in("hotel", "Try Oak Guesthouse or the Station Hotel.") == [
        "oak guesthouse", "station",
    ]  # fmt: skip
    assert database.named_in("restaurant", "no door at all") == []


def test_files_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = write_databases(tmp_path / "source")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with FileServer(source) as address:
        folder = fetch.local_databases(address)
    assert Database(folder).rows("hotel")
    assert fetch.local_databases(address) == folder, "the server is gone, the copy is there"
    with pytest.raises(CoalmError, match="cannot be downloaded"):
        fetch.local_file(f"{address}/other.zip")


def test_a_file_cut_short_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with (
        ChatServer(lambda _: Reply(b"PK of an archive", cut=4)) as server,
        pytest.raises(CoalmError, match=r"cannot be downloaded \(IncompleteRead"),
    ):
        fetch.local_file(f"{server.url}/MULTIWOZ2.4.zip")
    assert not list(tmp_path.rglob("*.zip"))


class FileServer:
    """Serves a folder over HTTP on loopback."""

    def __init__(self, folder: Path) -> None:
        import functools
        import http.server
        import threading

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

        handler = functools.partial(Quiet, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def test_the_world_is_a_registered_environment(tmp_path: Path):
    from oumi.builders.environments import build_environment
    from oumi.core.configs.environment_config import EnvironmentConfig

    kwargs = {"database": str(write_databases(tmp_path / "db"))}
    config = EnvironmentConfig(
        environments=[{"id": "cambridge", "env_type": ENV_TYPE, "env_kwargs": kwargs}]  # pyright: ignore[reportArgumentType]
    )
    config.finalize_and_validate()
    built = build_environment(config.environments[0])
    assert isinstance(built, World) and built.requires_isolation()
    assert [tool.id for tool in TOOLS] == [function.name for function in FUNCTIONS]
    (result,) = built.step([("query_restaurant", {"food": "indian"})])
    assert result.output["count"] == 1
