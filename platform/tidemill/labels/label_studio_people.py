"""The names of people and their accounts in Label Studio of ours.

A name is written into the address of its account so that it can be read back from it: whoever changes the name that
Label Studio shows does not become another person. Making accounts and logging in is `label_studio_login.py`.
"""

from __future__ import annotations

from urllib.parse import unquote

from tidemill.errors import InvalidInput

DOMAIN = "@tidemill.local"
# Label Studio takes addresses of fewer than 256 characters.
LONGEST = 255 - len(DOMAIN)
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")


def account_of(name: str) -> str:
    """The address of a person's account. Raises InvalidInput for a name that is empty or too long.

    Label Studio makes addresses lower case, so capitals are written as their codes, as is what is no plain letter.
    """
    name = " ".join(name.split())
    local = "".join(each if each in _PLAIN else _coded(each) for each in name)
    if not local or len(local) > LONGEST:
        raise InvalidInput(
            "A name is needed to label",
            detail="it is empty" if not local else f"{name[:40]!r} and so on is too long",
            remedy="Give a name of at most 60 letters, always the same, so that answers can be compared.",
        )
    return local + DOMAIN


def person_of(address: str) -> str:
    """The person of an account; an account that is none of ours is its address."""
    local, at, domain = address.rpartition("@")
    return unquote(local) if at + domain == DOMAIN else address


def _coded(letter: str) -> str:
    return "".join(f"%{byte:02x}" for byte in letter.encode("utf-8", "replace"))
