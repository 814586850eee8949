"""Which adapter stands behind which port: the only place that chooses, once per process.

Importing this dials nobody. A rehearsal or a test installs its own world with `installed`; without
one, `world()` builds the one that the settings describe.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edgefleet.errors import Refused
from edgefleet.fleet.inventory import NodeView
from edgefleet.model.signature import TRUST_FOLDER, public_keys
from edgefleet.ports import Clock, Images, Ledger, Models, Site, Telemetry
from edgefleet.settings import Settings

if TYPE_CHECKING:
    from edgefleet.adapters.prometheus_http import PrometheusHttp
    from edgefleet.adapters.registry import Registry
    from edgefleet.adapters.servers.postgres import PostgresServer


class WallClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """Return the current time, aware, UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Ground:
    """What carrying out an order in a factory needs."""

    clock: Clock
    sites: Mapping[str, Site]
    """By factory: those that this process reaches."""
    take_start: Callable[[str, float, datetime], bool]
    """As `Ledger.take_start`."""
    trust_dir: Path
    """Folder of the public keys whose orders are followed."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A factory's nodes, as its worker saw them at some time."""

    at: datetime
    views: tuple[NodeView, ...]


@dataclass(slots=True)
class Worker:
    """A factory that only a worker of its own can reach."""

    pool: str
    """Prefect's work pool on which it takes orders."""
    seen: dict[str, Seen] = field(default_factory=dict)
    """By workload."""


@dataclass(frozen=True, slots=True)
class World:
    """Every outside thing that a release touches."""

    clock: Clock
    ledger: Ledger
    models: Models
    images: Images
    telemetry: Telemetry
    sites: Mapping[str, Site]
    """By factory."""
    key_dir: Path
    """Holds the signing key and `trust/`."""
    work_dir: Path
    """A folder per release, for models on their way."""
    lease_s: float = 10.0
    workers: Mapping[str, Worker] = field(default_factory=dict)
    """By factory, for those that are not among `sites`."""

    @property
    def ground(self) -> Ground:
        """What orders to the factories of `sites` need."""
        return Ground(self.clock, self.sites, self.ledger.take_start, self.key_dir / "trust")


_installed: list[World] = []


@contextmanager
def installed(chosen: World) -> Iterator[World]:
    """Make `chosen` the world of this process for a while."""
    _installed.append(chosen)
    try:
        yield chosen
    finally:
        _installed.pop()


def world() -> World:
    """Return the installed world, else the one that the settings describe (built once)."""
    if not _installed:
        _installed.append(build(Settings()))
    return _installed[-1]


def ground() -> Ground:
    """Return what a factory's own worker has: no registry of models, and a ledger for starts only.

    In a process with an installed world: that world's.
    """
    if _installed:
        return _installed[-1].ground
    settings = Settings()
    kept = ledger(settings)
    reached = sites(settings, kept, images(settings))
    return Ground(WallClock(), reached, kept.take_start, key_dir(settings) / "trust")


def ledger(settings: Settings) -> Ledger:
    """Return the ledger alone: reading it needs nothing else to be up."""
    from edgefleet.adapters.ledger import SqlLedger  # noqa: PLC0415 - a client is loaded when used

    home = settings.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    named = settings.ledger_url.get_secret_value()
    server = None if named else postgres(settings)
    return SqlLedger(named or (server.ledger if server else f"sqlite:///{home}/ledger.db"))


def postgres(settings: Settings) -> PostgresServer | None:
    """Return the PostgreSQL server of this home, None: it has its own SQLite files.

    Raises:
        Refused: its URL cannot be read.
    """
    from edgefleet.adapters.servers.postgres import PostgresServer  # noqa: PLC0415 - as above

    if named := settings.postgres_url.get_secret_value():
        return PostgresServer.parse(named)
    return PostgresServer.remembered(settings.home.resolve())


def endpoints(settings: Settings) -> Mapping[str, str]:
    """Return the addresses that `edgefleet up` wrote.

    Raises:
        Refused: nothing is up in this home.
    """
    file = settings.home.resolve() / "endpoints.json"
    try:
        return {str(k): str(v) for k, v in json.loads(file.read_text()).items()}
    except OSError as error:
        raise Refused(str(file), "not there: nothing is up", "Run `edgefleet up` first") from error


def sites(settings: Settings, released: Ledger, kept: Images) -> Mapping[str, Site]:
    """Return the site of every factory: those of the clusters' file, else the local fleet's."""
    if settings.clusters.parts:
        return _clusters(settings, released, kept)
    from edgefleet.adapters.local.site import LocalSite, factories  # noqa: PLC0415 - as above

    url = settings.supervisor_url or _supervisor(settings.home.resolve() / "fleet")
    return {name: LocalSite(name, url) for name in factories(url)}


