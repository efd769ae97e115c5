"""The settings of a box: defaults, and errors that name the variable."""

import pytest

from tidemill.errors import InvalidInput
from tidemill.settings import load_settings


def test_defaults_need_no_environment() -> None:
    settings = load_settings({})
    assert settings.host == "127.0.0.1"
    assert settings.api_port is None


def test_variables_are_read_and_an_empty_one_counts_as_unset() -> None:
    settings = load_settings({"TIDEMILL_API_PORT": "9000", "TIDEMILL_UI_PORT": "", "PATH": "/bin"})
    assert (settings.api_port, settings.ui_port) == (9000, None)


def test_what_the_supervisor_hands_down_is_no_setting() -> None:
    assert load_settings({"TIDEMILL_HOME": "/x", "TIDEMILL_API_KEY": "tm_1"}).host == "127.0.0.1"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TIDEMILL_API_PORT", "abc", "valid integer"),
        ("TIDEMILL_API_PORT", "70000", "65535"),
        ("TIDEMILL_DUCKDB_MEMORY", "lots", "match pattern"),
        ("TIDEMILL_NOPE", "1", "there is no such setting"),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_settings({name: value})
    assert name in caught.value.detail
    assert said in caught.value.detail
