from coalm_oumi.core.wording import counted


def test_one_is_singular():
    assert [counted(n, "record") for n in (0, 1, 2, 1200)] == [
        "0 records", "1 record", "2 records", "1,200 records",
    ]  # fmt: skip
