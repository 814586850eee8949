"""What a push moves, what a broken one leaves, and what a fetch refuses."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from edgefleet.adapters.registry import CARD_TYPE, SIGNATURE_TYPE, Registry
from edgefleet.edge.contract import MODEL_FILE, Digest
from edgefleet.errors import Refused, Unreachable
from edgefleet.model import oci
from tests.registry.opened import opened
from tests.registry.packages import write_package
from tests.registry.server import RegistryServer, need_program

MB = 1 << 20


class Traffic:
    """What went out of the adapter since the last look."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> None:
        self.requests.append(request)

    def forget(self) -> None:
        self.requests.clear()

    @property
    def uploads(self) -> int:
        """Blobs that were sent."""
        return sum(request.method == "PATCH" for request in self.requests)

    @property
    def manifests(self) -> int:
        """Manifests that were sent."""
        puts = [request for request in self.requests if request.method == "PUT"]
        return sum("/manifests/" in request.url.path for request in puts)

    @property
    def bytes_sent(self) -> int:
        return sum(len(request.content) for request in self.requests)


def with_base(registry: Registry) -> Registry:
    registry.push_base(oci.base_image(oci.source_base()), ["latest"])
    return registry


def layer_of(registry: Registry, digest: Digest, kind: str) -> Digest:
    (found,) = (one for one in registry.describe(digest).layers if one.kind == kind)
    return found.digest


def file_of(server: RegistryServer, digest: str) -> Path:
    name = digest.removeprefix("sha256:")
    return server.blobs / "sha256" / name[:2] / name / "data"


def test_the_same_package_again_moves_nothing(server: RegistryServer, package: Path) -> None:
    traffic = Traffic()
    with opened(server.url, seen=traffic) as registry:
        first = with_base(registry).push(package, "one")
        traffic.forget()
        assert registry.push(package, "one") == first
    assert traffic.bytes_sent == 0
    assert {request.method for request in traffic.requests} == {"GET", "HEAD"}


def test_a_second_tag_costs_one_manifest(server: RegistryServer, package: Path) -> None:
    traffic = Traffic()
    with opened(server.url, seen=traffic) as registry:
        with_base(registry).push(package, "one")
        traffic.forget()
        registry.push(package, "two")
    assert (traffic.uploads, traffic.manifests) == (0, 1)


def test_a_new_model_sends_its_layer_a_config_and_what_refers_to_it(
    server: RegistryServer, package: Path, tmp_path: Path
) -> None:
    other = write_package(tmp_path / "other", "2", b"other")
    traffic = Traffic()
    with opened(server.url, seen=traffic) as registry:
        with_base(registry).push(package, "one")
        traffic.forget()
        digest = registry.push(other, "two")
        base = layer_of(registry, digest, "base")
    # Model layer, config, card, signature; the image, two referrers and the index of them.
    assert (traffic.uploads, traffic.manifests) == (4, 4)
    assert not [one for one in traffic.requests if one.method == "POST" and base in str(one.url)]


def test_the_first_package_mounts_the_base_and_sends_none_of_it(
    server: RegistryServer, package: Path
) -> None:
    traffic = Traffic()
    with opened(server.url, seen=traffic) as registry:
        with_base(registry)
        traffic.forget()
        digest = registry.push(package, "one")
        base = layer_of(registry, digest, "base")
    mounts = [one for one in traffic.requests if one.url.params.get("mount")]
    assert [dict(one.url.params) for one in mounts] == [{"mount": base, "from": "line/base"}]
    # Model layer, config, card, signature and the empty config of both referrers.
    assert traffic.uploads == 5


