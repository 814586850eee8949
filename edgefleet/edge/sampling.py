"""Which requests are sampled: a hash of the request id, so that nobody's choice enters.

One draw serves both samples (labels wanted, shadowed): the smaller is inside the larger, so at
equal cost the most labelled requests have a reference answer too. Each sample alone is random.
"""

from __future__ import annotations

from hashlib import blake2b


def draw(request_id: str) -> float:
    """Return the request's draw, uniform in [0, 1); it is sampled at rate r if the draw is < r."""
    digest = blake2b(request_id.encode(), digest_size=6, person=b"edgefleet").digest()
    return int.from_bytes(digest) / 2**48
