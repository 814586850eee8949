"""What Prefect's server is told once: deployments, pools of factories, automations, messages."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import typer
import yaml
from prefect.settings import PREFECT_API_URL

from edgefleet import wiring
from edgefleet.adapters.servers.embedded import ROOT
from edgefleet.cli.here import home_prefect, prefect_at
from edgefleet.cli.output import Json, say, told
from edgefleet.errors import Unreachable
from edgefleet.settings import Settings

_FILE: Final = ROOT / "prefect.yaml"


class Deployed(msgspec.Struct, frozen=True):
    """What a server has now."""

    flows: tuple[str, ...]
    """Deployments of prefect.yaml."""
    factories: tuple[str, ...]
    """Deployments for workers of factories."""
    messages: tuple[str, ...]
    """Automations that send one."""
    deleted: tuple[str, ...]
    """Deployments that were there and that nobody asks for any more."""


def join(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(name="deploy")(deploy)


def deploy(*, as_json: bool = Json) -> None:
    """Give Prefect's server all flows, pools and messages; take away what is no longer wanted."""
    with told():
        settings = Settings()
        with home_prefect(settings):
            made = deploy_everything(settings, str(PREFECT_API_URL.value()))
        say(made, as_json=as_json, draw=lambda: _drawn(made))


def deploy_everything(settings: Settings, prefect_api: str) -> Deployed:
    """Bring a server up to date; called again, it changes nothing.

    Raises:
        Unreachable: the server did not take it; its words are shown.
        Refused: the address for messages is none.
    """
    from tasks.deployments import (  # noqa: PLC0415 - Prefect's client is slow
        deploy_factories,
        forget_others,
        make_pools,
    )
    from tasks.notifications import arrange_notifications  # noqa: PLC0415 - as above

    workers, deployments = wiring.workers(settings), _written()
    with prefect_at(settings, prefect_api):
        make_pools({found["work_pool"]["name"] for found in deployments})
        _deploy_file(in_prefect(settings, prefect_api))
        written = {found["name"]: found["entrypoint"] for found in deployments}
        return Deployed(
            flows=tuple(written),
            factories=deploy_factories(workers),
            messages=arrange_notifications(settings.notify_url),
            deleted=forget_others(written, workers),
        )


def in_prefect(settings: Settings, prefect_api: str) -> Mapping[str, str]:
    """Return the environment with which a program finds this home and its server, and is let in."""
    home = settings.home.resolve()
    auth = settings.prefect_auth.get_secret_value()
    return {
        "PREFECT_API_URL": prefect_api,
        "PREFECT_HOME": str(home / "prefect"),
        "EDGEFLEET_HOME": str(home),
        "EDGEFLEET_ROOT": str(ROOT),
        "EDGEFLEET_PYTHON": sys.executable,
        **({"PREFECT_API_AUTH_STRING": auth} if auth else {}),
    }


def _written() -> list[dict[str, Any]]:
    """Return the deployments of prefect.yaml."""
    return list(yaml.safe_load(_FILE.read_text(encoding="utf-8"))["deployments"])


def _deploy_file(environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unreachable(f"deployments were not created: {done.stdout[-800:]}{done.stderr[-800:]}")


def for_people(made: Deployed) -> str:
    """Return which messages are sent from now on, and which deployments are gone."""
    silent = ("none are sent: EDGEFLEET_NOTIFY_URL is empty",)
    return _lines({"messages": made.messages or silent, "deleted": made.deleted})


def _drawn(made: Deployed) -> str:
    all_flows = _lines({"flows": made.flows, "factories with a worker": made.factories})
    return f"{all_flows}\n{for_people(made)}"


def _lines(named: Mapping[str, Sequence[str]]) -> str:
    return "\n".join(f"{name}: {', '.join(found)}" for name, found in named.items() if found)
