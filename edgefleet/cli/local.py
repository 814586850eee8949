"""Commands for this machine: up and down of the embedded servers and the local fleet."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import msgspec
import typer
import yaml
from pydantic import SecretStr

from edgefleet import wiring
from edgefleet.adapters.local.config import FactoryConfig, SupervisorConfig
from edgefleet.adapters.servers import Program, embedded
from edgefleet.adapters.servers import down as take_down
from edgefleet.adapters.servers import up as bring_up
from edgefleet.adapters.servers.embedded import ROOT
from edgefleet.cli.deploying import Deployed, deploy_everything, for_people
from edgefleet.cli.here import prefect_at
from edgefleet.cli.output import Json, say, told
from edgefleet.errors import Refused
from edgefleet.model.signature import TRUST_FOLDER, make_key
from edgefleet.plant.config import PlantConfig
from edgefleet.settings import Settings

Fleet = Annotated[
    Path, typer.Option(help="The local fleet; with EDGEFLEET_CLUSTERS set none is started.")
]
OnPostgres = Annotated[
    str, typer.Option(help="PostgreSQL server for ledger, Prefect and MLflow; from then on.")
]
FLEET_FILE = Path("deployments/fleet.yaml")


class LocalFleet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """deployments/fleet.yaml: the factories of this machine and their cameras."""

    factories: tuple[FactoryConfig, ...]
    window_s: float = 2.0
    label_rate: float = 0.5
    cutover_lead_s: float = 0.5
    start_at_once: int = 2
    plants: tuple[dict[str, str | int | float], ...] = ()
    """PlantConfig fields, without root."""


def join(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(up)
    app.command()(down)


def load_fleet(file: Path) -> LocalFleet:
    """Return the local fleet.

    Raises:
        Refused: the file is missing, no YAML, or a field is wrong.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        return msgspec.convert(content, LocalFleet)
    except (OSError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise Refused(str(file), str(error), "Correct the fleet's file") from error


def programs(settings: Settings, fleet: LocalFleet) -> tuple[Program, ...]:
    """Return everything that runs on this machine; writes the configurations they are given.

    Of the local fleet nothing, where the settings name clusters: releases go to these alone.
    """
    make_key(wiring.key_dir(settings))
    servers = embedded(
        settings.home.resolve(),
        postgres=wiring.postgres(settings),
        prefect_auth=settings.prefect_auth.get_secret_value(),
        mlflow_auth=settings.mlflow_auth.get_secret_value(),
    )
    return servers if settings.clusters.parts else (*servers, *_local(settings, fleet))


def _local(settings: Settings, fleet: LocalFleet) -> tuple[Program, ...]:
    """Return the local fleet's supervisor and its plants."""
    root = settings.home.resolve() / "fleet"
    root.mkdir(parents=True, exist_ok=True)
    config = SupervisorConfig(
        root=str(root),
        images_dir=str(wiring.images_dir(settings)),
        trust_dir=str(wiring.key_dir(settings) / TRUST_FOLDER),
        factories=fleet.factories,
        window_s=fleet.window_s,
        label_rate=fleet.label_rate,
        cutover_lead_s=fleet.cutover_lead_s,
        start_at_once=fleet.start_at_once,
    )
    file = _written(root / "supervisor-config.json", config)
    supervisor = Program(
        name="fleet",
        argv=(sys.executable, "-m", "edgefleet.adapters.local.supervisor", str(file)),
        cwd=ROOT,
        ready_file=root / "supervisor.json",
        endpoints={},
    )
    plants = (_plant(root, fields, number) for number, fields in enumerate(fleet.plants))
    return (supervisor, *plants)


def _plant(root: Path, fields: Mapping[str, str | int | float], number: int) -> Program:
    try:
        config = msgspec.convert({**fields, "root": str(root)}, PlantConfig)
    except msgspec.ValidationError as error:
        raise Refused(f"plants[{number}]", str(error), "Correct deployments/fleet.yaml") from error
    file = _written(root / f"plant-{config.workload}.json", config)
    return Program(
        name=f"plant-{config.workload}",
        argv=(sys.executable, "-m", "edgefleet.plant", str(file)),
        cwd=ROOT,
        after=("fleet",),
    )


def _written(file: Path, config: object) -> Path:
    file.write_bytes(msgspec.json.format(msgspec.json.encode(config)))
    return file


def on_postgres(settings: Settings, url: str) -> Settings:
    """Return the settings with the server of `url` (empty: theirs); its databases are made.

    Raises:
        Refused: the URL cannot be read, or holds a password.
        Unreachable: the server does not answer.
    """
    from edgefleet.adapters.servers.postgres import (  # noqa: PLC0415 - SQLAlchemy, seldom needed
        PostgresServer,
    )

    if url and PostgresServer.parse(url).url.password:
        problem = "has a password in it, which every user of this machine can read"
        remedy = "Put it into ~/.pgpass or PGPASSWORD, or the whole URL into EDGEFLEET_POSTGRES_URL"
        raise Refused("--postgres", problem, remedy)
    chosen = settings.model_copy(update={"postgres_url": SecretStr(url)}) if url else settings
    server = wiring.postgres(chosen)
    if server is not None:
        server.make_databases()
        settings.home.mkdir(parents=True, exist_ok=True)
        server.remember(settings.home)
    return chosen


def up(*, fleet: Fleet = FLEET_FILE, postgres: OnPostgres = "", as_json: bool = Json) -> None:
    """Start what does not run yet: Prefect, its worker, MLflow, the local fleet; create flows."""
    with told():
        settings = on_postgres(Settings(), postgres)
        found = bring_up(settings.home.resolve(), programs(settings, load_fleet(fleet)))
        made = deploy_everything(settings, found.known["prefect_api"])
        _follow_the_dead(settings, found.known["prefect_api"])
        content = {**found.known, "messages": made.messages, "deleted": made.deleted}
        say(content, as_json=as_json, draw=lambda: came_up(found.known, made))


def _follow_the_dead(settings: Settings, prefect_api: str) -> None:
    """Let reconcile look at live releases now: their drivers may have died with what is up again.

    The look of each minute may wait. Killed at work it leaves its place in Prefect's queue of one
    taken, for up to five minutes.
    """
    from tasks.starts import start  # noqa: PLC0415 - Prefect's client is slow

    if any(release.live for release in wiring.ledger(settings).releases()):
        with prefect_at(settings, prefect_api):
            start("reconcile/reconcile", {}, f"up-{uuid4().hex}")


def down(*, as_json: bool = Json) -> None:
    """End everything that `up` started; what was written stays."""
    with told():
        ended = take_down(Settings().home.resolve())
        say(ended, as_json=as_json, draw=lambda: f"ended: {', '.join(ended) or 'nothing was up'}")


def came_up(known: Mapping[str, str], made: Deployed) -> str:
    """Return where everything is, and who is told what by Prefect's server."""
    addresses = "\n".join(f"{name:<16} {url}" for name, url in sorted(known.items()))
    return f"{addresses}\n{for_people(made)}"
