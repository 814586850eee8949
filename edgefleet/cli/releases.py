"""Commands about releases: release, status, show, abort."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.markdown import Markdown
from rich.table import Table

from edgefleet import wiring
from edgefleet.cli.admission import (
    admitted,
    base_release,
    refuse_frozen,
    refuse_unregistered,
    urgent_release,
)
from edgefleet.cli.following import followed, journal_line
from edgefleet.cli.here import home_prefect, looked_around
from edgefleet.cli.nodes import behind_table, known_behind, pins_table
from edgefleet.cli.output import ENDED_OTHERWISE, Json, say, told
from edgefleet.errors import EdgefleetError, Refused
from edgefleet.fleet.plan_text import plan_table
from edgefleet.fleet.release import Phase, Release
from edgefleet.fleet.summary import FactoryCount, count_factory
from edgefleet.model.qualify import describe
from edgefleet.ports import Ledger
from edgefleet.report.gather import ReleaseStory, gather, package_names
from edgefleet.settings import Settings
from edgefleet.spec import load_spec
from tasks.drivers import start_missing
from tasks.starts import start_release

Workload = Annotated[str, typer.Argument(help="A workload: the name of a spec file.")]
ReleaseId = Annotated[str, typer.Argument(help="A release, e.g. defect-detection-3.")]


def join(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (release, status, show, abort):
        app.command()(command)


def release(
    workload: Workload,
    version: Annotated[str, typer.Option(help="The registered version.")] = "",
    *,
    again: Annotated[str, typer.Option(help="Release a version once more; say why.")] = "",
    urgent: Annotated[
        str,
        typer.Option(
            help="Also during a freeze, and judged after gates.urgent_min_windows; say why."
        ),
    ] = "",
    base_only: Annotated[
        bool, typer.Option("--base-only", help="The champion's model on the current base image.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Follow it until it ends.")] = False,
    as_json: bool = Json,
) -> None:
    """Release a registered version; asked twice, it is one release."""
    with told():
        settings = Settings()
        file = settings.spec_file(workload)
        spec = load_spec(file)
        if base_only == bool(version) or (base_only and (again or urgent)):
            problem = "needs a --version, or --base-only with neither --again nor --urgent"
            raise Refused(f"release of {workload}", problem, "Name one of them")
        if version:
            refuse_unregistered(settings, spec, version)
        if urgent:
            made = urgent_release(spec, version, urgent, again)
        else:
            refuse_frozen(spec)
            text = file.read_text(encoding="utf-8")
            made = (
                base_release(spec, "command line")
                if base_only
                else admitted(spec, text, version, "command line", again)[0]
            )
        with home_prefect(settings):
            start_missing()
            if wait:
                made = followed(made.release_id, quiet=as_json)
        say(made, as_json=as_json, draw=lambda: _line(made))
        if wait and made.phase is not Phase.RELEASED:
            raise typer.Exit(ENDED_OTHERWISE)


def status(*, as_json: bool = Json) -> None:
    """Show every workload's releases, newest first, and what each factory's nodes serve."""
    with told():
        settings = Settings()
        ledger = wiring.ledger(settings)
        found = ledger.releases()
        counts, trouble = _counted(settings, ledger)
        behind = {spec: known_behind(ledger, spec) for spec in {row.workload for row in counts}}
        late = {workload: items for workload, items in behind.items() if items}
        workloads = sorted({one.workload for one in found})
        pins = {spec: held for spec in workloads if (held := ledger.pins(spec))}
        waits = {
            one.release_id: ledger.journal(one.release_id)[-1].text for one in found if one.live
        }
        say(
            {
                "releases": found,
                "now": waits,
                "factories": counts,
                "behind": late,
                "pins": pins,
                "trouble": trouble,
            },
            as_json=as_json,
            draw=lambda: Group(
                _releases_table(found, waits),
                _factories_table(counts),
                *(behind_table(workload, items) for workload, items in late.items()),
                *(pins_table(workload, held) for workload, held in pins.items()),
                trouble,
            ),
        )


def _counted(settings: Settings, ledger: Ledger) -> tuple[tuple[FactoryCount, ...], str]:
    """Return every factory's nodes by what they serve, and which cannot be seen and why."""
    counts: list[FactoryCount] = []
    silent: dict[str, str] = {}
    try:
        names = package_names(ledger)
        for file in settings.spec_files():
            spec = load_spec(file)
            seen = looked_around(spec.workload)
            silent |= seen.silent
            for factory in sorted({view.factory for view in seen.nodes}):
                views = [view for view in seen.nodes if view.factory == factory]
                counts.append(count_factory(factory, spec.workload, spec.selector, views, names))
    except EdgefleetError as error:
        return tuple(counts), f"nodes cannot be seen: {error}"
    troubles = (f"{factory} cannot be seen: {why}" for factory, why in silent.items())
    return tuple(counts), "\n".join(troubles)


def show(release_id: ReleaseId, *, as_json: bool = Json) -> None:
    """Show one release: its phase, what was measured, its plan, its last verdict, its journal."""
    with told():
        found = gather(wiring.ledger(Settings()), release_id)
        said = {
            "release": found.release,
            "qualification": found.qualification,
            "plan": found.plan,
            "decisions": found.decisions,
            "verdict": found.verdict,
            "journal": found.journal,
        }
        say(said, as_json=as_json, draw=lambda: _story(found))


def _story(found: ReleaseStory) -> Group:
    parts: list[RenderableType] = [_line(found.release)]
    if found.qualification:
        parts.append(Markdown(describe(found.qualification)))
    if found.plan:
        parts.append(Markdown(plan_table(found.plan)))
    if found.verdict:
        parts.append(f"\n[bold]last look[/bold]: {found.verdict.reason}\n{found.verdict.text}\n")
    return Group(*parts, *[journal_line(entry) for entry in found.journal])


def abort(
    release_id: ReleaseId,
    *,
    reason: Annotated[str, typer.Option(help="Why; it goes into the journal.")] = "asked for",
    as_json: bool = Json,
) -> None:
    """Abort a release: untouched it ends ABORTED, touched it goes back. Always accepted."""
    with told():
        here = wiring.world()
        current = here.ledger.ask_abort(release_id, reason, here.clock.now())
        if current.live:
            with home_prefect(Settings()):
                start_release(release_id)
        say(current, as_json=as_json, draw=lambda: _line(current))


def _line(release: Release) -> str:
    return (
        f"[bold]{release.release_id}[/bold] {release.model} version {release.version}: "
        f"[bold]{release.phase}[/bold]" + (f" - {release.reason}" if release.reason else "")
    )


def _factories_table(counts: tuple[FactoryCount, ...]) -> Table:
    table = Table()
    for column in ("workload", "factory", "nodes", "offline", "held", "serving"):
        table.add_column(column)
    for row in counts:
        served = ", ".join(f"{count} x {name}" for name, count in row.serving.items())
        numbers = (str(number) for number in (row.nodes, row.offline, row.held))
        table.add_row(row.workload, row.factory, *numbers, served)
    return table


def _releases_table(found: tuple[Release, ...], waits: Mapping[str, str]) -> Table:
    table = Table(
        title=None if found else "no release yet: `edgefleet release WORKLOAD --version N`"
    )
    for column in ("release", "model", "version", "phase", "since", "why"):
        table.add_column(column)
    for row in found:
        table.add_row(
            row.release_id,
            row.model,
            row.version,
            row.phase.value,
            f"{row.changed_at:%Y-%m-%d %H:%M:%S}",
            waits.get(row.release_id, row.reason),
        )
    return table
