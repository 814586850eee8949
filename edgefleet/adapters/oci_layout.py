"""Images in an OCI layout folder on disk: the embedded default, readable by skopeo and podman.

Blobs are written before what points to them, each whole and by rename; the index changes under a
file lock. So a reader never sees a half image, and two processes that push at once keep both tags.
Nothing is ever deleted here: an image whose tag moved stays reachable by its digest.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from edgefleet.adapters.described import described
from edgefleet.documents import decode
from edgefleet.edge.contract import Digest, parse_digest
from edgefleet.errors import Refused
from edgefleet.model import oci
from edgefleet.model.oci import Built, Descriptor, Index, Manifest
from edgefleet.ports import Image

_TAG: Final = "org.opencontainers.image.ref.name"
_LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'


class OciLayout:
    """The Images port over one folder."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`; it is made at the first push."""
        self._folder = folder
        self._blobs = folder / "blobs" / "sha256"

    def push(self, package: Path, tag: str) -> Digest:
        """Store the image of a package and point a tag at it; pushing the same again does nothing.

        Raises:
            Refused: the package is not whole.
        """
        return self.store(oci.build(package, oci.source_base()), tag)

    def store(self, image: Built, tag: str) -> Digest:
        """Store an image and point a tag at it."""
        self._blobs.mkdir(parents=True, exist_ok=True)
        for digest, content in image.blobs.items():
            if not self._holds(digest):
                self._write(self._blob(digest), content)
        with self._locked():
            self._write(self._folder / "oci-layout", _LAYOUT)
            index = self._index()
            others = tuple(item for item in index.manifests if item.annotations.get(_TAG) != tag)
            entry = Descriptor(
                media_type=oci.MANIFEST_TYPE,
                digest=image.digest,
                size=len(image.manifest),
                annotations={_TAG: tag},
            )
            entries = sorted((*others, entry), key=lambda item: item.annotations.get(_TAG, ""))
            content = msgspec.json.encode(Index(manifests=tuple(entries)))
            self._write(self._folder / "index.json", content)
        return image.digest

    def resolve(self, tag: str) -> Digest:
        """Return the digest behind a tag.

        Raises:
            Refused: there is no such tag.
        """
        tags = {item.annotations.get(_TAG): item.digest for item in self._index().manifests}
        if tag not in tags:
            known = ", ".join(sorted(name for name in tags if name)) or "none"
            problem = f"is no tag in {self._folder} (known: {known})"
            raise Refused(tag, problem, "Push it")
        return parse_digest(tags[tag])

    def describe(self, digest: Digest) -> Image:
        """Return layers with sizes.

        Raises:
            Refused: there is no such image, or its manifest is damaged.
        """
        return described(digest, self._manifest(digest))

    def fetch(self, digest: Digest, folder: Path) -> None:
        """Unpack the model layer's files into `folder`, after every blob was checked.

        Raises:
            Refused: a blob is missing, damaged, or no package.
        """
        manifest = self._manifest(digest)
        files: dict[str, bytes] = {}
        for item in (manifest.config, *manifest.layers):
            content = self._read(parse_digest(item.digest))
            if item.annotations.get(oci.LAYER_KIND) == "model":
                files.update(oci.unpack(content))
        if not files:
            raise Refused(
                digest,
                f"has no layer annotated {oci.LAYER_KIND}=model",
                "Push it with edgefleet",
            )
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            self._write(folder / name, content)

    def _manifest(self, digest: Digest) -> Manifest:
        try:
            return decode(self._read(digest), Manifest)
        except msgspec.DecodeError as error:
            raise Refused(
                digest, f"is no OCI image manifest: {error}", "Name an image's digest"
            ) from error

    def _index(self) -> Index:
        try:
            content = (self._folder / "index.json").read_bytes()
        except FileNotFoundError:
            return Index()
        return decode(content, Index)

    def _blob(self, digest: Digest) -> Path:
        return self._blobs / digest.partition(":")[2]

    def _holds(self, digest: Digest) -> bool:
        try:
            self._read(digest)
        except Refused:
            return False
        return True

    def _read(self, digest: Digest) -> bytes:
        try:
            content = self._blob(digest).read_bytes()
        except FileNotFoundError:
            raise Refused(
                digest, f"is no blob in {self._folder}", "Push the package again"
            ) from None
        found = hashlib.sha256(content).hexdigest()
        if f"sha256:{found}" != digest:
            raise Refused(
                digest,
                f"names a blob of {len(content)} bytes with digest sha256:{found}",
                "The disk or somebody changed it: push the package again",
            )
        return content

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, target: Path, content: bytes) -> None:
        """Write whole and by rename; what a crash leaves unfinished lies outside blobs/."""
        ours = target.is_relative_to(self._folder)
        handle, name = tempfile.mkstemp(
            prefix=".partial-", dir=self._folder if ours else target.parent
        )
        partial = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            partial.chmod(0o644)
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