def test_a_big_layer_goes_up_in_chunks(server: RegistryServer, tmp_path: Path) -> None:
    package = write_package(tmp_path / "big", weights=bytes(MB))
    traffic = Traffic()
    with opened(server.url, seen=traffic, chunk_bytes=MB) as registry:
        digest = with_base(registry).push(package, "one")
        registry.fetch(digest, tmp_path / "node")
    chunks = Counter(len(one.content) for one in traffic.requests if one.method == "PATCH")
    assert max(chunks) == MB
    # Four files of the layer are that big, and the signature goes up once more by itself.
    assert chunks[MB] == 5
    assert (tmp_path / "node" / MODEL_FILE).read_bytes() == (package / MODEL_FILE).read_bytes()


def test_a_push_that_lost_its_registry_is_finished_by_the_next(
    server: RegistryServer, tmp_path: Path
) -> None:
    package = write_package(tmp_path / "big", weights=bytes(MB))
    chunks: list[str] = []

    def cut(request: httpx.Request) -> None:
        if request.method == "PATCH" and len(request.content) == MB:
            chunks.append(request.url.path)
            if len(chunks) == 2:
                server.stop()

    with opened(server.url, seen=cut, chunk_bytes=MB) as registry:
        with_base(registry)
        with pytest.raises(Unreachable, match=f"registry {server.address}: POST /v2/line/packages"):
            registry.push(package, "one")
        server.start()
        with pytest.raises(Refused, match=r"one: is no tag .*known: none"):
            registry.resolve("one")
        digest = registry.push(package, "one")
        registry.fetch(digest, tmp_path / "node")
    assert (tmp_path / "node" / MODEL_FILE).read_bytes() == (package / MODEL_FILE).read_bytes()


