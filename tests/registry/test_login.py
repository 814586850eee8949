"""How the adapter logs in, whom it trusts, and what it says when it is let in nowhere."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from edgefleet import wiring
from edgefleet.adapters.oci_layout import OciLayout
from edgefleet.adapters.registry import Registry, parse_url
from edgefleet.adapters.registry_auth import Login, RegistryAuth, challenges
from edgefleet.adapters.registry_http import dial
from edgefleet.errors import Refused
from edgefleet.model import oci
from edgefleet.settings import Settings
from tests.registry.certificates import Authority, make_authority, make_server
from tests.registry.opened import opened
from tests.registry.server import RegistryServer, need_program
from tests.registry.tokens import LASTS_S, TokenServer, token_server

SECRET = "quiet-harbour"
# bcrypt of it, at the lowest cost.
HTPASSWD = "release:$2y$04$abcdefghijklmnopqrstuuAW.VktC9F5Dm0E/RJyKDGMlIMYDpaCC\n"
RELEASE = Login("release", SECRET)
GRANTS = {"release": ("pull", "push"), "reader": ("pull",), "": ()}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_authority(tmp_path, "our-ca")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[RegistryServer]:
    """A registry with a list of passwords."""
    need_program()
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    auth = {"htpasswd": {"realm": "test", "path": str(tmp_path / "htpasswd")}}
    with RegistryServer(tmp_path / "registry", auth=auth) as server:
        yield server


@pytest.fixture
def tokens(authority: Authority) -> Iterator[TokenServer]:
    passwords = {"release": SECRET, "reader": SECRET}
    with token_server(authority, passwords, GRANTS) as tokens:
        yield tokens


@pytest.fixture
def ticketed(tmp_path: Path, tokens: TokenServer) -> Iterator[RegistryServer]:
    """A registry that wants tokens."""
    need_program()
    with RegistryServer(tmp_path / "registry", auth=tokens.section) as server:
        yield server


@pytest.fixture
def secured(tmp_path: Path, authority: Authority) -> Iterator[RegistryServer]:
    """A registry with a certificate of our own authority."""
    need_program()
    with RegistryServer(tmp_path / "registry", tls=make_server(tmp_path, authority)) as server:
        yield server


def round_trip(registry: Registry, package: Path, folder: Path) -> None:
    registry.push_base(oci.base_image(oci.source_base()), ["latest"])
    registry.fetch(registry.push(package, "one"), folder)
    assert registry.describe(registry.resolve("one")).layers


def told(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def test_a_password_opens_a_registry(
    guarded: RegistryServer, package: Path, tmp_path: Path
) -> None:
    with opened(guarded.url, login=RELEASE) as registry:
        round_trip(registry, package, tmp_path / "node")


@pytest.mark.parametrize(
    ("login", "who"),
    [
        pytest.param(Login("release", "open-sea"), "user 'release'", id="wrong password"),
        pytest.param(Login("somebody", SECRET), "user 'somebody'", id="wrong user"),
        pytest.param(None, "an anonymous user", id="nobody"),
    ],
)
def test_a_wrong_login_is_refused_with_user_and_repository_and_without_password(
    guarded: RegistryServer, package: Path, login: Login | None, who: str
) -> None:
    with (
        opened(guarded.url, login=login) as registry,
        pytest.raises(Refused, match=f"refuses {who} for repository line/base") as refused,
    ):
        registry.push(package, "one")
    assert "EDGEFLEET_REGISTRY_PASSWORD" in refused.value.remedy
    for secret in ("open-sea", SECRET):
        assert secret not in told(refused.value)


def test_a_token_opens_a_registry_and_is_kept_per_scope(
    ticketed: RegistryServer, tokens: TokenServer, package: Path, tmp_path: Path
) -> None:
    with opened(ticketed.url, login=RELEASE) as registry:
        round_trip(registry, package, tmp_path / "node")
        assert {user for user, _ in tokens.orders} == {"release"}
        asked = [scopes for _, scopes in tokens.orders]
        assert len(asked) == len(set(asked))
        round_trip(registry, package, tmp_path / "node")
        assert [scopes for _, scopes in tokens.orders] == asked


def test_a_token_that_ran_out_is_replaced(
    ticketed: RegistryServer, tokens: TokenServer, package: Path, tmp_path: Path
) -> None:
    clock = [0.0]
    with opened(ticketed.url, login=RELEASE, now=lambda: clock[0]) as registry:
        round_trip(registry, package, tmp_path / "node")
        before = len(tokens.orders)
        clock[0] += LASTS_S
        registry.resolve("one")
        assert len(tokens.orders) == before + 1


def test_who_may_only_read_is_told_so(
    ticketed: RegistryServer, package: Path, tmp_path: Path
) -> None:
    with opened(ticketed.url, login=RELEASE) as registry:
        round_trip(registry, package, tmp_path / "node")
    with opened(ticketed.url, login=Login("reader", SECRET)) as registry:
        registry.fetch(registry.resolve("one"), tmp_path / "node")
        expected = r"user 'reader' may not pull,push in repository line/packages \(HTTP 401: UNAUTH"
        with pytest.raises(Refused, match=expected):
            registry.push(package, "two")


def test_a_wrong_password_at_the_token_server_is_refused(
    ticketed: RegistryServer, tokens: TokenServer
) -> None:
    with opened(ticketed.url, login=Login("release", "open-sea")) as registry:
        expected = f"token server {tokens.url[7:]}: gives user 'release' no token"
        with pytest.raises(Refused, match=expected) as refused:
            registry.resolve("one")
    assert "open-sea" not in told(refused.value)


def test_a_private_authority_vouches_for_a_registry(
    secured: RegistryServer, authority: Authority, package: Path, tmp_path: Path
) -> None:
    with opened(secured.url, ca=authority.file) as registry:
        round_trip(registry, package, tmp_path / "node")


def test_a_registry_of_another_ca_is_refused(secured: RegistryServer, tmp_path: Path) -> None:
    other = make_authority(tmp_path, "other-ca")
    for ca in (other.file, None):
        with (
            opened(secured.url, ca=ca) as registry,
            pytest.raises(Refused, match=r"certificate is not trusted.*EDGEFLEET_REGISTRY_CA"),
        ):
            registry.resolve("one")


def test_tls_and_plain_http_are_not_mistaken_for_each_other(
    secured: RegistryServer, tmp_path: Path
) -> None:
    with opened(f"http://{secured.address}") as registry, pytest.raises(Refused, match="HTTP 400"):
        registry.resolve("one")
    with (
        RegistryServer(tmp_path / "plain") as plain,
        opened(f"https://{plain.address}") as registry,
        pytest.raises(Refused, match="does not speak TLS"),
    ):
        registry.resolve("one")


def test_a_ca_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for name in ("empty.pem", "missing.pem"):
        with pytest.raises(Refused, match=f"{name}: cannot be read as certificates"):
            dial(httpx.URL("https://registry.example"), tmp_path / name)


def test_the_password_is_not_sent_to_a_token_server_without_tls() -> None:
    request = httpx.Request("GET", "https://registry.example/v2/")
    flow = RegistryAuth(RELEASE).sync_auth_flow(request)
    next(flow)
    header = {"WWW-Authenticate": 'Bearer realm="http://tokens.example/",service="x"'}
    with pytest.raises(Refused, match=r"tokens\.example for a token, by plain http"):
        flow.send(httpx.Response(401, headers=header))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            'Bearer realm="https://t.example/a",service="one, two",scope="repository:a:pull,push"',
            {
                "bearer": {
                    "realm": "https://t.example/a",
                    "service": "one, two",
                    "scope": "repository:a:pull,push",
                }
            },
        ),
        (
            'Basic realm="a \\"b\\"", bearer realm=plain , error=denied',
            {"basic": {"realm": 'a "b"'}, "bearer": {"realm": "plain", "error": "denied"}},
        ),
        ("Negotiate, Basic realm=x", {"negotiate": {}, "basic": {"realm": "x"}}),
        ("", {}),
        ('=,"', {}),
    ],
)
def test_a_challenge_is_read(header: str, expected: dict[str, dict[str, str]]) -> None:
    assert challenges(header) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("registry.example:5000/line", "no registry's address"),
        ("ftp://registry.example", "no registry's address"),
        ("https://", "no registry's address"),
        ("", "no registry's address"),
        ("https://registry.example/Line", "'Line' is no prefix of a repository"),
        ("https://release:quiet-harbour@registry.example", "holds a login"),
        ("https://registry.example:port", "is no URL"),
    ],
)
def test_a_url_that_is_none_is_refused(text: str, problem: str) -> None:
    with pytest.raises(Refused, match=problem) as refused:
        parse_url(text)
    assert SECRET not in told(refused.value)


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("https://registry.example", ""),
        ("https://registry.example:5000/line/", "line"),
        ("http://registry.example/plants/east_1", "plants/east_1"),
    ],
)
def test_a_url_has_a_prefix(text: str, prefix: str) -> None:
    assert parse_url(text)[1] == prefix


def test_the_settings_choose_the_registry_and_show_no_password(
    guarded: RegistryServer,
    package: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EDGEFLEET_HOME", str(tmp_path / "home"))
    assert isinstance(wiring.images(Settings()), OciLayout)
    monkeypatch.setenv("EDGEFLEET_REGISTRY_URL", f"{guarded.url}/line")
    monkeypatch.setenv("EDGEFLEET_REGISTRY_USER", "release")
    monkeypatch.setenv("EDGEFLEET_REGISTRY_PASSWORD", SECRET)
    settings = Settings()
    assert SECRET not in f"{settings!r} {settings}"
    registry = wiring.images(settings)
    assert isinstance(registry, Registry)
    try:
        round_trip(registry, package, tmp_path / "node")
    finally:
        registry.close()


def test_a_login_shows_no_password() -> None:
    assert SECRET not in repr(RELEASE)
