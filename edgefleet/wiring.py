"""Which adapter stands behind which port: the only place that chooses, once per process.

Importing this dials nobody. A rehearsal or a test installs its own world with `installed`; without
one, `world()` builds the one that the settings describe.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edgefleet.errors import Refused
from edgefleet.ports import Clock, Images, Ledger, Models, Site, Telemetry
from edgefleet.settings import Settings


class WallClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """Return the current time, aware, UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


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


def ledger(settings: Settings) -> Ledger:
    """Return the ledger alone: reading it needs nothing else to be up."""
    from edgefleet.adapters.ledger import SqlLedger  # noqa: PLC0415 - a client is loaded when used

    home = settings.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    return SqlLedger(settings.ledger_url or f"sqlite:///{home}/ledger.db")


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


def sites(settings: Settings) -> Mapping[str, Site]:
    """Return the site of every factory."""
    from edgefleet.adapters.local.site import LocalSite, factories  # noqa: PLC0415 - as above

    url = settings.supervisor_url or _supervisor(settings.home.resolve() / "fleet")
    return {name: LocalSite(name, url) for name in factories(url)}


def _supervisor(root: Path) -> str:
    """Return where the local fleet's supervisor is, as it wrote itself."""
    try:
        return str(json.loads((root / "supervisor.json").read_text())["url"])
    except OSError as error:
        raise Refused(str(root), "no local fleet is up", "Run `edgefleet up` first") from error


def models(settings: Settings) -> Models:
    """Return the model registry."""
    from edgefleet.adapters.mlflow import MlflowModels  # noqa: PLC0415 - as above

    return MlflowModels(settings.mlflow_url or endpoints(settings)["mlflow_url"])


def build(settings: Settings) -> World:
    """Return the world that the settings describe."""
    from edgefleet.adapters.oci_layout import OciLayout  # noqa: PLC0415 - as above
    from edgefleet.adapters.scrape import Scrape  # noqa: PLC0415 - as above

    home = settings.home.resolve()
    return World(
        clock=WallClock(),
        ledger=ledger(settings),
        models=models(settings),
        images=OciLayout(images_dir(settings)),
        telemetry=Scrape(),
        sites=sites(settings),
        key_dir=key_dir(settings),
        work_dir=home / "work",
        lease_s=settings.lease_s,
    )


def images_dir(settings: Settings) -> Path:
    """Return the OCI layout folder."""
    return settings.images_dir if settings.images_dir.parts else settings.home.resolve() / "images"


def key_dir(settings: Settings) -> Path:
    """Return the folder of the signing key."""
    return settings.key_dir if settings.key_dir.parts else settings.home.resolve() / "keys"
