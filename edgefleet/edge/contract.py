"""What a node and the centre agree upon, and the only module of the edge that the centre imports.

The package's files, the environment that starts a server, its summary and its evidence. Everything
on a wire is a frozen msgspec struct: strict types at decoding, unknown fields ignored so that an
older centre reads a newer node. Counters in `Evidence` add up: a late label is simply one more
record of its request's window.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Final, Literal, NewType

import msgspec

Digest = NewType("Digest", str)
"""`sha256:` and 64 hexadecimal digits; made by `parse_digest` only."""

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


def parse_digest(text: str) -> Digest:
    """Return `text` as a digest.

    Raises:
        ValueError: it is not `sha256:` and 64 lower-case hexadecimal digits.
    """
    if not _DIGEST.fullmatch(text):
        message = f"digest {text!r}: expected 'sha256:' and 64 lower-case hexadecimal digits"
        raise ValueError(message)
    return Digest(text)


MODEL_FILE: Final = "model.onnx"
CARD_FILE: Final = "card.json"
GOLDEN_INPUTS_FILE: Final = "golden-inputs.npy"
GOLDEN_OUTPUTS_FILE: Final = "golden-outputs.npy"
SIGNATURE_FILE: Final = "model.sig"
PACKAGE_FILES: Final = (
    MODEL_FILE,
    CARD_FILE,
    GOLDEN_INPUTS_FILE,
    GOLDEN_OUTPUTS_FILE,
    SIGNATURE_FILE,
)


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One input or output: shape without the batch dimension, which is always first and free."""

    name: str
    dtype: Literal["uint8", "float32"]
    shape: tuple[int, ...]
    low: float | None = None
    high: float | None = None
    """Smallest and largest value that the model was made for; None: not stated."""


NEEDS: Final = "org.edgefleet.needs"  # annotation of a package's image: Needs as JSON


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What a server of a package asks of its node."""

    memory_mb: int = 256
    """Of the whole process; taking more ends it."""
    cpu_millis: int = 250
    """Thousandths of a core that are reserved; more is taken where it is to spare."""
    devices: dict[str, int] = {}
    """Exclusive ones, by resource name: `nvidia.com/gpu`."""


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is, shipped beside it."""

    model: str
    version: str
    task: Literal["classification", "anomaly"]
    metric: Literal["accuracy"]
    labels: tuple[str, ...]
    """Class names, by output index. An anomaly model has ("normal", "anomaly")."""
    input: TensorSpec
    output: TensorSpec
    """Probabilities of shape [batch, len(labels)]."""
    preprocessing: str = "inside the graph"
    precision: Literal["fp32", "int8", "mixed"] = "fp32"
    variant: str = "x86-64"
    tolerance: float = 0.0
    """Largest absolute difference of a golden output that still agrees."""
    source: Digest | None = None
    """The FP32 model file that this one was made from; None: it is that file."""
    needs: Needs = Needs()


BUCKETS: Final = 40
_FIRST_S: Final = 50e-6
_FACTOR: Final = 1.31
BOUNDS_S: Final = tuple(_FIRST_S * _FACTOR**i for i in range(BUCKETS))
"""Upper bounds in seconds, 50 us to about 1.9 s; one more bucket above the last counts the rest."""
Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]  # exact as a float too; else refused when read


def bucket_of(seconds: float) -> int:
    """Return the index in 0..BUCKETS (inclusive: the last one has no upper bound)."""
    if seconds <= _FIRST_S:
        return 0
    return min(math.ceil(math.log(seconds / _FIRST_S) / math.log(_FACTOR) - 1e-9), BUCKETS)


class Evidence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Counts of one node in one window by one serving digest; additive, every count >= 0.

    `window` is the window's number, floor(unix time / window_s) by the node's clock at the time the
    request came in. A record with `warm=False` was counted while the server had just started.
    """

    window: Count
    digest: Digest
    boot: str
    """Identifies the server process; changes at every start."""
    warm: bool = True
    ok: Count = 0
    client_errors: Count = 0
    """4xx: the sender's fault, in no gate."""
    server_errors: Count = 0
    refused: Count = 0
    """503 because the queue was full."""
    latency: tuple[tuple[Annotated[int, msgspec.Meta(ge=0, le=BUCKETS)], Count], ...] = ()
    """(bucket index, count) of ok answers, sorted, counts > 0: server-side seconds per request."""
    wanted: Count = 0
    """Requests whose label the server asked for."""
    labelled: Count = 0
    """Wanted labels that came."""
    correct: Count = 0
    """... and agreed with the answer that was given."""
    other_labelled: Count = 0
    other_correct: Count = 0
    """Labels that nobody asked for: never in a gate."""
    shadowed: Count = 0
    """Requests that the reference (shadow) model answered too."""
    disagreed: Count = 0
    """... with another label than the serving model."""
    paired: Count = 0
    """Shadowed and wanted requests whose label came."""
    gains: Count = 0
    """... serving right, reference wrong."""
    losses: Count = 0
    """... serving wrong, reference right."""
    disagreed_labelled: Count = 0
    """Disagreements whose label came, whoever asked (disagreed - this = unlabelled)."""
    shadow_gains: Count = 0
    """... serving right, reference wrong."""
    shadow_losses: Count = 0
    """... serving wrong, reference right."""
    serving_us: Count = 0
    """Sum of inference times of the serving model over the shadowed requests, microseconds."""
    shadow_us: Count = 0
    """Sum of inference times of the reference model over the same requests."""
    golden_total: Count = 0
    golden_agreed: Count = 0
    queue_peak: Count = 0
    """Most requests in flight at once; merged by maximum."""


