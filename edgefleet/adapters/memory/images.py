"""Packages in this process: the same images, to the digest, as an OCI registry would hold."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec

from edgefleet.edge.contract import Digest, parse_digest
from edgefleet.errors import Refused
from edgefleet.model import oci
from edgefleet.ports import Image, Layer


class MemoryImages:
    """Implements `ports.Images`; safe for threads."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, bytes] = {}
        self._tags: dict[str, Digest] = {}
        self._lock = threading.Lock()
        self.base: oci.Base | None = None
        """What packages are built on; None: the edge server's own sources."""

    def push(self, package: Path, tag: str) -> Digest:
        """Store the image of a package and point a tag at it; Refused when it is not whole."""
        image = oci.build(package, self.base or oci.source_base())
        with self._lock:
            self._blobs.update(image.blobs)
            self._tags[tag] = image.digest
        return image.digest

    def forget(self, digest: Digest) -> None:
        """Lose an image, as a registry whose garbage was collected: what a test of it needs."""
        with self._lock:
            self._blobs.pop(digest, None)

    def resolve(self, tag: str) -> Digest:
        """Return the digest behind a tag; Refused when there is no such tag."""
        with self._lock:
            if tag not in self._tags:
                known = ", ".join(sorted(self._tags)) or "none"
                raise Refused(tag, f"is no tag in memory (known: {known})", "Push it")
            return self._tags[tag]

    def describe(self, digest: Digest) -> Image:
        """Return layers with sizes; Refused when there is no such image."""
        manifest = self._manifest(digest)
        layers = (
            Layer(parse_digest(item.digest), item.size, item.annotations[oci.LAYER_KIND])
            for item in manifest.layers
        )
        return Image(digest, tuple(layers), manifest.annotations)

    def fetch(self, digest: Digest, folder: Path) -> None:
        """Unpack the model layer into `folder`; Refused when a blob is missing."""
        files: dict[str, bytes] = {}
        for item in self._manifest(digest).layers:
            content = self._read(parse_digest(item.digest))
            if item.annotations[oci.LAYER_KIND] == "model":
                files.update(oci.unpack(content))
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)

    def _manifest(self, digest: Digest) -> oci.Manifest:
        return msgspec.json.decode(self._read(digest), type=oci.Manifest)

    def _read(self, digest: Digest) -> bytes:
        with self._lock:
            if digest not in self._blobs:
                raise Refused(digest, "is no blob in memory", "Push the package again")
            return self._blobs[digest]
