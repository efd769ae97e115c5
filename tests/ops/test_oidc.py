"""Tokens of an issuer of the team's own, which answers over HTTP with its published keys."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tidemill.errors import NotReady, Unauthorized
from tidemill.ops.access import Role
from tidemill.ops.oidc import Issuer

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE = ec.generate_private_key(ec.SECP256R1())
STRANGE = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Server:
    """Discovery and keys, as Keycloak and others answer them."""

    def __init__(self) -> None:
        keys = [
            jwt.algorithms.RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True) | {"kid": "rsa", "use": "sig"},
            jwt.algorithms.ECAlgorithm.to_jwk(CURVE.public_key(), as_dict=True) | {"kid": "ec", "use": "sig"},
        ]
        self.asked: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                said: Any = {"keys": keys}
                if self.path.endswith("openid-configuration"):
                    said = {"issuer": server.claimed, "jwks_uri": f"{server.url}/keys"}
                body = json.dumps(said).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.claimed = self.url
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def token(server: Server, key: Any = RSA, kid: str = "rsa", algorithm: str = "RS256", **claims: Any) -> str:
    given = {
        "iss": server.url,
        "aud": "tidemill",
        "sub": "f3b1",
        "exp": time.time() + 300,
        "preferred_username": "ada",
        "roles": ["tidemill-trainer", "offline_access"],
    } | claims
    given = {name: value for name, value in given.items() if value is not None}
    return jwt.encode(given, key, algorithm, headers={"kid": kid})


def test_a_good_token_has_its_role_and_reaches_all(server: Server) -> None:
    issuer = Issuer(server.url, "tidemill")
    caller = issuer.caller_of(token(server))
    assert (caller.name, caller.role, caller.projects) == ("oidc:ada", Role.TRAINER, None)
    assert issuer.caller_of(token(server, CURVE, "ec", "ES256", sub="b")).role is Role.TRAINER


def test_the_highest_role_counts_and_projects_confine(server: Server) -> None:
    caller = Issuer(server.url, "tidemill", roles="realm_access.roles").caller_of(
        token(
            server,
            realm_access={"roles": ["tidemill-viewer", "tidemill-promoter"]},
            tidemill_projects=["churn"],
        )
    )
    assert (caller.role, caller.projects) == (Role.PROMOTER, frozenset({"churn"}))


def test_a_claim_whose_name_holds_dots_is_found(server: Server) -> None:
    issuer = Issuer(server.url, "tidemill", roles="https://our.org/roles")
    assert issuer.caller_of(token(server, **{"https://our.org/roles": "tidemill-viewer"})).role is Role.VIEWER


def test_the_issuer_is_asked_once_for_many_tokens(server: Server) -> None:
    issuer = Issuer(server.url, "tidemill")
    for number in range(5):
        issuer.caller_of(token(server, sub=str(number)))
    assert server.asked == ["/.well-known/openid-configuration", "/keys"]


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": time.time() - 60},
        {"aud": "another"},
        {"aud": None},
        {"iss": "http://elsewhere"},
        {"sub": None},
        {"exp": None},
        {"nbf": time.time() + 86_400},
        {"roles": []},
        {"roles": None},
        {"roles": ["admin", "tidemill-root"]},
        {"roles": {"tidemill-admin": True}},
    ],
    ids=str,
)
def test_a_token_that_is_not_for_us_is_refused(server: Server, claims: dict[str, Any]) -> None:
    with pytest.raises(Unauthorized):
        Issuer(server.url, "tidemill").caller_of(token(server, **claims))


def test_a_signature_of_another_key_is_refused(server: Server) -> None:
    with pytest.raises(Unauthorized):
        Issuer(server.url, "tidemill").caller_of(token(server, STRANGE))
    with pytest.raises(Unauthorized):
        Issuer(server.url, "tidemill").caller_of(token(server, STRANGE, kid="unknown"))


def test_no_signature_and_one_by_a_shared_secret_are_refused(server: Server) -> None:
    unsigned = token(server, None, algorithm="none")
    public = b"what everybody knows, as the secret of a signature"
    for made in (unsigned, token(server, public, algorithm="HS256"), "a.b.c", "..", "\ud800.b.c"):
        with pytest.raises(Unauthorized):
            Issuer(server.url, "tidemill").caller_of(made)


def test_a_token_that_has_expired_meanwhile_is_not_remembered_as_good(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = Issuer(server.url, "tidemill")
    made = token(server, exp=time.time() - 20)  # clocks may differ by half a minute
    issuer.caller_of(made)
    monkeypatch.setattr("tidemill.ops.oidc.LEEWAY_SECONDS", 0)
    with pytest.raises(Unauthorized):
        issuer.caller_of(made)


def test_an_issuer_that_is_away_or_another_is_told(server: Server) -> None:
    server.claimed = "http://evil"
    with pytest.raises(NotReady, match="does not answer"):
        Issuer(server.url, "tidemill").caller_of(token(server))
    with pytest.raises(NotReady):
        Issuer("http://127.0.0.1:9", "tidemill").caller_of(token(server))
