"""An OCI image of a package, as bytes: deterministic layers, config and manifest.

The same package and the same sources give the same digest. Layers are plain tar, not gzip: weights
hardly compress, a plain layer's digest is also its diff id, and no version of zlib can change it.
Two layers: the edge server's own sources below app/ (`base`), the package below models/ (`model`);
a release that changes the model moves the second one only.
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

from edgefleet.edge.contract import CARD_FILE, PACKAGE_FILES, Card, Digest, parse_digest
from edgefleet.errors import Refused

MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE: Final = "application/vnd.oci.image.layer.v1.tar"
LAYER_KIND: Final = "org.edgefleet.layer"
TITLE: Final = "org.opencontainers.image.title"
VERSION: Final = "org.opencontainers.image.version"
MODELS_DIR: Final = "models"
APP_DIR: Final = "app"
_EDGE: Final = Path(__file__).parent.parent / "edge"


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A pointer to a blob: OCI image spec 1.1, descriptor."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] = {}


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """OCI image spec 1.1, image manifest."""

    schema_version: int
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Built:
    """An image in memory: every blob by digest, the manifest among them."""

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


def base_layer() -> bytes:
    """Return the layer of the edge server's own sources."""
    sources = {
        f"{APP_DIR}/edgefleet/edge/{path.relative_to(_EDGE).as_posix()}": path.read_bytes()
        for path in _EDGE.rglob("*.py")
    }
    root = _EDGE.parent / "__init__.py"
    return layer({**sources, f"{APP_DIR}/edgefleet/__init__.py": root.read_bytes()})


def build(package: Path) -> Built:
    """Return the image of a package folder.

    Raises:
        Refused: one of PACKAGE_FILES is missing.
    """
    model = model_layer(package)
    card = msgspec.json.decode((package / CARD_FILE).read_bytes(), type=Card)
    layers = (("base", base_layer()), ("model", model))
    config = _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Entrypoint": ["python", "-m", "edgefleet.edge"],
                "Env": [f"PYTHONPATH=/{APP_DIR}"],
                "WorkingDir": f"/{APP_DIR}",
            },
            "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for _, tar in layers]},
        }
    )
    manifest = msgspec.json.encode(
        Manifest(
            schema_version=2,
            media_type=MANIFEST_TYPE,
            config=_descriptor(CONFIG_TYPE, config, {}),
            layers=tuple(_descriptor(LAYER_TYPE, tar, {LAYER_KIND: kind}) for kind, tar in layers),
            annotations={TITLE: card.model, VERSION: card.version},
        )
    )
    blobs = {digest_of(content): content for content in (*(tar for _, tar in layers), config)}
    digest = digest_of(manifest)
    return Built(digest, manifest, {**blobs, digest: manifest})


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


def _descriptor(media_type: str, content: bytes, annotations: dict[str, str]) -> Descriptor:
    return Descriptor(
        media_type=media_type,
        digest=digest_of(content),
        size=len(content),
        annotations=annotations,
    )


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
