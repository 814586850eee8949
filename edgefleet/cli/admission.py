"""A release that a person asks for by command: as always, or urgently."""

from __future__ import annotations

from typing import Final

from edgefleet import wiring
from edgefleet.errors import Refused
from edgefleet.fleet.attempts import base_attempt
from edgefleet.fleet.release import Admission, Release
from edgefleet.settings import Settings
from edgefleet.spec import Spec
from edgefleet.written import written
from tasks.records import crowned_by

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


def refuse_unregistered(settings: Settings, spec: Spec, version: str) -> None:
    """Refuse a version that the registry of models does not know.

    Raises:
        Refused: it is none of those that are named.
    """
    known = {found.version for found in wiring.models(settings).versions(spec.model)}
    if version not in known:
        listed = ", ".join(sorted(known, key=int)) or "none"
        remedy = "Register it with `edgefleet register`"
        raise Refused(
            f"{spec.model} version {version}", f"not registered (known: {listed})", remedy
        )


def base_release(spec: Spec, asked_by: str) -> Release:
    """Admit a release of the champion's model on the base image that is current now.

    Nodes start a second server for it: one that takes a model in place keeps its old base.

    Raises:
        Refused: the workload has no champion.
    """
    champion = crowned_by(spec.workload)
    if champion is None:
        problem = "no release of it has ended as released yet: there is no model to bring again"
        raise Refused(f"workload {spec.workload}", problem, "Release a version")
    waves = spec.waves.model_copy(update={"update": "surge"})
    surging = spec.model_copy(update={"waves": waves, "model": champion.model})
    text = written(surging)
    releases = wiring.world().ledger.releases(spec.workload)
    attempt = base_attempt(champion.release_id, releases)
    return admitted(surging, text, champion.version, f"{asked_by}, base only", attempt)[0]


def urgent_release(spec: Spec, version: str, reason: str, attempt: str) -> Release:
    """Admit a release with a shorter soak; all else holds, the approval too.

    Raises:
        Refused: the version has a release already, whose spec stays as it is.
    """
    hurried = spec.urgent()
    text = written(hurried)
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
