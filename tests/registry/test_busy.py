"""A registry that is busy, broken or newer: answers that no real one gives on command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from edgefleet.adapters.registry import Registry
from edgefleet.adapters.registry_http import RegistryHttp
from edgefleet.edge.contract import parse_digest
from edgefleet.errors import Refused, Unreachable
from edgefleet.model import oci

URL = httpx.URL("https://registry.example")
MISSING = parse_digest("sha256:" + 64 * "0")
Answers = Callable[[httpx.Request], httpx.Response]


def over(answers: Answers, slept: list[float] | None = None) -> RegistryHttp:
    client = httpx.Client(transport=httpx.MockTransport(answers))
    return RegistryHttp(client, URL, sleep=(slept if slept is not None else []).append)


def scripted(*answers: httpx.Response | Exception) -> Answers:
    left: Iterator[httpx.Response | Exception] = iter(answers)

    def answer(_: httpx.Request) -> httpx.Response:
        found = next(left)
        if isinstance(found, Exception):
            raise found
        return found

    return answer


def get(http: RegistryHttp) -> int:
    return http.ask("GET", "/v2/line/manifests/one", "repository:line:pull").status


@pytest.mark.parametrize(
    ("first", "waited"),
    [
        (httpx.Response(429, headers={"Retry-After": "7"}), 7.0),
        (httpx.Response(429), 0.5),
        (httpx.Response(503, headers={"Retry-After": "nonsense"}), 0.5),
        (httpx.ReadTimeout("slow"), 0.5),
        (httpx.ConnectError("refused"), 0.5),
    ],
)
def test_a_busy_registry_is_asked_again_when_it_wants(
    first: httpx.Response | Exception, waited: float
) -> None:
    slept: list[float] = []
    assert get(over(scripted(first, httpx.Response(200)), slept)) == 200
    assert slept == [waited]


def test_a_registry_that_stays_broken_is_unreachable() -> None:
    slept: list[float] = []
    broken = over(lambda _: httpx.Response(502), slept)
    with pytest.raises(Unreachable, match=r"registry\.example: GET /v2/line/.* failed: HTTP 502"):
        get(broken)
    assert slept == [0.5, 1.0, 2.0]


def test_who_asks_for_an_hour_is_not_waited_for() -> None:
    slept: list[float] = []
    busy = over(lambda _: httpx.Response(429, headers={"Retry-After": "3600"}), slept)
    with pytest.raises(Unreachable, match="wait 3600 s"):
        get(busy)
    assert slept == []


def test_what_appends_is_sent_once() -> None:
    http = over(scripted(httpx.ReadError("cut")))
    with pytest.raises(Unreachable, match="ReadError cut"):
        http.ask("PATCH", "/v2/line/blobs/uploads/1?state=secret", "", content=b"x", again=False)


@pytest.mark.parametrize("place", ["http://registry.example/u", "https://other.example/u"])
def test_an_upload_stays_at_the_registry(place: str) -> None:
    with pytest.raises(Refused, match="wants an upload at"):
        over(scripted()).ask("PATCH", place, "")


def test_a_blob_is_not_read_by_plain_http() -> None:
    moved = httpx.Response(307, headers={"Location": "http://storage.example/blob"})
    with pytest.raises(Refused, match=r"storage\.example for /v2/.*, by plain http"):
        get(over(scripted(moved, httpx.Response(200))))


def test_what_is_longer_than_it_should_be_is_not_read_to_its_end() -> None:
    http = over(lambda _: httpx.Response(200, content=bytes(1000)))
    with pytest.raises(Refused, match="sent more than the 10 bytes"):
        http.ask("GET", "/v2/line/blobs/x", "", limit=10)


class Newer:
    """A registry in memory with the referrers API, which mounts nothing."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[str, bytes]] = {}
        self.referring: dict[str, list[oci.Descriptor]] = {}
        self.parts: dict[str, bytes] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path, method = request.url.path, request.method
        if "/uploads/" in path:
            return self._upload(request)
        if "/referrers/" in path:
            found = tuple(self.referring.get(path.rpartition("/")[2], ()))
            return httpx.Response(200, content=msgspec.json.encode(oci.Index(manifests=found)))
        if method == "PUT":
            return self._manifest(request)
        kind, content = self.kept.get(path, ("", b""))
        if not content:
            return httpx.Response(404)
        return httpx.Response(200, headers={"Content-Type": kind}, content=content)

    def _upload(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if request.method == "POST":
            place = f"{path}{len(self.parts)}"
            self.parts[place] = b""
            return httpx.Response(202, headers={"Location": f"{place}?state=a%2Fb"})
        assert request.url.params["state"] == "a/b"
        self.parts[path] += request.content
        if request.method == "PATCH":
            return httpx.Response(202, headers={"Location": f"{path}?state=a%2Fb"})
        digest = request.url.params["digest"]
        content = self.parts.pop(path)
        assert digest == oci.digest_of(content)
        repository = path.partition("/blobs/")[0]
        self.kept[f"{repository}/blobs/{digest}"] = ("", content)
        return httpx.Response(201)

    def _manifest(self, request: httpx.Request) -> httpx.Response:
        content, path = request.content, request.url.path
        digest = oci.digest_of(content)
        entry = (request.headers["content-type"], content)
        self.kept[path] = self.kept[f"{path.rpartition('/')[0]}/{digest}"] = entry
        manifest = msgspec.json.decode(content, type=oci.Manifest)
        if manifest.subject is None:
            return httpx.Response(201)
        item = oci.descriptor(oci.MANIFEST_TYPE, content, manifest.annotations)
        item = msgspec.structs.replace(item, artifact_type=manifest.artifact_type)
        self.referring.setdefault(manifest.subject.digest, []).append(item)
        return httpx.Response(201, headers={"OCI-Subject": manifest.subject.digest})


def test_a_registry_with_the_referrers_api_gets_no_tag_for_them(
    package: Path, tmp_path: Path
) -> None:
    newer = Newer()
    registry = Registry(over(newer), "line")
    registry.push_base(oci.base_image(oci.source_base()), ["latest"])
    digest = registry.push(package, "one")
    assert registry.push(package, "one") == digest
    assert len(registry.referrers(digest)) == 2
    assert not [path for path in newer.kept if "/manifests/sha256-" in path]
    registry.fetch(digest, tmp_path / "node")
    with pytest.raises(Refused, match=f"{MISSING}: is no image in registry.example/line/packages"):
        registry.describe(MISSING)
