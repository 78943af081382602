import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from coalm_oumi.core.errors import CoalmError, WriteError
from coalm_oumi.files.journal import Journal


def test_a_second_run_finds_what_the_first_recorded(tmp_path: Path):
    file = tmp_path / "runs" / "answers.jsonl"
    with Journal(file, made_by={"model": "a"}) as journal:
        journal.append("1", {"text": "é \ud800"})
        journal.append("2", None)
        journal.append("1", "again")
    with Journal(file, made_by={"model": "a"}) as journal:
        assert journal.records == {"1": "again", "2": None}
        assert "2" in journal and "3" not in journal


def test_a_record_cut_short_is_dropped_and_the_rest_goes_on(tmp_path: Path):
    file = tmp_path / "answers.jsonl"
    with Journal(file, made_by={}) as journal:
        journal.append("1", "one")
        journal.append("2", "two")
    whole = file.read_bytes()
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        with Journal(file, made_by={}) as journal:
            assert set(journal.records) <= {"1", "2"}
            for key, text in (("1", "one"), ("2", "two")):
                if key not in journal:
                    journal.append(key, text)
        assert file.read_bytes() == whole


def test_a_journal_of_another_run_is_not_continued(tmp_path: Path):
    file = tmp_path / "answers.jsonl"
    Journal(file, made_by={"model": "z"}).close()
    with Journal(file, made_by={"model": "a"}) as journal:  # nothing is lost: it held no record
        journal.append("1", "one")
    with pytest.raises(CoalmError, match=r"was made by .*a.*this run is .*b.*move the file away"):
        Journal(file, made_by={"model": "b"})
    with (
        Journal(file, made_by={"model": "a"}),
        pytest.raises(CoalmError, match="another process is writing"),
    ):
        Journal(file, made_by={"model": "a"})


DAMAGED = {
    "another object": b"{}",
    "text": b"not json",
    "bad UTF-8": b"\xff",
    "half a line": b'{"key": "1", "rec',
    "a byte order mark": b'\xef\xbb\xbf{"key": "1", "record": 1}',
    "an empty line": b"",
    "deep nesting": b"[" * 100_000,
    "a deep record": b'{"key": "1", "record": ' + b"[" * 990 + b"]" * 990 + b"}",
    "a list as key": b'{"key": ["1"], "record": 1}',
    "a number as key": b'{"key": 1, "record": 1}',
}


@pytest.mark.parametrize("line", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_line_loses_itself_alone(tmp_path: Path, line: bytes):
    file = tmp_path / "answers.jsonl"
    with Journal(file, made_by={}) as journal:
        journal.append("before", "one")
    file.write_bytes(file.read_bytes() + line + b"\n")
    with pytest.warns(UserWarning, match=r"answers.jsonl:3") as told:
        journal = Journal(file, made_by={})
    assert len(told) == 1 and "is done again" in str(told[0].message)
    with journal:
        assert journal.skipped == [3]
        journal.append("after", "two")
    with pytest.warns(UserWarning), Journal(file, made_by={}) as journal:
        assert journal.records == {"before": "one", "after": "two"}


@pytest.mark.parametrize("line", [b"{}\n", b"not json\n", b"\xff\n"])
def test_a_file_of_something_else_is_not_written(tmp_path: Path, line: bytes):
    file = tmp_path / "answers.jsonl"
    file.write_bytes(line)
    with pytest.raises(CoalmError, match=r"answers.jsonl:1: not the first line of a journal"):
        Journal(file, made_by={})
    assert file.read_bytes() == line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_names_the_file(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(WriteError, match=r"answers.jsonl: cannot be written: Permission denied"):
        Journal(tmp_path / "answers.jsonl", made_by={})


def test_a_line_that_does_not_fit_leaves_no_part_of_itself(tmp_path: Path):
    """The limit on a file's size stands for a full disk: the system writes a part, then refuses."""
    script = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from coalm_oumi.core.errors import WriteError\n"
        "from coalm_oumi.files.journal import Journal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, -1))\n"
        "with Journal(Path(sys.argv[1]), made_by={}) as journal:\n"
        "    journal.append('fits', 'x' * 500)\n"
        "    try:\n"
        "        journal.append('does not', 'x' * 500)\n"
        "    except WriteError as error:\n"
        "        print(error)\n"
        "    journal.append('is short', 'x')\n"
    )
    file = tmp_path / "answers.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", script, str(file)], capture_output=True, text=True, check=True
    )
    assert f"{file}: cannot be written: File too large" in done.stdout
    with Journal(file, made_by={}) as journal:
        assert set(journal.records) == {"fits", "is short"} and not journal.skipped


def test_kill_at_any_moment_loses_nothing_that_was_recorded(tmp_path: Path):
    file = tmp_path / "answers.jsonl"
    script = (
        "import sys\nfrom pathlib import Path\nfrom coalm_oumi.files.journal import Journal\n"
        "with Journal(Path(sys.argv[1]), made_by={}) as journal:\n"
        "    for n in range(len(journal.records), 10**9):\n"
        "        journal.append(str(n), 'x' * 500)\n"
        "        print(n, flush=True)\n"
    )
    said = -1
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(file)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        said = max(said, *map(int, process.stdout.read().split()[:-1] or [-1]))
        process.wait()
        with Journal(file, made_by={}) as journal:
            assert list(journal.records) == [str(n) for n in range(len(journal.records))]
            assert len(journal.records) > said
