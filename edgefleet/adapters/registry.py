"""Images in an OCI registry: two repositories, `<prefix>/base` and `<prefix>/packages`.

A push sends what the registry lacks: the base's layers are mounted from the base's repository, so a
release moves its model layer, a config and a manifest. Signature and card hang on the image as
referrers, for whoever looks with other tools. A tag is set last: what it leads to is whole. The
base image is made by infra/images/base.py; without one nothing is pushed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import httpx
import msgspec

from edgefleet.adapters.described import described
from edgefleet.adapters.registry_http import RegistryHttp
from edgefleet.adapters.registry_repository import CHUNK_BYTES, INDEX_TYPES, Repository
from edgefleet.documents import decode
from edgefleet.edge.contract import CARD_FILE, SIGNATURE_FILE, Digest
from edgefleet.errors import Refused
from edgefleet.model import oci
from edgefleet.model.oci import Base, Built, Descriptor, Index, Manifest, Platform
from edgefleet.ports import Image

CARD_TYPE: Final = "application/vnd.edgefleet.card.v1+json"
SIGNATURE_TYPE: Final = "application/vnd.edgefleet.signature.v1+json"
_FILES: Final = {CARD_FILE: CARD_TYPE, SIGNATURE_FILE: SIGNATURE_TYPE}
_EMPTY_TYPE: Final = "application/vnd.oci.empty.v1+json"
_EMPTY: Final = b"{}"
_PLATFORM: Final = Platform(architecture="amd64", os="linux")
_OCI_TYPES: Final = {
    "application/vnd.docker.image.rootfs.diff.tar.gzip": f"{oci.LAYER_TYPE}+gzip",
    "application/vnd.docker.image.rootfs.diff.tar": oci.LAYER_TYPE,
}
"""What Docker calls the same bytes: an OCI manifest names its own types."""
_PREFIX: Final = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*")
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_BUILD_BASE: Final = "Push one: python infra/images/base.py --push"


def parse_url(text: str) -> tuple[httpx.URL, str]:
    """Return a registry's address and the prefix of its repositories.

    Raises:
        Refused: it is no http or https URL, holds more than host and path, or a login.
    """
    subject = "EDGEFLEET_REGISTRY_URL"
    remedy = "Write https://host:port/prefix (http:// for a registry without TLS)"
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise Refused(subject, f"is no URL: {error}", remedy) from error
    if url.userinfo:
        problem = f"holds a login for {url.host}, which shows in lists of processes and logs"
        raise Refused(subject, problem, "Use EDGEFLEET_REGISTRY_USER and _PASSWORD")
    prefix = url.path.strip("/")
    if url.scheme not in {"http", "https"} or not url.host or url.query or url.fragment:
        raise Refused(subject, f"{text!r} is no registry's address", remedy)
    if prefix and not _PREFIX.fullmatch(prefix):
        problem = f"{prefix!r} is no prefix of a repository (small letters, digits, . _ - /)"
        raise Refused(subject, problem, remedy)
    return url, prefix


class Registry:
    """The Images port over an OCI registry."""

    def __init__(
        self,
        http: RegistryHttp,
        prefix: str = "",
        base: str = "latest",
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        """Build on the image behind `base`, a tag or digest of the repository `<prefix>/base`."""
        folder = f"{prefix}/" if prefix else ""
        self._http = http
        self._base_reference = base
        self._bases = Repository(http, f"{folder}base", chunk_bytes)
        self._packages = Repository(http, f"{folder}packages", chunk_bytes)

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    def push(self, package: Path, tag: str) -> Digest:
        """Store the image of a package and point a tag at it; what is there already is not sent.

        Raises:
            Refused: the package is not whole, there is no base image, or the tag is none.
        """
        if not _TAG.fullmatch(tag):
            problem = "is no tag (letters, digits, . _ -; at most 128)"
            raise Refused(repr(tag), problem, "Name the release otherwise")
        base = self._base()
        image = oci.build(package, base)
        for item in base.layers:
            self._packages.mount(item, self._bases)
        _write_blobs(self._packages, image)
        self._attach(package, image)
        _point(self._packages, image, tag)
        return image.digest

    def push_base(self, image: Built, tags: Iterable[str]) -> Digest:
        """Store a base image under tags."""
        _write_blobs(self._bases, image)
        for tag in tags:
            _point(self._bases, image, tag)
        return image.digest

    def resolve(self, tag: str) -> Digest:
        """Return the digest behind a tag.

        Raises:
            Refused: there is no such tag.
        """
        found = self._packages.manifest(tag) if _TAG.fullmatch(tag) else None
        if found is None:
            known = ", ".join(self._packages.tags()) or "none"
            problem = f"is no tag in {self._packages.address} (known: {known})"
            raise Refused(tag, problem, "Push it")
        return oci.digest_of(found[1])

    def describe(self, digest: Digest) -> Image:
        """Return layers with sizes.

        Raises:
            Refused: there is no such image, or its manifest is damaged.
        """
        return described(digest, self._manifest(digest))

    def fetch(self, digest: Digest, folder: Path) -> None:
        """Unpack the model layer's files into `folder`, after every byte of them was checked.

        The base's layers are not read: nobody needs them here.

        Raises:
            Refused: a blob is missing, damaged, or no package.
        """
        files: dict[str, bytes] = {}
        for item in self._manifest(digest).layers:
            if item.annotations.get(oci.LAYER_KIND) == "model":
                files.update(oci.unpack(self._packages.read(item)))
        if not files:
            problem = f"has no layer annotated {oci.LAYER_KIND}=model"
            raise Refused(digest, problem, "Push it with edgefleet")
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            partial = folder / f".partial-{name}"
            partial.write_bytes(content)
            partial.replace(folder / name)

    @property
    def repository(self) -> str:
        """Of the packages, as a container engine names it: `host:port/prefix/packages`."""
        return self._packages.address

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        """Return what hangs on an image: its card and its signature."""
        return self._packages.referrers(digest)

    def _attach(self, package: Path, image: Built) -> None:
        subject = oci.descriptor(oci.MANIFEST_TYPE, image.manifest)
        artifacts = []
        for name, kind in _FILES.items():
            content = (package / name).read_bytes()
            for blob in (content, _EMPTY):
                self._packages.write(blob)
            artifacts.append(
                Manifest(
                    schema_version=2,
                    media_type=oci.MANIFEST_TYPE,
                    artifact_type=kind,
                    config=oci.descriptor(_EMPTY_TYPE, _EMPTY),
                    layers=(oci.descriptor(kind, content, {oci.TITLE: name}),),
                    subject=subject,
                )
            )
        self._packages.attach(image.digest, artifacts)

    def _manifest(self, digest: Digest) -> Manifest:
        found = self._packages.manifest(digest)
        if found is None:
            raise Refused(digest, f"is no image in {self._packages.address}", "Push it again")
        return _parse(digest, found[1])

    def _base(self) -> Base:
        subject = f"base image {self._base_reference}"
        found = self._bases.manifest(self._base_reference)
        if found is not None and found[0] in INDEX_TYPES:
            fits = [one for one in decode(found[1], Index).manifests if one.platform == _PLATFORM]
            found = self._bases.manifest(fits[0].digest) if fits else None
        if found is None:
            problem = f"is not in {self._bases.address} for {_PLATFORM.os}/{_PLATFORM.architecture}"
            raise Refused(subject, problem, _BUILD_BASE)
        manifest = _parse(subject, found[1])
        layers = tuple(
            msgspec.structs.replace(
                item, media_type=_OCI_TYPES.get(item.media_type, item.media_type)
            )
            for item in manifest.layers
        )
        return Base(layers, self._bases.read(manifest.config), {})


def _parse(subject: str, content: bytes) -> Manifest:
    try:
        return decode(content, Manifest)
    except msgspec.DecodeError as error:
        raise Refused(
            subject, f"is no OCI image manifest: {error}", "Name an image's digest"
        ) from error


def _write_blobs(repository: Repository, image: Built) -> None:
    for digest, content in image.blobs.items():
        if digest != image.digest:
            repository.write(content)


def _point(repository: Repository, image: Built, tag: str) -> None:
    found = repository.manifest(tag)
    if found is None or oci.digest_of(found[1]) != image.digest:
        repository.put(image.manifest, tag)
