"""Names as accounts and back."""

import pytest

from tidemill.errors import InvalidInput
from tidemill.labels.label_studio_people import account_of, person_of


@pytest.mark.parametrize(
    "name", ["ada", "Ada Lovelace", "a.b", "A%41", "Žofie", "田中", "x@y.z", "owner", "-_"]
)
def test_a_name_comes_back_from_its_account(name: str) -> None:
    account = account_of(name)
    assert account == account.lower()
    assert account.count("@") == 1
    assert person_of(account) == name


def test_names_that_differ_have_accounts_that_differ() -> None:
    assert len({account_of(name) for name in ("ada", "Ada", "a da", "a-da", "%41da")}) == 5
    assert account_of(" Ada   L ") == account_of("Ada L")


@pytest.mark.parametrize("name", ["", "  ", "x" * 300])
def test_a_name_that_can_be_nobodys_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        account_of(name)


def test_an_account_of_another_kind_is_its_address() -> None:
    assert person_of("ada@example.org") == "ada@example.org"
