"""One repository of a registry: the verbs of the OCI distribution specification 1.1.

Nothing is sent that is there already, and whatever is read is checked against its digest. A blob
goes up in chunks; an upload that breaks off is begun again, since no registry has to keep half a
blob. Referrers (a signature, a card) are asked for by the referrers API and, where a registry has
none, kept as the specification says: in an index under the tag `sha256-<hex>` of their subject.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import httpx
import msgspec

from edgefleet.adapters.registry_http import Answer, RegistryHttp
from edgefleet.documents import decode
from edgefleet.edge.contract import Digest, parse_digest
from edgefleet.errors import Refused, Unreachable
from edgefleet.model import oci
from edgefleet.model.oci import Descriptor, Index, Manifest

CHUNK_BYTES: Final = 8 << 20
_UPLOADS: Final = 3
_DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
_DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
INDEX_TYPES: Final = frozenset({oci.INDEX_TYPE, _DOCKER_INDEX})
_ACCEPT: Final = f"{oci.MANIFEST_TYPE}, {oci.INDEX_TYPE}, {_DOCKER_MANIFEST}, {_DOCKER_INDEX}"
_GONE: Final = (404, 416)
"""Of an upload: the registry has forgotten it, or holds another part of it than we think."""
_DAMAGED: Final = "The registry's disk or somebody changed it: delete it there, then push again"


class _Tags(msgspec.Struct, frozen=True, kw_only=True):
    tags: tuple[str, ...] | None = None


class Repository:
    """A named repository; `name` includes the prefix."""

    def __init__(self, http: RegistryHttp, name: str, chunk_bytes: int = CHUNK_BYTES) -> None:
        """Speak through `http`."""
        self.name = name
        self.address = f"{http.host}/{name}"
        self._http = http
        self._chunk_bytes = chunk_bytes
        self.pull = f"repository:{name}:pull"
        """What a token has to allow for reading it."""
        self._push = f"repository:{name}:pull,push"
        self._uploads = f"/v2/{name}/blobs/uploads/"

    def holds(self, digest: Digest) -> bool:
        """Return whether a blob is there."""
        path = f"/v2/{self.name}/blobs/{digest}"
        return self._http.ask("HEAD", path, self._push).status == httpx.codes.OK

    def read(self, item: Descriptor) -> bytes:
        """Return a blob's bytes, checked.

        Raises:
            Refused: it is missing, or its bytes are not what the digest says.
        """
        digest = parse_digest(item.digest)
        path = f"/v2/{self.name}/blobs/{digest}"
        answer = self._http.ask("GET", path, self.pull, limit=item.size)
        if answer.status == httpx.codes.NOT_FOUND:
            raise Refused(digest, f"is no blob in {self.address}", "Push the package again")
        return self._checked(digest, answer.content)

    def write(self, content: bytes) -> None:
        """Store a blob, unless it is there."""
        digest = oci.digest_of(content)
        if self.holds(digest):
            return
        for _ in range(_UPLOADS - 1):
            try:
                if self._upload(digest, content):
                    return
            except Unreachable:
                continue
        if not self._upload(digest, content):
            problem = f"forgot {_UPLOADS} uploads of {digest} to {self.name}"
            raise Unreachable(f"registry {self._http.host}: {problem}")

    def mount(self, item: Descriptor, source: Repository) -> None:
        """Store a blob that another repository of this registry holds, without sending it."""
        digest = parse_digest(item.digest)
        if self.holds(digest):
            return
        params = {"mount": digest, "from": source.name}
        scope = f"{self._push} {source.pull}"
        answer = self._http.ask("POST", self._uploads, scope, params=params, allowed=())
        if answer.status != httpx.codes.CREATED:
            self.write(source.read(item))

    def manifest(self, reference: str) -> tuple[str, bytes] | None:
        """Return the media type and bytes of a manifest, by tag or digest; None: there is none.

        Raises:
            Refused: its bytes are not what the digest says.
        """
        path = f"/v2/{self.name}/manifests/{reference}"
        answer = self._http.ask("GET", path, self.pull, headers={"Accept": _ACCEPT})
        if answer.status == httpx.codes.NOT_FOUND:
            return None
        content = answer.content
        if ":" in reference:
            content = self._checked(parse_digest(reference), content)
        return answer.headers.get("content-type", "").partition(";")[0].strip(), content

    def put(self, manifest: bytes, reference: str, media_type: str = oci.MANIFEST_TYPE) -> Answer:
        """Store a manifest under a tag or its digest; the blobs that it names are there."""
        path = f"/v2/{self.name}/manifests/{reference}"
        headers = {"Content-Type": media_type}
        return self._http.ask(
            "PUT", path, self._push, content=manifest, headers=headers, allowed=()
        )

    def tags(self) -> tuple[str, ...]:
        """Return the tags, without those of referrers; a registry may show the first ones only."""
        answer = self._http.ask("GET", f"/v2/{self.name}/tags/list", self.pull)
        if answer.status == httpx.codes.NOT_FOUND:
            return ()
        names = decode(answer.content, _Tags).tags or ()
        return tuple(sorted(name for name in names if not name.startswith("sha256-")))

    def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        """Return what says something about an image."""
        answer = self._http.ask("GET", f"/v2/{self.name}/referrers/{subject}", self.pull)
        if answer.status != httpx.codes.NOT_FOUND:
            return decode(answer.content, Index).manifests
        found = self.manifest(_referrers_tag(subject))
        return decode(found[1], Index).manifests if found else ()

    def attach(self, subject: Digest, artifacts: Iterable[Manifest]) -> None:
        """Store manifests that refer to an image; their blobs are there."""
        known = self.referrers(subject)
        added = []
        indexed = True
        for artifact in artifacts:
            content = msgspec.json.encode(artifact)
            item = msgspec.structs.replace(
                oci.descriptor(oci.MANIFEST_TYPE, content, artifact.annotations),
                artifact_type=artifact.artifact_type,
            )
            if item not in known:
                added.append(item)
                indexed &= "oci-subject" in self.put(content, item.digest).headers
        if added and not indexed:
            listed = sorted({item.digest: item for item in (*known, *added)}.items())
            index = Index(manifests=tuple(item for _, item in listed))
            self.put(msgspec.json.encode(index), _referrers_tag(subject), oci.INDEX_TYPE)

    def _upload(self, digest: Digest, content: bytes) -> bool:
        """Send a blob; False: the registry lost the upload on the way."""
        answer = self._http.ask("POST", self._uploads, self._push, allowed=())
        whole = memoryview(content)
        for start in range(0, len(whole), self._chunk_bytes):
            part = whole[start : start + self._chunk_bytes]
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Range": f"{start}-{start + len(part) - 1}",
            }
            answer = self._append("PATCH", answer, content=part, headers=headers)
            if answer.status in _GONE:
                return False
        return self._append("PUT", answer, params={"digest": digest}).status not in _GONE

    def _append(
        self,
        method: str,
        before: Answer,
        content: bytes | memoryview = b"",
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        """Go on with an upload, where the answer before said; never twice, since it adds up."""
        return self._http.ask(
            method,
            before.headers["location"],
            self._push,
            content=content,
            headers=headers,
            params=params,
            again=False,
            allowed=_GONE,
        )

    def _checked(self, digest: Digest, content: bytes) -> bytes:
        found = oci.digest_of(content)
        if found != digest:
            problem = f"names a blob of {len(content)} bytes with digest {found} in {self.address}"
            raise Refused(digest, problem, _DAMAGED)
        return content


def _referrers_tag(subject: Digest) -> str:
    return subject.replace(":", "-")
