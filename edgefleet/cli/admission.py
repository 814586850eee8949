"""A release that a person asks for by command: as always, or urgently."""

from __future__ import annotations

from typing import Final

import yaml

from edgefleet import wiring
from edgefleet.errors import Refused
from edgefleet.fleet.release import Admission, Release
from edgefleet.spec import Spec

_ASKED_BY_CHARS: Final = 255
"""As many as the ledger keeps."""


def admitted(
    spec: Spec, text: str, version: str, asked_by: str, attempt: str = ""
) -> tuple[Release, bool]:
    """Make a registration a release, in the one place that decides it; say whether it is new."""
    here = wiring.world()
    admission = Admission(spec.workload, spec.fleet, spec.model, version, asked_by, text, attempt)
    return here.ledger.admit(admission, here.clock.now())


def refuse_frozen(spec: Spec) -> None:
    """Refuse to start a release on the days of a freeze.

    Raises:
        Refused: today is one of them.
    """
    frozen = spec.frozen(wiring.world().clock.now().date())
    if frozen:
        remedy = f"Wait until {frozen.last} is over, or say why it cannot: --urgent REASON"
        raise Refused(f"workload {spec.workload}", str(frozen), remedy)


def urgent_release(spec: Spec, version: str, reason: str, attempt: str) -> Release:
    """Admit a release with a shorter soak; all else holds, the approval too.

    Raises:
        Refused: the version has a release already, whose spec stays as it is.
    """
    hurried = spec.urgent()
    text = yaml.safe_dump(hurried.model_dump(mode="json"))
    asked_by = f"command line, urgent: {reason}"[:_ASKED_BY_CHARS]
    made, new = admitted(hurried, text, version, asked_by, attempt)
    if not new:
        remedy = f"Let it go on, or `edgefleet abort {made.release_id}` and ask with --again"
        problem = f"is {made.release_id} already, {made.phase}, with the soak of its spec"
        raise Refused(f"{spec.model} version {version}", problem, remedy)
    here = wiring.world()
    fewer, usual = hurried.gates.min_windows, spec.gates.min_windows
    note = f"urgent: {reason}; judged after {fewer} windows instead of {usual}"
    here.ledger.note(made.release_id, note, here.clock.now())
    return made
