"""An OCI image of a package, as bytes: deterministic layers, config and manifest.

The same package on the same base gives the same digest, wherever it is kept. An image is its base's
layers as they are and one layer more, the package below models/; a release that changes the model
moves that layer only. Layers made here are plain tar, not gzip: weights hardly compress, a plain
layer's digest is also its diff id, and no version of zlib can change it. The base of a folder of
images is the edge server's own sources and runs nowhere by itself; the one that nodes run is in a
registry (infra/images).
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from edgefleet.documents import decode
from edgefleet.edge.contract import CARD_FILE, NEEDS, PACKAGE_FILES, Card, Digest, parse_digest
from edgefleet.errors import Refused

MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"
INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
LAYER_TYPE: Final = "application/vnd.oci.image.layer.v1.tar"
LAYER_KIND: Final = "org.edgefleet.layer"
TITLE: Final = "org.opencontainers.image.title"
VERSION: Final = "org.opencontainers.image.version"
MODELS_DIR: Final = "models"
APP_DIR: Final = "app"
_REBUILD: Final = "Build it again with infra/images/base.py"
_EDGE: Final = Path(__file__).parent.parent / "edge"


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """What an image of an index is for."""

    architecture: str
    os: str


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A pointer to a blob: OCI image spec 1.1, descriptor."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] = {}
    artifact_type: str = ""
    platform: Platform | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """OCI image spec 1.1, image manifest."""

    schema_version: int
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: dict[str, str] = {}
    artifact_type: str = ""
    subject: Descriptor | None = None
    """The image that this one says something about; None: it is an image itself."""


class Index(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """OCI image spec 1.1, image index."""

    schema_version: int = 2
    media_type: str = INDEX_TYPE
    manifests: tuple[Descriptor, ...] = ()


class _RootFs(msgspec.Struct, frozen=True, kw_only=True):
    """Of an image's config: the digest of each layer's tar, before compression."""

    diff_ids: tuple[str, ...]
    type: str = "layers"


@dataclass(frozen=True, slots=True)
class Base:
    """What packages stand on: an image without a model."""

    layers: tuple[Descriptor, ...]
    config: bytes
    """The OCI image config, JSON: entrypoint, environment, diff ids."""
    blobs: Mapping[Digest, bytes]
    """Layers that are only here; without those that the registry holds already."""


@dataclass(frozen=True, slots=True)
class Built:
    """An image: the blobs that nobody holds yet by digest, the manifest among them."""

    digest: Digest
    manifest: bytes
    blobs: Mapping[Digest, bytes]


def digest_of(content: bytes) -> Digest:
    """Return the digest of some bytes."""
    return parse_digest(f"sha256:{hashlib.sha256(content).hexdigest()}")


def layer(files: Mapping[str, bytes]) -> bytes:
    """Return a tar of `files` by path: sorted, owned by root, without times, folders included."""
    folders = {
        "/".join(parts[:i])
        for parts in (path.split("/") for path in files)
        for i in range(1, len(parts))
    }
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(folders | set(files)):
            entry = tarfile.TarInfo(path)
            if path in files:
                entry.mode, entry.size = 0o644, len(files[path])
                archive.addfile(entry, io.BytesIO(files[path]))
            else:
                entry.mode, entry.type = 0o755, tarfile.DIRTYPE
                archive.addfile(entry)
    return stream.getvalue()


def model_layer(package: Path) -> bytes:
    """Return the layer of a package folder.

    Raises:
        Refused: one of PACKAGE_FILES is missing.
    """
    missing = [name for name in PACKAGE_FILES if not (package / name).is_file()]
    if missing:
        raise Refused(
            str(package),
            f"lacks {', '.join(missing)}",
            "Build it with edgefleet.model.package",
        )
    return layer({f"{MODELS_DIR}/{name}": (package / name).read_bytes() for name in PACKAGE_FILES})


def source_layer() -> bytes:
    """Return the layer of the edge server's own sources."""
    sources = {
        f"{APP_DIR}/edgefleet/edge/{path.relative_to(_EDGE).as_posix()}": path.read_bytes()
        for path in _EDGE.rglob("*.py")
    }
    root = _EDGE.parent / "__init__.py"
    return layer({**sources, f"{APP_DIR}/edgefleet/__init__.py": root.read_bytes()})


