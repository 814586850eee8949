"""Where things are: from the environment (EDGEFLEET_*), else from a file in the home.

Both are read when a command or a flow starts. The file is found by the home alone, which is in the
environment of all that `edgefleet up` starts: so programs and flows see what the commands see.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from edgefleet.errors import Refused

FILE: Final = "settings.env"
"""In the home: lines like `EDGEFLEET_BRIDGE_SECRET=...`."""
_PREFIX: Final = "EDGEFLEET_"
_OTHERS: Final = 0o077


class Settings(BaseSettings):
    """Every setting of the centre; each is described in docs/settings.md."""

    # A value may be a secret: no message shows one.
    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True
    )

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
    prefect_auth: SecretStr = SecretStr("")
    """`user:password` that Prefect's server asks of everybody (docs/access.md), browsers too;
    empty: it asks nobody."""
    mlflow_auth: SecretStr = SecretStr("")
    """`user:password` of MLflow's administrator, who all of edgefleet is there (docs/access.md); at
    least 12 characters of password. Empty: MLflow asks nobody."""
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

    def __init__(self, **given: Any) -> None:
        """Read the environment and the file; what is given goes before both.

        Raises:
            Refused: a value is none, or the file has a name in it that is no setting.
        """
        try:
            super().__init__(**given)
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_input=False)[0]
            name = str(wrong["loc"][0]).upper()
            subject = name if name.startswith(_PREFIX) else f"{_PREFIX}{name}"
            problem = wrong["msg"].removeprefix("Value error, ")
            raise Refused(subject, problem, "docs/settings.md lists all settings") from error

    def spec_file(self, workload: str) -> Path:
        """Return the spec file of a workload."""
        return self.specs / f"{workload}.yaml"

    def spec_files(self) -> list[Path]:
        """Return the spec files of all workloads."""
        return sorted(self.specs.glob("*.yaml"))

    @field_validator("prefect_auth", "mlflow_auth")
    @classmethod
    def _has_both(cls, written: SecretStr) -> SecretStr:
        user, _, password = written.get_secret_value().partition(":")
        if bool(user) != bool(password):
            raise ValueError("is to be written as user:password")
        return written

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return where settings come from: calls first, then the environment, then the file.

        Raises:
            Refused: others may read the file, or it says where the home is.
        """
        del dotenv_settings, file_secret_settings  # theirs would lie where the command is run
        home = init_settings().get("home") or os.environ.get(f"{_PREFIX}HOME") or ".edgefleet"
        file = Path(home) / FILE
        if file.exists() and (mode := file.stat().st_mode & 0o777) & _OTHERS:
            problem = f"has mode {mode:o}: others on this machine can read its secrets"
            raise Refused(str(file), problem, f"Run `chmod 600 {file}`")
        written = DotEnvSettingsSource(settings_cls, file)
        if "home" in written():
            problem = "sets EDGEFLEET_HOME, by which it was found itself"
            raise Refused(str(file), problem, "Set that one in the environment")
        return init_settings, env_settings, written
