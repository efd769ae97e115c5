import pytest

from tidemill.strict_json import loads


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": NaN}', "NaN is not a JSON number"),
        ("[-Infinity]", "not a JSON number"),
        ("[1e999]", "too large"),
        ('{"a": 1, "a": 2}', "twice"),
        ('["\\ud800"]', "surrogate"),
        ('{"\\udfff": 1}', "surrogate"),
        ("[" * 100_000, "nested too deeply"),
        ("[1,]", "Expecting value|Illegal trailing comma"),
        ("", "Expecting value"),
    ],
)
@pytest.mark.parametrize("exact", [False, True])
def test_what_is_no_json(text: str, why: str, exact: bool) -> None:
    with pytest.raises(ValueError, match=why):
        loads(text, exact_numbers=exact)


def test_numbers_keep_their_text_where_it_counts() -> None:
    text = '[12345678901234567890, 1.10, -0.0, 1e5, true, null, "\\ud83d\\ude00"]'
    exact = loads(text, exact_numbers=True)
    assert exact == ["12345678901234567890", "1.10", "-0.0", "1e5", True, None, "😀"]
    assert loads(text)[1:4] == [1.1, 0.0, 100_000.0]
    assert loads("1" * 10_000, exact_numbers=True) == "1" * 10_000
