"""What every Images adapter has to do, and what an OCI layout folder has to be."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgefleet.adapters.memory.images import MemoryImages
from edgefleet.adapters.oci_layout import OciLayout
from edgefleet.edge.contract import CARD_FILE, PACKAGE_FILES, Digest, parse_digest
from edgefleet.errors import Refused
from edgefleet.model import oci
from edgefleet.ports import Images
from tests.registry.opened import opened
from tests.registry.packages import write_package
from tests.registry.server import RegistryServer, need_program

UNKNOWN = parse_digest("sha256:" + 64 * "0")
PUSH = (
    "import sys; from pathlib import Path; from edgefleet.adapters.oci_layout import OciLayout\n"
    "layout = OciLayout(Path(sys.argv[1]))\n"
    "for i in range(10): layout.push(Path(sys.argv[2]), f'{sys.argv[3]}-{i}')\n"
)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return write_package(tmp_path / "package")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.fixture
def layout(root: Path) -> OciLayout:
    return OciLayout(root)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    need_program()
    with RegistryServer(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture(params=["layout", "memory", "registry"])
def images(request: pytest.FixtureRequest, layout: OciLayout) -> Iterator[Images]:
    if request.param == "registry":
        server: RegistryServer = request.getfixturevalue("server")
        prefix = hashlib.sha256(request.node.name.encode()).hexdigest()[:16]
        with opened(server.url, prefix) as registry:
            registry.push_base(oci.base_image(oci.source_base()), ["latest"])
            yield registry
    else:
        yield layout if request.param == "layout" else MemoryImages()


def test_what_was_pushed_is_fetched_byte_for_byte(
    images: Images, package: Path, tmp_path: Path
) -> None:
    images.fetch(images.push(package, "one"), tmp_path / "node")
    assert set(PACKAGE_FILES) == {path.name for path in (tmp_path / "node").iterdir()}
    for name in PACKAGE_FILES:
        assert (package / name).read_bytes() == (tmp_path / "node" / name).read_bytes()


def test_a_tag_leads_to_the_digest_and_moves_with_a_later_push(
    images: Images, package: Path, tmp_path: Path
) -> None:
    first = images.push(package, "latest")
    assert first == images.resolve("latest")
    second = images.push(write_package(tmp_path / "newer", "2"), "latest")
    assert first != second
    assert second == images.resolve("latest")
    assert images.describe(first).annotations["org.opencontainers.image.version"] == "1"


def test_pushing_the_same_again_changes_nothing(
    layout: OciLayout, package: Path, root: Path
) -> None:
    first = layout.push(package, "one")
    before = snapshot(root)
    assert first == layout.push(package, "one")
    assert before == snapshot(root)


def test_the_same_package_has_the_same_digest_anywhere(
    images: Images, package: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(package, copy, copy_function=shutil.copyfile)
    (copy / CARD_FILE).chmod(0o600)
    assert images.push(package, "one") == OciLayout(tmp_path / "other").push(copy, "two")


def test_a_new_model_moves_the_model_layer_only(
    images: Images, package: Path, tmp_path: Path
) -> None:
    old = images.describe(images.push(package, "old"))
    new = images.describe(images.push(write_package(tmp_path / "n", "2", b"other"), "new"))
    assert [layer.kind for layer in old.layers] == ["base", "model"]
    assert old.layers[0] == new.layers[0]
    assert old.layers[1].digest != new.layers[1].digest


def test_an_unknown_tag_or_digest_is_refused_by_name(images: Images, package: Path) -> None:
    images.push(package, "one")
    with pytest.raises(Refused, match=r"^two: is no tag .*known: one"):
        images.resolve("two")
    with pytest.raises(Refused, match=UNKNOWN):
        images.describe(UNKNOWN)
    with pytest.raises(Refused, match=UNKNOWN):
        images.fetch(UNKNOWN, Path("unused"))


def test_half_a_package_is_not_pushed(images: Images, package: Path) -> None:
    (package / "golden-outputs.npy").unlink()
    with pytest.raises(Refused, match=r"lacks golden-outputs\.npy"):
        images.push(package, "one")


@pytest.mark.parametrize("victim", ["manifest", "config", "base", "model"])
def test_no_damaged_blob_is_ever_unpacked_and_a_push_heals_it(
    layout: OciLayout, package: Path, root: Path, tmp_path: Path, victim: str
) -> None:
    digest = layout.push(package, "one")
    path = blob(root, parts(root, digest)[victim])
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(Refused, match=f"{parts_name(path)}: names a blob of .* bytes with digest"):
        layout.fetch(digest, tmp_path / "node")
    assert not (tmp_path / "node").exists()
    assert digest == layout.push(package, "one")
    layout.fetch(digest, tmp_path / "node")


def test_a_missing_layer_is_refused(layout: OciLayout, package: Path, root: Path) -> None:
    digest = layout.push(package, "one")
    layer = layout.describe(digest).layers[1].digest
    blob(root, layer).unlink()
    with pytest.raises(Refused, match=f"{layer}: is no blob"):
        layout.fetch(digest, Path("unused"))


def test_two_processes_that_push_at_once_keep_all_their_tags(
    layout: OciLayout, package: Path, root: Path, tmp_path: Path
) -> None:
    other = write_package(tmp_path / "other", "2", b"other")
    pushers = [
        subprocess.Popen([sys.executable, "-c", PUSH, str(root), str(folder), name])
        for folder, name in ((package, "a"), (other, "b"))
    ]
    assert [pusher.wait(timeout=60) for pusher in pushers] == [0, 0]
    for folder, name in ((package, "a"), (other, "b")):
        digest = layout.push(folder, f"{name}-0")
        assert {digest} == {layout.resolve(f"{name}-{i}") for i in range(10)}
    assert not list(root.glob(".partial-*"))


def test_the_folder_is_an_oci_image_layout(layout: OciLayout, package: Path, root: Path) -> None:
    digest = layout.push(package, "one")
    assert json.loads((root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((root / "index.json").read_bytes())
    assert (
        index["schemaVersion"],
        index["mediaType"],
    ) == (2, "application/vnd.oci.image.index.v1+json")
    (entry,) = index["manifests"]
    assert entry["annotations"] == {"org.opencontainers.image.ref.name": "one"}
    assert digest == entry["digest"]
    manifest = pointed(root, entry)
    config = pointed(root, manifest["config"])
    assert (config["architecture"], config["os"]) == ("amd64", "linux")
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    assert [item["digest"] for item in manifest["layers"]] == config["rootfs"]["diff_ids"]
    for path in (root / "blobs" / "sha256").iterdir():
        assert path.name == hashlib.sha256(path.read_bytes()).hexdigest()


def test_layers_are_sorted_owned_by_root_and_without_times(
    layout: OciLayout, package: Path, root: Path
) -> None:
    found = parts(root, layout.push(package, "one"))
    for kind, folder in (("base", "app"), ("model", "models")):
        with tarfile.open(fileobj=io.BytesIO(blob(root, found[kind]).read_bytes())) as archive:
            entries = archive.getmembers()
        names = [entry.name for entry in entries]
        assert sorted(names) == names
        assert {folder} == {name.partition("/")[0] for name in names}
        assert {(0, 0, 0)} == {(entry.uid, entry.gid, entry.mtime) for entry in entries}
        assert {0o644} == {entry.mode for entry in entries if entry.isfile()}
    assert "app/edgefleet/edge/contract.py" in base_names(root, found["base"])


def test_skopeo_reads_it_where_there_is_one(
    layout: OciLayout, package: Path, root: Path, tmp_path: Path
) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not on this machine: run `make setup-kubernetes` as root")
    digest = layout.push(package, "one")
    seen = json.loads(skopeo("inspect", f"oci:{root}:one"))
    assert digest == seen["Digest"]
    assert [layer.digest for layer in layout.describe(digest).layers] == seen["Layers"]
    skopeo("copy", "--preserve-digests", f"oci:{root}:one", f"oci:{tmp_path}/copy:one")
    assert digest == OciLayout(tmp_path / "copy").resolve("one")


def skopeo(*words: str) -> str:
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *words], check=True, capture_output=True, text=True
    )
    return done.stdout


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def blob(root: Path, digest: str) -> Path:
    return root / "blobs" / "sha256" / digest.removeprefix("sha256:")


def parts_name(path: Path) -> str:
    return f"sha256:{path.name}"


def pointed(root: Path, descriptor: dict[str, object]) -> dict[str, dict[str, object]]:
    content = blob(root, str(descriptor["digest"])).read_bytes()
    assert descriptor["size"] == len(content)
    decoded: dict[str, dict[str, object]] = msgspec.json.decode(content)
    return decoded


def parts(root: Path, digest: Digest) -> dict[str, str]:
    manifest = json.loads(blob(root, digest).read_bytes())
    layers = {
        item["annotations"]["org.edgefleet.layer"]: item["digest"] for item in manifest["layers"]
    }
    return {"manifest": digest, "config": manifest["config"]["digest"], **layers}


def base_names(root: Path, digest: str) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(blob(root, digest).read_bytes())) as archive:
        return archive.getnames()
