"""A token server: logs users in and signs what they may do, as registries' token protocol wants."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from tests.registry.certificates import Authority

SERVICE: Final = "test registry"
ISSUER: Final = "test tokens"
LASTS_S: Final = 300


@dataclass
class TokenServer:
    """What it knows, and what it was asked for."""

    authority: Authority
    passwords: Mapping[str, str]
    grants: Mapping[str, tuple[str, ...]]
    """By user, in any repository; nobody's are under the empty name."""
    url: str = ""
    orders: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    @property
    def section(self) -> dict[str, dict[str, str]]:
        """A registry's `auth` section that sends clients here."""
        bundle = str(self.authority.file)
        where = {"realm": f"{self.url}/token", "service": SERVICE, "issuer": ISSUER}
        return {"token": {**where, "rootcertbundle": bundle}}

    def give(self, user: str, scopes: tuple[str, ...]) -> str:
        """Sign a token for what the user may do of what is asked."""
        self.orders.append((user, scopes))
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            allowed = [one for one in actions.split(",") if one in self.grants.get(user, ())]
            access.append({"type": kind, "name": name, "actions": allowed})
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": user,
            "aud": SERVICE,
            "nbf": now - 60,
            "iat": now,
            "exp": now + LASTS_S,
            "jti": str(len(self.orders)),
            "access": access,
        }
        chain = base64.b64encode(self.authority.certificate.public_bytes(Encoding.DER)).decode()
        parts = [_part({"typ": "JWT", "alg": "ES256", "x5c": [chain]}), _part(claims)]
        signed = self.authority.key.sign(".".join(parts).encode(), ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(signed)
        return ".".join([*parts, _encoded(r.to_bytes(32) + s.to_bytes(32))])


@contextmanager
def token_server(
    authority: Authority, passwords: Mapping[str, str], grants: Mapping[str, tuple[str, ...]]
) -> Iterator[TokenServer]:
    """Run a token server on a port of the kernel's choice."""
    known = TokenServer(authority, passwords, grants)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            login = self.headers.get("Authorization", "").removeprefix("Basic ")
            user, _, password = base64.b64decode(login).decode().partition(":")
            if user and known.passwords.get(user) != password:
                self.send_error(401)
                return
            scopes = tuple(query.get("scope", ()))
            body = json.dumps({"token": known.give(user, scopes), "expires_in": LASTS_S}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    known.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _part(value: object) -> str:
    return _encoded(json.dumps(value).encode())


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