def source_base() -> Base:
    """Return the base of a folder of images: the edge server's own sources, without a Python."""
    tar = source_layer()
    config = _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Entrypoint": ["python", "-m", "edgefleet.edge"],
                "Env": [f"PYTHONPATH=/{APP_DIR}"],
                "WorkingDir": f"/{APP_DIR}",
            },
            "rootfs": {"type": "layers", "diff_ids": [digest_of(tar)]},
        }
    )
    kind = {LAYER_KIND: "base"}
    return Base((descriptor(LAYER_TYPE, tar, kind),), config, {digest_of(tar): tar})


def base_image(base: Base) -> Built:
    """Return a base as an image of its own, to be pushed once and named by every package."""
    return _image(base.layers, base.config, base.blobs, {})


def build(package: Path, base: Base) -> Built:
    """Return the image of a package folder on a base.

    Raises:
        Refused: one of PACKAGE_FILES is missing, or the base's config is not one of its layers.
    """
    tar = model_layer(package)
    card = msgspec.json.decode((package / CARD_FILE).read_bytes(), type=Card)
    return _image(
        (*base.layers, descriptor(LAYER_TYPE, tar, {LAYER_KIND: "model"})),
        _config_with(base, digest_of(tar)),
        {**base.blobs, digest_of(tar): tar},
        {
            TITLE: card.model,
            VERSION: card.version,
            NEEDS: msgspec.json.encode(card.needs, order="sorted").decode(),
        },
    )


def unpack(tar: bytes) -> dict[str, bytes]:
    """Return the package's files in a model layer.

    Raises:
        Refused: it holds anything but the folder models/ and PACKAGE_FILES in it.
    """
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as archive:
        for entry in archive:
            if entry.isdir() and entry.name == MODELS_DIR:
                continue
            folder, _, name = entry.name.partition("/")
            content = archive.extractfile(entry) if entry.isreg() else None
            if content is None or folder != MODELS_DIR or name not in PACKAGE_FILES:
                raise Refused(
                    "model layer",
                    f"holds {entry.name!r}, which is no part of a package",
                    "Push it again with edgefleet",
                )
            files[name] = content.read()
    missing = [name for name in PACKAGE_FILES if name not in files]
    if missing:
        raise Refused("model layer", f"lacks {', '.join(missing)}", "Push the package again")
    return files


def descriptor(
    media_type: str, content: bytes, annotations: Mapping[str, str] | None = None
) -> Descriptor:
    """Return the descriptor of some bytes."""
    return Descriptor(
        media_type=media_type,
        digest=digest_of(content),
        size=len(content),
        annotations=dict(annotations or {}),
    )


def _image(
    layers: tuple[Descriptor, ...],
    config: bytes,
    blobs: Mapping[Digest, bytes],
    annotations: dict[str, str],
) -> Built:
    manifest = msgspec.json.encode(
        Manifest(
            schema_version=2,
            media_type=MANIFEST_TYPE,
            config=descriptor(CONFIG_TYPE, config),
            layers=layers,
            annotations=annotations,
        )
    )
    digest = digest_of(manifest)
    return Built(digest, manifest, {**blobs, digest_of(config): config, digest: manifest})


def _config_with(base: Base, diff_id: Digest) -> bytes:
    """Return the base's config for one layer more; what else is in it stays as it is."""
    try:
        config = decode(base.config, dict[str, msgspec.Raw])
        below = decode(bytes(config["rootfs"]), _RootFs).diff_ids
    except (msgspec.DecodeError, KeyError) as error:
        raise Refused("base image", f"its config is none: {error!r}", _REBUILD) from error
    if len(below) != len(base.layers):
        problem = f"has {len(base.layers)} layers, and its config names {len(below)}"
        raise Refused("base image", problem, _REBUILD)
    grown: dict[str, object] = {**config, "rootfs": _RootFs(diff_ids=(*below, diff_id))}
    if "history" in config:
        # Tools that convert images want as many lines in it as there are layers.
        made = decode(bytes(config["history"]), list[msgspec.Raw])
        grown["history"] = [*made, {"created_by": "edgefleet: model layer"}]
    return msgspec.json.encode(grown, order="sorted")


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
