import pytest

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.options import Options


class Inner(Options):
    path: str


class Outer(Options):
    share: float = 0.0
    names: list[str] | None = None
    count: int = 1
    strict: bool = False
    inner: Inner | None = None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (5, "f.yaml: expected a mapping, found 5"),
        ({"shares": 1}, "unknown key `shares`; the keys are share, names, count, strict, inner"),
        ({"inner": {}}, "expected the key `inner.path`"),
        ({"inner": {"path": "x", "paths": 1}}, "unknown key `inner.paths`"),
        ({"share": "0.5"}, "share: expected a number, found '0.5'; remove the quotes"),
        ({"count": 1.5}, "count: expected a whole number, found 1.5"),
        ({"strict": "yes"}, "strict: expected true or false, found 'yes'"),
        ({"names": "la"}, "names: expected a list, found 'la'"),
        ({"inner": 5}, "inner: expected a mapping, found 5"),
        ({"share": float("nan")}, "share"),
        ({"share": "x", "count": "y"}, "share: .*; count: "),
    ],
)
def test_one_error_names_the_key_and_what_is_expected(values: object, message: str):
    with pytest.raises(CoalmError, match=message):
        Outer.read(values, where="f.yaml")


def test_whole_numbers_serve_as_numbers():
    assert Outer.read({"share": 1, "names": ["la"]}, where="f").share == 1.0