def test_an_upload_that_breaks_off_is_begun_again(server: RegistryServer, tmp_path: Path) -> None:
    package = write_package(tmp_path / "big", weights=bytes(MB))
    chunks: list[str] = []

    def cut(request: httpx.Request) -> None:
        if request.method == "PATCH" and len(request.content) == MB:
            chunks.append(request.url.path)
            if len(chunks) == 2:
                server.stop()
                server.start()

    with opened(server.url, seen=cut, chunk_bytes=MB) as registry:
        registry.fetch(with_base(registry).push(package, "one"), tmp_path / "node")
    assert len(set(chunks)) == 2
    assert (tmp_path / "node" / MODEL_FILE).read_bytes() == (package / MODEL_FILE).read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda content: content[:-1] + b"?", id="another byte"),
        pytest.param(lambda content: content[:-512], id="shorter"),
        pytest.param(lambda content: content + bytes(512), id="longer"),
    ],
)
def test_a_layer_that_changed_on_the_registrys_disk_is_not_unpacked(
    server: RegistryServer, package: Path, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    with opened(server.url) as registry:
        digest = with_base(registry).push(package, "one")
        model = layer_of(registry, digest, "model")
        path = file_of(server, model)
        path.write_bytes(change(path.read_bytes()))
        with pytest.raises(Refused, match=model):
            registry.fetch(digest, tmp_path / "node")
    assert not (tmp_path / "node").exists()


def test_a_manifest_that_changed_on_the_registrys_disk_is_not_believed(
    server: RegistryServer, package: Path
) -> None:
    with opened(server.url) as registry:
        digest = with_base(registry).push(package, "one")
        path = file_of(server, digest)
        path.write_bytes(path.read_bytes().replace(b'"1"', b'"2"'))
        with pytest.raises(Refused, match=f"{digest}: names a blob of"):
            registry.describe(digest)


def test_a_layer_that_is_gone_is_refused_by_name(
    server: RegistryServer, package: Path, tmp_path: Path
) -> None:
    with opened(server.url) as registry:
        digest = with_base(registry).push(package, "one")
        model = layer_of(registry, digest, "model")
        file_of(server, model).unlink()
        with pytest.raises(Refused, match=f"{model}: is no blob in {server.address}/line/packages"):
            registry.fetch(digest, tmp_path / "node")


def test_a_layer_that_is_gone_is_sent_again(
    server: RegistryServer, package: Path, tmp_path: Path
) -> None:
    with opened(server.url) as registry:
        digest = with_base(registry).push(package, "one")
        file_of(server, layer_of(registry, digest, "model")).unlink()
        registry.push(package, "one")
        registry.fetch(digest, tmp_path / "node")
    assert (tmp_path / "node" / MODEL_FILE).read_bytes() == (package / MODEL_FILE).read_bytes()


def test_card_and_signature_hang_on_the_image(server: RegistryServer, package: Path) -> None:
    with opened(server.url) as registry:
        digest = with_base(registry).push(package, "one")
        found = registry.referrers(digest)
        assert {one.artifact_type for one in found} == {CARD_TYPE, SIGNATURE_TYPE}
        # A registry without the referrers API keeps the list under a tag, for any client.
        url = f"{server.url}/v2/line/packages/manifests/{digest.replace(':', '-')}"
        listed = httpx.get(url, headers={"Accept": oci.INDEX_TYPE}, trust_env=False).json()
        assert {one["digest"] for one in listed["manifests"]} == {one.digest for one in found}


def test_packages_are_named_as_a_container_engine_names_them(server: RegistryServer) -> None:
    with opened(server.url, "plants/east") as registry:
        assert registry.repository == f"{server.address}/plants/east/packages"


def test_without_a_base_image_nothing_is_pushed(server: RegistryServer, package: Path) -> None:
    with (
        opened(server.url) as registry,
        pytest.raises(
            Refused, match=r"base image latest: is not in .*/line/base .*base\.py --push"
        ),
    ):
        registry.push(package, "one")


def test_a_base_that_docker_pushed_for_several_platforms_is_one(
    server: RegistryServer, package: Path
) -> None:
    base = oci.source_base()
    docker = "application/vnd.docker"
    manifest = json.loads(oci.base_image(base).manifest)
    manifest["mediaType"] = f"{docker}.distribution.manifest.v2+json"
    manifest["config"]["mediaType"] = f"{docker}.container.image.v1+json"
    manifest["layers"][0]["mediaType"] = f"{docker}.image.rootfs.diff.tar"
    inner = json.dumps(manifest).encode()
    entry = {
        "mediaType": manifest["mediaType"],
        "digest": oci.digest_of(inner),
        "size": len(inner),
        "platform": {"architecture": "amd64", "os": "linux"},
    }
    index = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{docker}.distribution.manifest.list.v2+json",
            "manifests": [entry],
        }
    ).encode()
    with opened(server.url) as registry:
        with_base(registry)
        for content, reference in ((inner, entry["digest"]), (index, "latest")):
            kind = json.loads(content)["mediaType"]
            registry._bases.put(content, reference, kind)
        digest = registry.push(package, "one")
        found = registry._packages.manifest(digest)
    assert found is not None
    types = [one["mediaType"] for one in json.loads(found[1])["layers"]]
    assert types == [oci.LAYER_TYPE, oci.LAYER_TYPE]


def test_a_mirror_brings_what_it_lacks_and_serves_it(tmp_path: Path, package: Path) -> None:
    need_program()
    with (
        RegistryServer(tmp_path / "origin") as origin,
        RegistryServer(tmp_path / "mirror", proxy_of=origin.url) as mirror,
        opened(origin.url) as centre,
        opened(mirror.url) as factory,
    ):
        digest = with_base(centre).push(package, "one")
        factory.fetch(digest, tmp_path / "node")
        (model,) = (one for one in factory.describe(digest).layers if one.kind == "model")
        for registry in (origin, mirror):
            registry.wait_served(f"line/packages/{model.digest}", model.size)
    assert (tmp_path / "node" / MODEL_FILE).read_bytes() == (package / MODEL_FILE).read_bytes()


def test_a_tag_that_is_none_is_refused(server: RegistryServer, package: Path) -> None:
    with opened(server.url) as registry:
        with_base(registry)
        with pytest.raises(Refused, match="'a b': is no tag"):
            registry.push(package, "a b")
        with pytest.raises(Refused, match=r"\.\./one: is no tag .*known: none"):
            registry.resolve("../one")
