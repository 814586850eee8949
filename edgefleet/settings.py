"""Where things are: from the environment (EDGEFLEET_*), read when a command starts."""

from __future__ import annotations

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Every setting of the centre; each is described in docs/settings.md."""

    model_config = SettingsConfigDict(env_prefix="EDGEFLEET_", frozen=True)

    home: Path = Path(".edgefleet")
    """Folder of everything that the embedded servers and the local fleet write."""
    specs: Path = Path("deployments/specs")
    """Folder of the workloads' specs."""
    ledger_url: str = ""
    """SQLAlchemy URL; empty: an SQLite file in `home`."""
    mlflow_url: str = ""
    """MLflow's tracking server; empty: as written in `home` by `edgefleet up`."""
    supervisor_url: str = ""
    """The local fleet's supervisor; empty: as written in `home` by `edgefleet up`."""
    images_dir: Path = Path()
    """OCI layout folder; empty: `home`/images."""
    key_dir: Path = Path()
    """Folder with the signing key and `trust/`; empty: `home`/keys."""
    lease_s: float = 10.0
    """How long a driver's lease lasts without renewal."""
