"""Prefect's server as the commands find it: the one named in its settings, else this home's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from edgefleet import wiring
from edgefleet.fleet.inventory import Inventory
from edgefleet.settings import Settings
from tasks.sites import look_around


@contextmanager
def home_prefect(settings: Settings) -> Iterator[None]:
    """Let Prefect's client speak to the server that `edgefleet up` started in this home.

    Without an address Prefect would quietly start a server of its own, which knows no deployment.
    A server that Prefect's own settings name (PREFECT_API_URL, a profile) is left as it is.

    Raises:
        Refused: neither is there.
    """
    if PREFECT_API_URL.value():
        yield
        return
    with prefect_at(settings, wiring.endpoints(settings)["prefect_api"]):
        yield


@contextmanager
def prefect_at(settings: Settings, api: str) -> Iterator[None]:
    """Let Prefect's client speak to the server at `api`, as whom the settings name."""
    auth = settings.prefect_auth.get_secret_value()
    who = {PREFECT_API_AUTH_STRING: auth} if auth else {}
    with temporary_settings({PREFECT_API_URL: api, **who}):
        yield


def looked_around(workload: str) -> Inventory:
    """Return what every factory shows; those with workers of their own are asked through Prefect.

    Raises:
        Refused: there are such, and no server of Prefect's.
    """
    with looking_around():
        return look_around(workload)


@contextmanager
def looking_around() -> Iterator[None]:
    """Let looks at factories with workers of their own go through Prefect; the others need none.

    Raises:
        Refused: there are such, and no server of Prefect's.
    """
    if not wiring.world().workers:
        yield
        return
    with home_prefect(Settings()):
        yield
