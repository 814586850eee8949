"""Where things are: from the environment (EDGEFLEET_*), read when a command starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Every setting of the centre; each is described in docs/settings.md."""

    model_config = SettingsConfigDict(env_prefix="EDGEFLEET_", frozen=True)

    home: Path = Path(".edgefleet")
    """Folder of everything that the embedded servers and the local fleet write."""
    specs: Path = Path("deployments/specs")
    """Folder of the workloads' specs."""
    ledger_url: SecretStr = SecretStr("")
    """SQLAlchemy URL; empty: a database on the PostgreSQL server, without one a file in `home`."""
    postgres_url: SecretStr = SecretStr("")
    """PostgreSQL server of ledger, Prefect and MLflow (docs/postgres.md), `postgresql://user@host`;
    empty: the one that `edgefleet up --postgres` was given, without one SQLite files in `home`."""
    mlflow_url: str = ""
    """MLflow's tracking server; empty: as written in `home` by `edgefleet up`."""
    clusters: Path = Path()
    """File of the Kubernetes clusters (docs/clusters.md); empty: the local fleet."""
    supervisor_url: str = ""
    """The local fleet's supervisor; empty: as written in `home` by `edgefleet up`."""
    images_dir: Path = Path()
    """OCI layout folder; empty: `home`/images."""
    registry_url: str = ""
    """OCI registry for packages, `https://host:port/prefix` (`http://` without TLS); empty: the
    OCI layout folder."""
    registry_user: str = ""
    """Who logs in at the registry; empty: nobody."""
    registry_password: SecretStr = SecretStr("")
    """Password or access token of that user."""
    registry_ca: Path = Path()
    """File with the only authorities that may vouch for the registry; empty: the system's."""
    prometheus_url: str = ""
    """Prometheus with the nodes' evidence (docs/telemetry.md); empty: each node is asked itself."""
    prometheus_token: SecretStr = SecretStr("")
    """Bearer token for it; empty: none is sent."""
    prometheus_ca: Path = Path()
    """File with the only authorities that may vouch for it; empty: the system's."""
    bridge_secret: SecretStr = SecretStr("")
    """What MLflow's webhook is signed with (docs/triggers.md); at least 16 characters."""
    base_image: str = "latest"
    """Tag or digest, in the registry's repository `base`, of what packages are built on."""
    key_dir: Path = Path()
    """Folder with the signing key and `trust/`; empty: `home`/keys."""
    notify_url: SecretStr = SecretStr("")
    """Where messages about releases go, written as apprise does (mail, chat, webhook); Prefect's
    server sends them. Empty: nowhere. Read by `edgefleet deploy` and `up`."""
    keep_days: Annotated[float, Field(gt=0)] = 90
    """Days for which the centre keeps the working folders of ended releases (docs/lifetimes.md)."""
    lease_s: float = 10.0
    """How long a driver's lease lasts without renewal."""
