"""The local site keeps its orders: fences, pulls, vetoes and cut links."""

from __future__ import annotations

from pathlib import Path

import httpx
import msgspec
import pytest

from edgefleet.adapters.local.site import LocalSite, factories
from edgefleet.edge.contract import ShadowOrder, Summary, parse_digest
from edgefleet.errors import Conflict, Fenced, Refused, Unreachable
from edgefleet.fleet.inventory import PullSource, PullState
from tests.adapters.local_fleet import WORKLOAD, Fleet, Shelf, fleet, make_shelf
from tests.edge.tiny import wait_for

UNKNOWN = parse_digest("sha256:" + "0" * 64)


def layer_bytes(shelf: Shelf, *kinds: str) -> int:
    layers = shelf.images.describe(shelf.old).layers
    return sum(layer.size for layer in layers if layer.kind in kinds)


def config_bytes(shelf: Shelf) -> int:
    manifest = (shelf.images_dir / "blobs/sha256" / shelf.old.removeprefix("sha256:")).read_text()
    return int(manifest.partition('"size":')[2].partition("}")[0].partition(",")[0])


def pull_end(local: Fleet, node: str, digest: str) -> tuple[PullState, str]:
    pull = local.view(node).pull_of(parse_digest(digest))
    assert pull is not None
    return pull.state, pull.reason


def failure(local: Fleet, node: str, digest: str) -> str:
    wait_for(lambda: pull_end(local, node, digest)[0] is PullState.FAILED, "it fails")
    return pull_end(local, node, digest)[1]


def test_an_order_of_a_lower_epoch_is_fenced_also_after_a_restart(
    tmp_path: Path, shelf: Shelf
) -> None:
    with fleet(tmp_path / "fleet", shelf) as local:
        local.change("n1", shelf.old, None, epoch=7)
        with pytest.raises(Fenced, match=r"epoch 6 .* epoch 7 was seen"):
            local.change("n1", shelf.new, shelf.old, epoch=6)
        local.kill()
        local.start()
        with pytest.raises(Fenced):
            local.change("n1", shelf.old, None, epoch=6)
        assert local.view("n1").ordered == shelf.old


def test_a_change_from_what_the_node_does_not_have_is_a_conflict(
    tmp_path: Path, shelf: Shelf
) -> None:
    with fleet(tmp_path / "fleet", shelf) as local:
        with pytest.raises(Conflict, match="nothing serves"):
            local.change("n1", shelf.new, shelf.old)
        local.change("n1", shelf.old, None)
        local.change("n1", shelf.old, UNKNOWN)  # it is ordered already: nothing to do
        assert local.view("n1").ordered == shelf.old


def test_a_change_to_a_package_that_is_not_held_says_so_and_comes_about_once_it_is(
    tmp_path: Path, shelf: Shelf
) -> None:
    with fleet(tmp_path / "fleet", shelf) as local:
        local.change("n1", shelf.old, None)
        wait_for(lambda: "hold it first" in local.view("n1").problem, "a reason")
        local.site().hold("n1", shelf.old)
        wait_for(lambda: local.view("n1").serves(shelf.old), "it serves")
        assert local.view("n1").problem == ""


def test_each_layer_crosses_the_wan_of_a_factory_once(tmp_path: Path, shelf: Shelf) -> None:
    with fleet(tmp_path / "fleet", shelf, nodes=3, wan_mbit=20.0) as local:
        site = local.site()
        site.hold("n2", shelf.old, seed="n1")
        site.hold("n3", shelf.old, seed="n1")
        wait_for(lambda: pull_end(local, "n2", shelf.old)[0] is PullState.PULLING, "it waits")
        site.hold("n1", shelf.old)
        for node in ("n1", "n2", "n3"):
            wait_for(
                lambda node=node: pull_end(local, node, shelf.old)[0] is PullState.PRESENT, node
            )
        pulls = [view.pulls[0] for view in site.snapshot(WORKLOAD)]
        whole = layer_bytes(shelf, "base", "model") + config_bytes(shelf)
        assert [p.source for p in pulls] == [PullSource.WAN, PullSource.MIRROR, PullSource.MIRROR]
        assert [whole] * 3 == [pull.transferred_bytes for pull in pulls]
        # 20 Mbit/s is 2.5 MB/s.
        assert pulls[0].seconds >= whole / 2.5e6
        site.hold("n3", shelf.new)
        wait_for(lambda: pull_end(local, "n3", shelf.new)[0] is PullState.PRESENT, "a seeder")
        second = local.view("n3").pull_of(shelf.new)
        assert second is not None
        # The base layer is in the factory already.
        assert second.transferred_bytes < whole - layer_bytes(shelf, "base") + 4096


def test_a_package_signed_by_a_stranger_never_arrives(tmp_path: Path, shelf: Shelf) -> None:
    with fleet(tmp_path / "fleet", shelf) as local:
        local.site().hold("n1", shelf.forged)
        assert "signed by none of the trusted keys" in failure(local, "n1", shelf.forged)
        assert list((local.folder("n1") / "images").iterdir()) == []


