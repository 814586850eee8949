"""What packages consist of, without asking for it twice."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from uuid import uuid4

import msgspec

from edgefleet.documents import decode
from edgefleet.edge.contract import Digest
from edgefleet.ports import Image, Images, Ledger


def known_images(released: Ledger, images: Images, folder: Path) -> Callable[[Digest], Image]:
    """Return a description of packages that asks where they are kept only for unknown ones.

    What a release ships is in the ledger, and what was asked for once in `folder` (a factory's
    worker has no releases in its ledger): no order to a node waits for a registry that is down.
    """

    @cache
    def describe(digest: Digest) -> Image:
        for release in released.releases():
            document = released.get(release.release_id, "package", 0)
            if document is not None:
                image = decode(document, Image)
                if image.digest == digest:
                    return image
        file = folder / f"{digest.removeprefix('sha256:')}.json"
        if file.is_file():
            return decode(file.read_bytes(), Image)
        image = images.describe(digest)
        _keep(file, image)
        return image

    return describe


def _keep(file: Path, image: Image) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(f".{uuid4().hex}")
    draft.write_bytes(msgspec.json.encode(image))
    draft.replace(file)
