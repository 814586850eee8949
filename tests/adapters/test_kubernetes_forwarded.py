"""What a server showed an agent is its answer: whole, recent, and of that very pod."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest

from edgefleet.adapters.kubernetes.config import Clusters
from edgefleet.adapters.kubernetes.forwarded import AGAIN_S, FRESH_S, Forwarded, question
from edgefleet.adapters.kubernetes.objects import Pod
from edgefleet.adapters.kubernetes.sites import sites_of
from edgefleet.adapters.kubernetes.views import Said
from edgefleet.adapters.prometheus_http import Series
from edgefleet.edge.contract import LOADING, Digest, parse_digest
from edgefleet.errors import Refused
from edgefleet.fleet.manifest_names import NODE, WORKLOAD
from edgefleet.ports import Image

OLD, NEW = (parse_digest(f"sha256:{digit * 64}") for digit in "12")
NOW = 10_000.0


def pod(name: str = "job-n-1", phase: str = "Running") -> Pod:
    metadata = {
        "name": name,
        "uid": f"uid of {name}",
        "labels": {WORKLOAD: "job"},
        "annotations": {NODE: "n"},
    }
    return msgspec.convert(
        {"metadata": metadata, "status": {"phase": phase, "podIP": "10.0.0.7"}}, Pod
    )


def scrape(
    at: float,
    digest: Digest = OLD,
    *,
    of: str = "job-n-1",
    node: str = "n",
    ready: int = 1,
    checked: int = 1,
) -> list[Series]:
    who = {"pod": of, "node": node, "workload": "job", "factory": "linz"}
    info = {"__name__": "edge_server_info", "digest": digest, "boot": f"n/{digest[-1]}"}
    return [
        Series({**info, **who}, values=((at, "1"),)),
        Series({"__name__": "edge_ready", **who}, values=((at, str(ready)),)),
        Series({"__name__": "edge_self_check_passed", **who}, values=((at, str(checked)),)),
    ]


@dataclass
class Centre:
    """Has what agents forwarded, and counts who asks."""

    series: list[Series] = field(default_factory=list)
    asked: int = 0
    now: float = NOW

    def __post_init__(self) -> None:
        self.answers = Forwarded(self.ask, 8081, lambda: self.now)

    def ask(self, _query: str, _at: float) -> list[Series]:
        self.asked += 1
        return self.series

    def of(self, one: Pod) -> Said | None:
        return self.answers.of([(one, OLD)]).get(one.metadata.uid)


def test_the_newest_scrape_is_what_a_server_says() -> None:
    said = Centre(scrape(NOW - 40, OLD, ready=0) + scrape(NOW - 10, NEW)).of(pod())
    assert said is not None
    summary = said.summary
    assert (summary.digest, summary.boot, summary.ready) == (NEW, "n/2", True)
    assert (summary.self_check.passed, said.url) == (True, "http://10.0.0.7:8081")


@pytest.mark.parametrize(
    "series",
    [
        pytest.param([], id="nothing came"),
        pytest.param(scrape(NOW - FRESH_S - 1), id="too long ago"),
        pytest.param(scrape(NOW + FRESH_S + 1), id="a clock far ahead"),
        pytest.param(scrape(NOW)[:2], id="a part is on its way"),
        pytest.param(scrape(NOW, of="job-n-0"), id="the pod before"),
        pytest.param(scrape(NOW, node="m"), id="of another node"),
        pytest.param(scrape(NOW, Digest("none")), id="no digest"),
    ],
)
def test_anything_less_is_no_answer(series: list[Series]) -> None:
    assert Centre(series).of(pod()) is None


def test_a_part_that_has_not_arrived_leaves_the_scrape_before() -> None:
    said = Centre(scrape(NOW - 30, OLD) + scrape(NOW, NEW)[:1]).of(pod())
    assert said is not None
    assert said.summary.digest == OLD


def test_one_that_is_not_ready_may_be_loading_and_has_not_failed() -> None:
    said = Centre(scrape(NOW, ready=0, checked=0)).of(pod())
    assert said is not None
    assert (said.summary.ready, said.summary.self_check.reason) == (False, LOADING)


def test_a_pod_that_does_not_run_is_not_asked_for() -> None:
    centre = Centre(scrape(NOW))
    assert centre.of(pod(phase="Pending")) is None
    assert centre.asked == 0


def test_a_hundred_pods_looked_at_often_are_one_question_every_few_seconds() -> None:
    centre = Centre()
    pods = [(pod(f"job-n-{number}"), OLD) for number in range(100)]
    for _ in range(20):
        centre.answers.of(pods)
        centre.now += AGAIN_S / 10
    assert centre.asked == 2


def test_the_question_is_about_these_pods_alone() -> None:
    assert question([pod("b.1"), pod("a")]) == (
        '{__name__=~"edge_server_info|edge_ready|edge_self_check_passed",pod=~"a|b\\\\.1"}[90s]'
    )


def test_a_cluster_whose_answers_need_a_prometheus_is_refused_without_one() -> None:
    file = Clusters.model_validate({"clusters": [{"name": "edge", "answers": "prometheus"}]})
    with pytest.raises(Refused, match="EDGEFLEET_PROMETHEUS_URL"):
        sites_of(file, "registry/packages", lambda digest: Image(digest, ()), {})