def test_a_blob_that_changed_on_the_way_is_a_failed_pull_and_can_be_ordered_again(
    tmp_path: Path,
) -> None:
    shelf = make_shelf(tmp_path / "shelf")
    model = next(x for x in shelf.images.describe(shelf.new).layers if x.kind == "model").digest
    blob = shelf.images_dir / "blobs/sha256" / model.removeprefix("sha256:")
    whole = blob.read_bytes()
    blob.write_bytes(whole[:-1] + b"x")
    with fleet(tmp_path / "fleet", shelf, nodes=2) as local:
        local.site().hold("n2", shelf.new, seed="n1")
        local.site().hold("n1", shelf.new)
        assert "arrived with digest" in failure(local, "n1", shelf.new)
        assert "seeder n1" in failure(local, "n2", shelf.new)
        blob.write_bytes(whole)
        local.bring("n1", shelf.new)


def test_an_image_that_does_not_fit_is_refused_with_the_numbers(
    tmp_path: Path, shelf: Shelf
) -> None:
    with fleet(tmp_path / "fleet", shelf, n1={"disk_mb": 10}, disk_margin_mb=12) as local:
        local.site().hold("n1", shelf.old)
        assert "a margin of 12 MB" in failure(local, "n1", shelf.old)
        assert local.view("n1").disk_free_mb <= 10


def test_a_pull_goes_on_after_the_supervisor_was_killed(tmp_path: Path, shelf: Shelf) -> None:
    with fleet(tmp_path / "fleet", shelf, wan_mbit=1.0) as local:
        local.site().hold("n1", shelf.old)
        local.kill()
        local.start()
        wait_for(lambda: pull_end(local, "n1", shelf.old)[0] is PullState.PRESENT, "it is here")


def test_a_released_package_goes_unless_it_serves_or_served_before(
    tmp_path: Path, shelf: Shelf
) -> None:
    with fleet(tmp_path / "fleet", shelf) as local:
        local.serve("n1", shelf.old)
        local.serve("n1", shelf.new, shelf.old)
        local.bring("n1", shelf.wrong)
        for digest in (shelf.old, shelf.new, shelf.wrong):
            local.site().release_hold("n1", digest)
        left = {path.name for path in (local.folder("n1") / "images").iterdir()}
        assert {shelf.old.removeprefix("sha256:"), shelf.new.removeprefix("sha256:")} == left
        assert local.view("n1").pulls == ()


def test_a_veto_is_shown_in_the_factorys_words(tmp_path: Path, shelf: Shelf) -> None:
    with fleet(tmp_path / "fleet", shelf, nodes=2) as local:
        (local.folder("n1") / "HOLD").write_text("audit until Friday\n")
        shown = {view.node: view.hold_reason for view in local.site().snapshot(WORKLOAD)}
        assert shown == {"n1": "audit until Friday", "n2": None}


def test_a_cut_off_node_serves_what_it_has_and_follows_its_order_when_it_is_back(
    tmp_path: Path, shelf: Shelf
) -> None:
    with fleet(tmp_path / "fleet", shelf) as local:
        local.serve("n1", shelf.old)
        local.bring("n1", shelf.new)
        pids = local.server_pids()
        offline = local.folder("n1") / "OFFLINE"
        offline.touch()
        local.change("n1", shelf.new, shelf.old)
        away = local.view("n1")
        assert (False, None, shelf.new) == (away.online, away.serving, away.ordered)
        assert pids == local.server_pids()
        offline.unlink()
        wait_for(lambda: local.view("n1").serves(shelf.new), "it follows")


def test_a_shadow_order_reaches_the_server_that_runs(tmp_path: Path, shelf: Shelf) -> None:
    with fleet(tmp_path / "fleet", shelf) as local:
        local.serve("n1", shelf.old)
        local.serve("n1", shelf.new, shelf.old)
        local.site().shadow(WORKLOAD, {"n1": ShadowOrder(against="previous", rate=1.0)})
        wait_for(lambda: shadow_of(local) == shelf.old, "the shadow is on")


def shadow_of(local: Fleet) -> str | None:
    answer = httpx.get(f"{local.serving('n1').url}/metrics/summary")
    return msgspec.json.decode(answer.content, type=Summary).shadow


def test_names_that_are_not_there_are_refused_and_silence_is_unreachable(
    tmp_path: Path, shelf: Shelf
) -> None:
    with fleet(tmp_path / "fleet", shelf) as local:
        url = local.url
        assert factories(url) == ("linz",)
        with pytest.raises(Refused, match=r"node n9: is not in factory linz \(n1\)"):
            local.site().hold("n9", shelf.old)
        with pytest.raises(Refused, match="factory graz"):
            LocalSite("graz", url).snapshot(WORKLOAD)
    with pytest.raises(Unreachable):
        factories(url)
