"""What `edgefleet deploy` leaves on a real Prefect server, and what messages that sends."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Crashed, Failed, Pending, State, Suspended

from edgefleet.adapters.servers import prefect_server, supervised
from edgefleet.cli.deploying import Deployed, deploy_everything
from edgefleet.errors import Refused
from edgefleet.settings import Settings
from tasks.events import tell_drill_failed, tell_reminder
from tasks.notifications import BLOCK, MESSAGES
from tests.e2e.site import wait_for

pytestmark = pytest.mark.servers

SECRET = "hunter2-of-the-mailbox"


@dataclass
class Mailbox:
    """An address that apprise can send to, and what came there."""

    url: str
    messages: list[Mapping[str, str]] = field(default_factory=list)

    def about(self, run: str) -> Mapping[str, str] | None:
        return next((found for found in self.messages if run in found["title"]), None)


@contextmanager
def a_mailbox() -> Iterator[Mailbox]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            mailbox.messages.append(json.loads(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        mailbox = Mailbox(f"json://ada:{SECRET}@127.0.0.1:{server.server_port}/")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield mailbox
        server.shutdown()


@dataclass(frozen=True)
class Server:
    api: str
    settings: Settings
    mailbox: Mailbox

    def deploy(self, notify_url: str | None = None) -> Deployed:
        url = self.mailbox.url if notify_url is None else notify_url
        changed = self.settings.model_copy(
            update={"notify_url": type(self.settings.notify_url)(url)}
        )
        return deploy_everything(changed, self.api)

    def automations(self) -> list[str]:
        with get_client(sync_client=True) as client:
            return sorted(found.name for found in client.read_automations())

    def deployments(self) -> set[str]:
        with get_client(sync_client=True) as client:
            return {found.name for found in client.read_deployments()}

    def began(self, deployment: str) -> str:
        """Take a place for a run as a worker does, and return the state that the run came to."""
        with get_client(sync_client=True) as client:
            found = client.read_deployment_by_name(deployment)
            run = client.create_flow_run_from_deployment(found.id)
            client.set_flow_run_state(run.id, Pending())
            state = client.read_flow_run(run.id).state
            return state.type.value if state else ""

    def ran(self, name: str, state: State[None]) -> None:
        """Let a run of the flow `release` come to a state."""
        with get_client(sync_client=True) as client:
            flow = client.create_flow_from_name("release")
            run = client.create_flow_run_from_deployment(
                client.read_deployment_by_name("release/release").id,
                name=name,
                parameters={"release_id": name},
            )
            assert run.flow_id == flow
            client.set_flow_run_state(run.id, state, force=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("deployed")
    with (
        a_mailbox() as mailbox,
        supervised(home, (prefect_server(home),)) as endpoints,
        temporary_settings({PREFECT_API_URL: endpoints.prefect_api}),
    ):
        yield Server(endpoints.prefect_api, Settings(home=home), mailbox)


@pytest.fixture(scope="module")
def deployed(server: Server) -> Deployed:
    return server.deploy()


@pytest.fixture
def deployed_again(server: Server, deployed: Deployed) -> Iterator[None]:
    """Given what is deployed, and so it is again afterwards."""
    yield
    assert server.deploy() == deployed


def test_a_watch_that_was_killed_keeps_no_other_from_its_look(
    server: Server, deployed: Deployed
) -> None:
    assert "watch" in deployed.flows
    # Nobody renews the places of these: they died at once.
    assert [server.began("watch/watch") for _ in range(3)] == ["PENDING", "PENDING", "CANCELLED"]
    assert [server.began("reconcile/reconcile") for _ in range(2)] == ["PENDING", "CANCELLED"]


def test_deployed_twice_the_server_has_everything_once(server: Server, deployed: Deployed) -> None:
    before = server.automations()
    assert server.deploy() == deployed
    assert server.automations() == before
    assert server.deployments() == set(deployed.flows)
    assert "cancel means abort" in before
    assert len(deployed.messages) == len(MESSAGES)
    assert set(deployed.messages) < set(before)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (Suspended(timeout_seconds=60), ("yes or a no", "Resume")),
        (Completed(name="Held", message="accuracy is not shown"), ("accuracy is not", "extend {}")),
        (Completed(name="RolledBack", message="p99 is 40 % up"), ("p99 is 40 % up", "show {}")),
        (Completed(name="Refused", message="no card.json"), ("no card.json", "register")),
        (Crashed(message="signal 9"), ("signal 9", "by itself")),
        (Failed(message="ValueError: x"), ("ValueError: x", "Retry")),
    ],
    ids=lambda value: value.name if isinstance(value, State) else "",
)
def test_who_is_to_act_is_told_what_happened_and_what_can_be_done(
    server: Server, deployed: Deployed, state: State[None], words: tuple[str, ...]
) -> None:
    assert deployed.messages
    run = f"line-7-{state.name}"
    server.ran(run, state)
    message = wait_for(lambda: server.mailbox.about(run), lambda: str(server.mailbox.messages))
    for word in words:
        assert word.format(run) in message["message"]
    assert "/runs/flow-run/" in message["message"]


@pytest.mark.usefixtures("deployed")
def test_a_state_that_asks_nobody_to_act_sends_nothing(server: Server) -> None:
    server.ran("line-8-released", Completed(name="Released", message="42 nodes"))
    server.ran("line-8-held", Completed(name="Held", message="look"))
    wait_for(lambda: server.mailbox.about("line-8-held"), lambda: str(server.mailbox.messages))
    assert server.mailbox.about("line-8-released") is None


@pytest.mark.usefixtures("deployed")
def test_a_reminder_is_sent_on(server: Server) -> None:
    assert tell_reminder("line-9-4", "nobody has decided for 36.0 h") == ""
    message = wait_for(
        lambda: server.mailbox.about("line-9-4"), lambda: str(server.mailbox.messages)
    )
    assert "nobody has decided for 36.0 h" in message["message"]


@pytest.mark.usefixtures("deployed")
def test_a_drill_that_failed_is_told(server: Server) -> None:
    assert tell_drill_failed("line-12", "drill 3, 60 s: n4 was started anew") == ""
    message = wait_for(
        lambda: server.mailbox.about("line-12"), lambda: str(server.mailbox.messages)
    )
    assert "n4 was started anew" in message["message"]


@pytest.mark.usefixtures("deployed")
def test_the_weekly_drill_is_off_until_somebody_switches_it_on() -> None:
    with get_client(sync_client=True) as client:
        (schedule,) = client.read_deployment_by_name("drill/drill").schedules
    assert not schedule.active


@pytest.mark.usefixtures("deployed_again")
def test_without_an_address_nothing_is_sent_and_no_address_is_kept(server: Server) -> None:
    assert server.deploy(notify_url="").messages == ()
    assert not [name for name in server.automations() if name.startswith("edgefleet tells")]
    with get_client(sync_client=True) as client:
        kept = client.read_block_documents_by_type("slack-webhook")
    assert BLOCK not in {found.name for found in kept}


@pytest.mark.usefixtures("deployed")
def test_an_address_that_nobody_knows_is_refused_and_never_shown(server: Server) -> None:
    with pytest.raises(Refused) as refused:
        server.deploy(notify_url=f"pigeon://{SECRET}@roof")
    assert "EDGEFLEET_NOTIFY_URL" in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.usefixtures("deployed")
def test_what_is_no_longer_wanted_is_deleted_with_its_trigger_and_others_stay(
    server: Server,
) -> None:
    with get_client(sync_client=True) as client:
        flow = client.create_flow_from_name("release")
        for name, tags in (("of-last-year", ["edgefleet"]), ("somebody-elses", ["theirs"])):
            made = client.create_deployment(
                flow,
                name=name,
                tags=tags,
                entrypoint="flows.old.old",
                schedules=[DeploymentScheduleCreate(schedule=IntervalSchedule(interval=60))],
            )
            # As `prefect deploy` makes them: owned by the deployment.
            trigger = DeploymentEventTrigger(name=f"wakes {name}", expect={"never"})
            trigger.set_deployment_id(made)
            client.create_automation(trigger.as_automation())
    assert server.deploy().deleted == ("of-last-year",)
    assert "somebody-elses" in server.deployments()
    assert "wakes somebody-elses" in server.automations()
    assert "wakes of-last-year" not in server.automations()
    assert server.deploy().deleted == ()
