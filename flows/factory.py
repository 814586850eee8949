"""One stage of a release inside a factory, run by the factory's own worker.

The order is believed only if a key that this factory trusts has signed it, and it is for this
factory and not too old. While it is carried out nothing outside of the factory is needed; the
answer is sent until somebody takes it.
"""

from __future__ import annotations

from datetime import timedelta

import httpx
import msgspec
from prefect import flow, get_run_logger
from prefect.artifacts import Artifact
from prefect.client.schemas.objects import State
from prefect.exceptions import PrefectHTTPStatusError
from prefect.runtime import flow_run
from prefect.states import Completed

from edgefleet.documents import decode
from edgefleet.errors import EdgefleetError, Refused, Unreachable
from edgefleet.fleet.order import Answer, Errand
from edgefleet.model.dsse import unseal
from edgefleet.wiring import Ground, ground
from tasks.policy import ANSWER_TRIES_S, PATIENCE_S
from tasks.stages import carry_out
from tasks.workers import ANSWER, ERRAND


@flow(name="factory", retries=0, persist_result=False)
def factory(errand: str) -> State[None]:
    """Carry out a signed order in this factory, and answer with what came of it."""
    here = ground()
    try:
        asked = _believed(here, errand)
        answer = Answer(carry_out(here, asked.factory, asked.order))
    except EdgefleetError as error:
        get_run_logger().warning("%s", error)
        answer = Answer(None, str(error))
    _send(here, answer)
    return Completed(name="Refused" if answer.refused else None, message=answer.refused or None)


def _believed(here: Ground, errand: str) -> Errand:
    """Return the order.

    Raises:
        Refused: it is not signed by a trusted key, no order, or older than it may be.
    """
    body = unseal(errand, ERRAND, here.trust_dir)
    try:
        asked = decode(body, Errand)
    except msgspec.MsgspecError as error:
        problem = f"cannot be read ({error})"
        raise Refused("the order", problem, "Use the same version of edgefleet here") from error
    late = here.clock.now() - asked.expires
    if late > timedelta():
        problem = f"was to be begun by {asked.expires:%H:%M:%S}, {late.total_seconds():.0f} s ago"
        raise Refused("the order", problem, "If that cannot be, set this machine's clock")
    return asked


def _send(here: Ground, answer: Answer) -> None:
    """Leave the answer at Prefect's server, however long that cannot be reached (an hour)."""
    found = Artifact(
        type=ANSWER,
        key=f"answer-{flow_run.id}",
        description="What a factory's worker found; read by the release that asked",
        data=msgspec.to_builtins(answer),
    )
    until = here.clock.now() + timedelta(seconds=ANSWER_TRIES_S)
    while True:
        try:
            found.create()
        except (httpx.HTTPError, PrefectHTTPStatusError, OSError) as error:
            if here.clock.now() > until:
                raise Unreachable(f"Prefect's server takes no answer: {error}") from error
            here.clock.sleep(PATIENCE_S)
        else:
            return
