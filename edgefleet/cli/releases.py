"""Commands about models and releases: register, release, status, show, why, abort."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from prefect.client.schemas.objects import FlowRun
from rich.console import Group, RenderableType
from rich.markdown import Markdown
from rich.table import Table

from edgefleet import wiring
from edgefleet.cli.here import home_prefect
from edgefleet.cli.output import ENDED_OTHERWISE, OUT, Json, say, told
from edgefleet.errors import EdgefleetError, Refused
from edgefleet.fleet.inventory import NodeView
from edgefleet.fleet.plan import Plan
from edgefleet.fleet.plan_text import plan_table
from edgefleet.fleet.release import Phase, Release
from edgefleet.fleet.stage import StageReport
from edgefleet.fleet.summary import FactoryCount, Why, count_factory, explain
from edgefleet.model.qualify import describe
from edgefleet.model.submission import check, gather_submission
from edgefleet.ports import Admission, Entry, Ledger
from edgefleet.report.gather import ReleaseStory, gather, package_names
from edgefleet.settings import Settings
from edgefleet.spec import Spec, load_spec
from tasks.records import latest
from tasks.sites import look_around
from tasks.starts import kept_driven, start_release

Workload = Annotated[str, typer.Argument(help="A workload: the name of a spec file.")]
ReleaseId = Annotated[str, typer.Argument(help="A release, e.g. defect-detection-3.")]
_POLL_S = 0.5


def join(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (register, release, status, show, why, abort):
        app.command()(command)


def spec_file(settings: Settings, workload: str) -> Path:
    """Return the spec file of a workload."""
    return settings.specs / f"{workload}.yaml"


def register(
    model: Annotated[
        Path, typer.Argument(help="An ONNX file, or a folder with it, its card and its data.")
    ],
    *,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with card.json and the sets, where MODEL is a file."),
    ] = None,
    as_json: bool = Json,
) -> None:
    """Check a model with its data sets and register it; refused in words when something is off."""
    with told(), _submission(model, data) as folder:
        check(folder)
        made = wiring.models(Settings()).register(folder, {})
        say(made, as_json=as_json, draw=lambda: f"registered {made.model} version {made.version}")


@contextmanager
def _submission(model: Path, data: Path | None) -> Iterator[Path]:
    """Return a submission folder: the one that was named, or one made of a file and its data."""
    if data is None and model.is_dir():
        yield model
        return
    if data is None or not model.is_file():
        raise Refused(
            str(model),
            "is no folder" if data is None else "is no file",
            "Name a submission folder, or an ONNX file and --data with its card and sets",
        )
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        gather_submission(model, data, folder)
        yield folder


def admitted(spec: Spec, text: str, version: str, asked_by: str, attempt: str = "") -> Release:
    """Make a registration a release, in the one place that decides it."""
    here = wiring.world()
    admission = Admission(spec.workload, spec.fleet, spec.model, version, asked_by, text, attempt)
    return here.ledger.admit(admission, here.clock.now())[0]


def release(
    workload: Workload,
    version: Annotated[str, typer.Option(help="The registered version.")],
    *,
    again: Annotated[str, typer.Option(help="Release a version once more; say why.")] = "",
    wait: Annotated[bool, typer.Option(help="Follow it until it ends.")] = False,
    as_json: bool = Json,
) -> None:
    """Release a registered version; asked twice, it is one release."""
    with told():
        settings = Settings()
        file = spec_file(settings, workload)
        spec = load_spec(file)
        known = {found.version for found in wiring.models(settings).versions(spec.model)}
        if version not in known:
            listed = ", ".join(sorted(known, key=int)) or "none"
            raise Refused(
                f"{spec.model} version {version}",
                f"not registered (known: {listed})",
                "Register it with `edgefleet register`",
            )
        made = admitted(spec, file.read_text(encoding="utf-8"), version, "command line", again)
        with home_prefect(settings):
            driver = start_release(made.release_id)
            if wait:
                made = _followed(made.release_id, driver, quiet=as_json)
        say(made, as_json=as_json, draw=lambda: _line(made))
        if wait and made.phase is not Phase.RELEASED:
            raise typer.Exit(ENDED_OTHERWISE)


def _followed(release_id: str, driver: FlowRun, *, quiet: bool) -> Release:
    ledger = wiring.world().ledger
    told_so_far = 0
    while True:
        current = ledger.release(release_id)
        lines = ledger.journal(release_id)
        for entry in lines[told_so_far:]:
            if not quiet:
                OUT.print(_journal_line(entry))
        told_so_far = len(lines)
        if not current.live or current.phase is Phase.HELD:
            return current
        driver = kept_driven(driver, release_id)
        time.sleep(_POLL_S)


def status(*, as_json: bool = Json) -> None:
    """Show every workload's releases, newest first, and what each factory's nodes serve."""
    with told():
        settings = Settings()
        ledger = wiring.ledger(settings)
        found = ledger.releases()
        counts, trouble = _counted(settings, ledger)
        say(
            {"releases": found, "factories": counts, "trouble": trouble},
            as_json=as_json,
            draw=lambda: Group(_releases_table(found), _factories_table(counts), trouble),
        )


def _counted(settings: Settings, ledger: Ledger) -> tuple[tuple[FactoryCount, ...], str]:
    """Return every factory's nodes by what they serve, and which cannot be seen and why."""
    counts: list[FactoryCount] = []
    silent: dict[str, str] = {}
    try:
        names = package_names(ledger)
        for file in sorted(settings.specs.glob("*.yaml")):
            spec = load_spec(file)
            seen = look_around(spec.workload)
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
    return Group(*parts, *[_journal_line(entry) for entry in found.journal])


def why(
    node: Annotated[str, typer.Argument(help="A node's name.")], *, as_json: bool = Json
) -> None:
    """Say why a node serves what it serves."""
    with told():
        answers = _explained(node)
        say(
            answers, as_json=as_json, draw=lambda: Group(*[_why_text(answer) for answer in answers])
        )


def _explained(node: str) -> list[Why]:
    here = wiring.world()
    answers = []
    for file in sorted(Settings().specs.glob("*.yaml")):
        spec = load_spec(file)
        views = [
            view
            for site in here.sites.values()
            for view in site.snapshot(spec.workload)
            if view.node == node and spec.selector.items() <= view.labels.items()
        ]
        last = next(iter(here.ledger.releases(spec.workload)), None)
        answers += [_answer(view, spec.workload, last) for view in views]
    if not answers:
        raise Refused(node, "no node of that name in any workload", "Name one of the fleet's file")
    return answers


def _answer(view: NodeView, workload: str, last: Release | None) -> Why:
    plan = latest(last.release_id, "plan", Plan) if last else None
    changed = latest(last.release_id, "changed", tuple[StageReport, ...]) if last else None
    return explain(view, workload, last, plan[1] if plan else None, changed[1] if changed else ())


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


def _journal_line(entry: Entry) -> str:
    return f"{entry.at:%H:%M:%S} [cyan]{entry.phase:<11}[/cyan] {entry.text}"


def _why_text(answer: Why) -> str:
    lines = "\n".join(f"  - {line}" for line in answer.explanation)
    return (
        f"[bold]{answer.node}[/bold] ({answer.factory}, {answer.workload})\n"
        f"  serves {answer.serves}\n  wanted {answer.wants}\n{lines}"
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


def _releases_table(found: tuple[Release, ...]) -> Table:
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
            row.reason,
        )
    return table
