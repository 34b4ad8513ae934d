"""Options as text: grammar, errors, and the way back."""

import math
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlx import options
from rlx.options import OptionError, option


@dataclass(frozen=True)
class Example:
    """Every type that an option can have."""

    keep_repeat: bool = option(False, "whether it stays")
    tile_size: int = option(4, "rows")
    scale: float = option(0.5, "factor")
    name: str = option("base", "any text")
    mode: Literal["fast", "exact"] = option("fast", "how")
    width: Literal[16, 32] = option(16, "bits")
    sizes: tuple[int, ...] = option((8, 8), "sizes")
    labels: tuple[str, ...] = option((), "labels")
    limit: int | None = option(7, "limit, or none")
    alias: str | None = option(None, "other name, or none")


def parse(text: str) -> Example:
    return options.parse(Example, text, "example")


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("keep-repeat", "keep_repeat", True),
        ("keep-repeat=true", "keep_repeat", True),
        ("keep-repeat=0", "keep_repeat", False),
        ("tile-size=-3", "tile_size", -3),
        ("tile-size=1 tile-size=2", "tile_size", 2),
        ("scale=1e-3", "scale", 1e-3),
        ("scale=2", "scale", 2.0),
        ("name=plain", "name", "plain"),
        ("name=a=b", "name", "a=b"),
        ('name="two words"', "name", "two words"),
        ("name='two words'", "name", "two words"),
        ("name={two words}", "name", "two words"),
        ("name={func.func(cse{x=1})}", "name", "func.func(cse{x=1})"),
        ("name=it's", "name", "it's"),
        ('name=""', "name", ""),
        ("name=", "name", ""),
        ("mode=exact", "mode", "exact"),
        ("width=32", "width", 32),
        ("sizes=1,2,3", "sizes", (1, 2, 3)),
        ("sizes={1, 2}", "sizes", (1, 2)),
        ("sizes=", "sizes", ()),
        ('labels="a b",c', "labels", ("a b", "c")),
        ('labels=""', "labels", ("",)),
        ("limit=none", "limit", None),
        ("limit=3", "limit", 3),
        ('alias="none"', "alias", "none"),
        ("  tile-size=5\n\tscale=1  ", "tile_size", 5),
    ],
)
def test_text_gives_values(text: str, field: str, value: object) -> None:
    assert getattr(parse(text), field) == value


@pytest.mark.parametrize(
    ("text", "message", "offset"),
    [
        ("tile-sise=4", "'example' has no option 'tile-sise'; did you mean 'tile-size'?", 0),
        ("scale=1 zzzz=4", "'example' has no option 'zzzz'; its options: 'keep-repeat', ", 8),
        ("tile-size=x", "option 'tile-size' of 'example' must be an integer, but got 'x'", 0),
        ("tile-size=1_0", "must be an integer, but got '1_0'", 0),
        ("tile-size", "must be an integer, but got 'true'", 0),
        ("scale=fast", "must be a number, but got 'fast'", 0),
        ("keep-repeat=yes", "must be true or false, but got 'yes'", 0),
        ("scale=1  mode=slow", "must be one of fast, exact, but got 'slow'", 9),
        ("width=64", "must be one of 16, 32, but got '64'", 0),
        ("sizes=1,,2", "option 'sizes' of 'example' must be an integer, but got '1,,2'", 0),
        ("name={a", "unbalanced braces", 5),
        ("name=a}", "unbalanced braces", 6),
        ("=4", "'example' has no option ''", 0),
    ],
)
def test_errors_say_where_and_what(text: str, message: str, offset: int) -> None:
    with pytest.raises(OptionError) as caught:
        parse(text)
    assert message in str(caught.value)
    assert caught.value.offset == offset


def test_required_options_and_checks_of_the_dataclass() -> None:
    @dataclass(frozen=True)
    class Tiled:
        tile: int

        def __post_init__(self) -> None:
            if self.tile < 1:
                raise ValueError("tile must be positive")

    assert options.parse(Tiled, "tile=2", "tiled") == Tiled(2)
    assert options.render(Tiled(2)) == "{tile=2}"
    with pytest.raises(OptionError, match="'tiled' requires option 'tile'"):
        options.parse(Tiled, "", "tiled")
    with pytest.raises(OptionError, match="options of 'tiled': tile must be positive"):
        options.parse(Tiled, "tile=0", "tiled")


def test_defaults_render_to_nothing() -> None:
    assert options.render(Example()) == ""
    assert options.render(Example(tile_size=2, name="a b")) == '{tile-size=2 name="a b"}'


anything = st.builds(
    Example,
    keep_repeat=st.booleans(),
    tile_size=st.integers(),
    scale=st.floats(allow_nan=False),
    name=st.text(),
    mode=st.sampled_from(["fast", "exact"]),
    width=st.sampled_from([16, 32]),
    sizes=st.lists(st.integers(), max_size=3).map(tuple),
    labels=st.lists(st.text(), max_size=3).map(tuple),
    limit=st.none() | st.integers(),
    alias=st.none() | st.text() | st.just("none"),
)


@given(anything)
def test_render_and_parse_are_inverse(instance: Example) -> None:
    text = options.render(instance)
    assert parse(text[1:-1]) == instance
    # Inside a pipeline the braces are found again, whatever is between them.
    assert not text or options.skip_group(text, 0) == len(text)


@given(st.text(alphabet="ab=,{}\"' 1"))
def test_any_text_parses_or_fails_with_an_option_error(text: str) -> None:
    try:
        parse(text)
    except OptionError as error:
        assert 0 <= error.offset <= len(text)


def test_describe() -> None:
    rows = {key: (type_, default, doc) for key, type_, default, doc in options.describe(Example)}
    assert rows["keep-repeat"] == ("bool", "false", "whether it stays")
    assert rows["mode"] == ("`fast` or `exact`", "fast", "how")
    assert rows["sizes"] == ("list of int", "8,8", "sizes")
    assert rows["limit"] == ("int or none", "7", "limit, or none")
    assert math.isclose(float(rows["scale"][1]), 0.5)