LOADING: Final = "the package is being loaded"
"""The reason of a self-check that has not begun: a server that is not ready yet, and not ill."""


class SelfCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The golden set, answered by the server itself."""

    passed: bool
    agreed: int
    total: int
    reason: str = ""


class SwapState(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the last order to swap the model inside the server."""

    want: Digest | None
    """None: nothing was ever ordered."""
    epoch: int
    reason: str
    """Why it is refused, in words; empty: it serves or is on its way."""
    pending: bool
    """It is on its way: neither serving nor refused yet."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /metrics/summary`: what a node says of itself, at most 4 kB."""

    workload: str
    digest: Digest
    """What really serves; while nothing does: what the server was started for."""
    boot: str
    ready: bool
    self_check: SelfCheck
    warm: bool
    window_s: float
    uptime_s: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    """Over the time of `total`, from the histogram; None: nothing answered yet."""
    queue_depth: int
    total: Evidence
    """Everything counted since this process began to serve this digest; its `window` is current."""
    utilization: float | None = None
    """Of the accelerator, 0..1; None: no sensor, which is not 0."""
    shadow: Digest | None = None
    disk_free_mb: int | None = None
    """Of the file system of state_dir; None: it cannot be told."""
    swap: SwapState | None = None
    """None: the server has no store, and its model is never swapped."""


class Windows(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /metrics/windows?after=N`: the node's own spool of closed windows, oldest first.

    The spool is a file of the node, not of the process: windows of the process before are in it,
    and late labels are further records of their old window, so ask again from an earlier `after` to
    see them. At most 240 windows are kept.
    """

    now: float
    """The node's clock, unix seconds: the centre measures skew with it."""
    window_s: float
    records: tuple[Evidence, ...]


class ShadowOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to answer a sample of the requests a second time with."""

    against: Literal["none", "self", "previous"]
    """`self`: A against A on control nodes, so that both sides pay for a second inference."""
    rate: float = 0.0
    """Share of the requests, 0..1, chosen by a hash of the request id."""


REQUEST_ID_HEADER: Final = "x-request-id"
LABEL_HEADER: Final = "x-edge-label"
"""`wanted` on an answer whose true label the server asks for (case-insensitive on the wire)."""
DIGEST_HEADER: Final = "x-edge-digest"
"""The digest that gave the answer, on every inference response."""


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a server is started: a JSON file's path, or the JSON itself, is its only argument.

    A supervisor writes it beside the node's state, Kubernetes puts it into the pod. Paths are
    absolute.
    """

    workload: str
    node: str
    digest: Digest
    """Of the image, as the orderer knows it: reported, and never computed by the server."""
    package_dir: str
    """Folder with PACKAGE_FILES."""
    trust_dir: str
    """Folder of *.pub (PEM public keys); a package signed by any of them is accepted."""
    state_dir: str
    """The node's own folder for this workload: spool, kept answers. Outlives the process."""
    store_dir: str | None = None
    """The node's store of packages for this workload (edgefleet.edge.store), whose orders decide
    what serves: the model is swapped in the process. None: it serves package_dir for life."""
    private_socket: str | None = None
    """Unix socket that serves /health, /health/live, /metrics/summary and POST /drain at once;
    None: there is none, and status_port must be given."""
    status_port: int | None = None
    """TCP port that serves what the private socket does, but for /drain, and /metrics and
    /metrics/windows: probes and scrapes never wait behind inference. None: no such door."""
    status_host: str = "0.0.0.0"  # noqa: S104 - a kubelet asks from outside of the pod
    listen_fd: int | None = None
    """Inherited listening socket; the server accepts on it only once it is ready."""
    host: str = "127.0.0.1"
    port: int = 0
    """Used when listen_fd is None."""
    shadow_digest: Digest | None = None
    shadow_dir: str | None = None
    """The previous package's folder; None: there is none, and `previous` means `none`."""
    shadow_order_file: str | None = None
    """A file with a ShadowOrder, re-read when it changes (written whole, by rename)."""
    window_s: float = 60.0
    warmup_windows: int = 1
    """Windows after the start that are marked as not warm (the first, partial one not counted)."""
    label_rate: float = 0.1
    """Share of requests whose label is wanted, by a hash of the request id."""
    max_body_bytes: int = 4_000_000
    max_batch: int = 64
    max_in_flight: int = 64
    threads: int = 0
    """intra_op threads; 0: from the cgroup's quota, else 1 per core."""
    drain_s: float = 10.0
    linger_s: float = 0.0
    """Told to end, it accepts until nobody asks for so long: proxies may know of it late."""
    linger_max_s: float = 120.0
    log_level: str = "warning"
