"""A package as its manifest describes it, wherever the manifest is kept."""

from __future__ import annotations

from edgefleet.edge.contract import Digest, parse_digest
from edgefleet.errors import Refused
from edgefleet.model import oci
from edgefleet.ports import Image, Layer


def described(digest: Digest, manifest: oci.Manifest) -> Image:
    """Return the image of a manifest: its layers with sizes in bytes.

    Raises:
        Refused: a layer's digest is none.
    """
    try:
        layers = tuple(
            Layer(
                digest=parse_digest(item.digest),
                size=item.size,
                kind=item.annotations.get(oci.LAYER_KIND, "base"),
            )
            for item in manifest.layers
        )
    except ValueError as error:
        raise Refused(digest, str(error), "Push the package again with edgefleet") from error
    return Image(digest, layers, manifest.annotations)