def _clusters(settings: Settings, released: Ledger, kept: Images) -> Mapping[str, Site]:
    """Return the sites of the clusters' file; nobody is dialled before the first look.

    Raises:
        Refused: the file or a kubeconfig is wrong, or there is no registry to pull from.
    """
    from edgefleet.adapters.known import known_images  # noqa: PLC0415 - as above
    from edgefleet.adapters.kubernetes.config import load_clusters  # noqa: PLC0415 - as above
    from edgefleet.adapters.kubernetes.sites import sites_of  # noqa: PLC0415 - as above
    from edgefleet.adapters.registry import Registry  # noqa: PLC0415 - as above

    file = load_clusters(settings.clusters)
    if not file.clusters:
        return {}
    if not isinstance(kept, Registry):
        problem = f"{settings.clusters} names clusters, and there is no registry to pull from"
        raise Refused("EDGEFLEET_CLUSTERS", problem, "Set EDGEFLEET_REGISTRY_URL")
    keys = public_keys(key_dir(settings) / TRUST_FOLDER)
    describe = known_images(released, kept, settings.home.resolve() / "packages")
    ask = prometheus(settings).ask if settings.prometheus_url else None
    return sites_of(file, kept.repository, describe, keys, ask)


def workers(settings: Settings) -> Mapping[str, Worker]:
    """Return the factories that only their own workers reach."""
    if not settings.clusters.parts:
        return {}
    from edgefleet.adapters.kubernetes.config import load_clusters  # noqa: PLC0415 - as above

    named = load_clusters(settings.clusters).workers
    return {worker.name: Worker(worker.pool or worker.name) for worker in named}


def _supervisor(root: Path) -> str:
    """Return where the local fleet's supervisor is, as it wrote itself."""
    try:
        return str(json.loads((root / "supervisor.json").read_text())["url"])
    except OSError as error:
        raise Refused(str(root), "no local fleet is up", "Run `edgefleet up` first") from error


def models(settings: Settings) -> Models:
    """Return the model registry."""
    from edgefleet.adapters.mlflow import MlflowModels  # noqa: PLC0415 - as above

    url = settings.mlflow_url or endpoints(settings)["mlflow_url"]
    return MlflowModels(url, settings.mlflow_auth.get_secret_value())


def build(settings: Settings) -> World:
    """Return the world that the settings describe."""
    released, kept = ledger(settings), images(settings)
    return World(
        clock=WallClock(),
        ledger=released,
        models=models(settings),
        images=kept,
        telemetry=telemetry(settings),
        sites=sites(settings, released, kept),
        workers=workers(settings),
        key_dir=key_dir(settings),
        work_dir=settings.home.resolve() / "work",
        lease_s=settings.lease_s,
    )


def telemetry(settings: Settings) -> Telemetry:
    """Return where evidence comes from: the central Prometheus if there is one, else the nodes.

    Raises:
        Refused: its URL is none, or its CA file cannot be read.
    """
    from edgefleet.adapters.prometheus import Prometheus  # noqa: PLC0415 - as above
    from edgefleet.adapters.scrape import Scrape  # noqa: PLC0415 - as above

    return Prometheus(prometheus(settings)) if settings.prometheus_url else Scrape()


def prometheus(settings: Settings) -> PrometheusHttp:
    """Return the central Prometheus.

    Raises:
        Refused: its URL is none, or its CA file cannot be read.
    """
    from edgefleet.adapters.prometheus_http import PrometheusHttp  # noqa: PLC0415 - as above

    token = settings.prometheus_token.get_secret_value()
    ca = settings.prometheus_ca if settings.prometheus_ca.parts else None
    return PrometheusHttp(settings.prometheus_url, token, ca)


def images(settings: Settings) -> Images:
    """Return where packages are kept: the registry if there is one, else the folder."""
    from edgefleet.adapters.oci_layout import OciLayout  # noqa: PLC0415 - as above

    return registry(settings) if settings.registry_url else OciLayout(images_dir(settings))


def registry(settings: Settings) -> Registry:
    """Return the OCI registry.

    Raises:
        Refused: none is named, its URL is none, or its CA file cannot be read.
    """
    from edgefleet.adapters.registry import Registry, parse_url  # noqa: PLC0415 - as above
    from edgefleet.adapters.registry_auth import Login  # noqa: PLC0415 - as above
    from edgefleet.adapters.registry_http import RegistryHttp, dial  # noqa: PLC0415 - as above

    url, prefix = parse_url(settings.registry_url)
    password = settings.registry_password.get_secret_value()
    login = Login(settings.registry_user, password) if settings.registry_user else None
    client = dial(url, settings.registry_ca if settings.registry_ca.parts else None)
    return Registry(RegistryHttp(client, url, login), prefix, settings.base_image)


def images_dir(settings: Settings) -> Path:
    """Return the OCI layout folder."""
    return settings.images_dir if settings.images_dir.parts else settings.home.resolve() / "images"


def key_dir(settings: Settings) -> Path:
    """Return the folder of the signing key."""
    return settings.key_dir if settings.key_dir.parts else settings.home.resolve() / "keys"
