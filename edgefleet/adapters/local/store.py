"""Blobs of images in a folder, filled from another folder over a link, every byte checked.

A store is an OCI layout's blob part, so `OciLayout` unpacks from it. The factory's mirror is one
(filled over the WAN, each blob once, whoever asks and however many at once), and so is each node's
own (filled from the mirror).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from edgefleet.adapters.local.links import Link
from edgefleet.edge.contract import Digest, parse_digest
from edgefleet.errors import Refused

_CHUNK: Final = 128 * 1024

Progress = Callable[[int], None]
"""Called with the number of bytes that have just arrived."""


class _Part(msgspec.Struct, frozen=True):
    digest: str
    size: int


class _Manifest(msgspec.Struct, frozen=True):
    config: _Part
    layers: tuple[_Part, ...]


class Store:
    """A folder of blobs."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`; it is made at the first copy."""
        self.folder = folder
        self._blobs = folder / "blobs" / "sha256"
        self._locks: defaultdict[Digest, asyncio.Lock] = defaultdict(asyncio.Lock)

    def blob(self, digest: Digest) -> Path:
        """Return where a blob is, or would be."""
        return self._blobs / digest.removeprefix("sha256:")

    def has(self, digest: Digest) -> bool:
        """Say whether a blob is here, whole."""
        return self.blob(digest).exists()

    def parts(self, image: Digest) -> dict[Digest, int]:
        """Return what an image consists of, its manifest apart: digest -> size.

        Raises:
            Refused: its manifest is not here, or is none.
        """
        try:
            manifest = msgspec.json.decode(self.blob(image).read_bytes(), type=_Manifest)
        except (OSError, msgspec.MsgspecError) as error:
            subject = f"image {image}"
            raise Refused(subject, str(error), "Push it again") from error
        listed = (manifest.config, *manifest.layers)
        return {parse_digest(part.digest): part.size for part in listed}

    def complete(self, image: Digest) -> bool:
        """Say whether the manifest and all parts of an image are here."""
        return self.has(image) and all(self.has(part) for part in self.parts(image))

    def missing_bytes(self, image: Digest, source: Store) -> int:
        """Return how many bytes of an image this store lacks, as `source` lists them."""
        return sum(size for part, size in source.parts(image).items() if not self.has(part))

    async def bring(self, image: Digest, source: Store, link: Link | None, seen: Progress) -> None:
        """Copy what this store lacks of an image; the manifest comes last, so it proves the rest.

        Raises:
            Refused: `source` lacks a blob, or its bytes are not what its digest says.
        """
        for part in source.parts(image):
            await self._copy(part, source, link, seen)
        # A manifest's few hundred bytes are not counted: reports speak of layers.
        await self._copy(image, source, None, lambda _: None)

    async def _copy(self, digest: Digest, source: Store, link: Link | None, seen: Progress) -> None:
        async with self._locks[digest]:
            if self.has(digest):
                return
            target = self.blob(digest)
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = self.folder / f".partial-{target.name}"
            whole = hashlib.sha256()
            try:
                with source.blob(digest).open("rb") as reading, partial.open("wb") as writing:
                    while chunk := reading.read(_CHUNK):
                        if link is not None:
                            await link.carry(len(chunk))
                        writing.write(chunk)
                        whole.update(chunk)
                        seen(len(chunk))
                if f"sha256:{whole.hexdigest()}" != digest:
                    problem = f"arrived with digest sha256:{whole.hexdigest()}"
                    subject = f"blob {digest}"
                    raise Refused(subject, problem, "Push the package again")
                partial.replace(target)
            except OSError as error:
                subject = f"blob {digest}"
                raise Refused(subject, str(error), "Push the package again") from error
            finally:
                partial.unlink(missing_ok=True)
