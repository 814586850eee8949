"""A manifest as an image."""

from __future__ import annotations

import pytest

from edgefleet.adapters.described import described
from edgefleet.edge.contract import Digest
from edgefleet.errors import Refused
from edgefleet.model.oci import CONFIG_TYPE, LAYER_KIND, LAYER_TYPE, Descriptor, Manifest
from edgefleet.ports import Layer

IMAGE = Digest("sha256:" + "a" * 64)


def _manifest(*layers: Descriptor) -> Manifest:
    config = Descriptor(media_type=CONFIG_TYPE, digest="sha256:" + "c" * 64, size=2)
    return Manifest(schema_version=2, media_type="", config=config, layers=layers)


def test_a_layer_is_the_bases_unless_it_says_otherwise() -> None:
    base, model = "sha256:" + "b" * 64, "sha256:" + "d" * 64
    image = described(
        IMAGE,
        _manifest(
            Descriptor(media_type=LAYER_TYPE, digest=base, size=7),
            Descriptor(
                media_type=LAYER_TYPE, digest=model, size=9, annotations={LAYER_KIND: "model"}
            ),
        ),
    )
    assert image.digest == IMAGE
    assert image.layers == (Layer(Digest(base), 7, "base"), Layer(Digest(model), 9, "model"))


def test_a_layer_by_another_hash_is_refused_and_the_package_named() -> None:
    # OCI allows sha512, which nothing of ours ever writes.
    layer = Descriptor(media_type=LAYER_TYPE, digest="sha512:" + "b" * 128, size=7)
    with pytest.raises(Refused, match=f"{IMAGE}.*sha512:b+.*64 lower-case"):
        described(IMAGE, _manifest(layer))
