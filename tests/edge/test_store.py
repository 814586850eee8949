"""A node's store: packages are whole or not there, and the highest epoch has the last word."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from edgefleet.edge.contract import MODEL_FILE, PACKAGE_FILES, Digest
from edgefleet.edge.errors import Fenced, PackageError
from edgefleet.edge.store import ORDER_FILE, STATE_FILE, Order, State, Store
from edgefleet.edge.trust import verify
from tests.edge.conftest import Shelf
from tests.edge.test_errands import EDGE, errand
from tests.edge.tiny import tiny_package


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def packages(store: Store) -> Mapping[str, Path]:
    """Everything beside the packages too, by name."""
    return {path.name: path for path in (store.root / "packages").iterdir()}


def put(store: Store, shelf: Shelf, name: str) -> Digest:
    digest = {"old": shelf.old, "new": shelf.new}[name]
    with store.locked():
        store.put(shelf.root / name, shelf.root / "keys/trust", digest)
    return digest


def test_a_package_is_put_whole_and_putting_it_again_changes_nothing(
    shelf: Shelf, store: Store
) -> None:
    def files() -> Mapping[str, tuple[int, int]]:
        found = {name: store.package(shelf.old) / name for name in PACKAGE_FILES}
        return {name: (p.stat().st_ino, p.stat().st_mtime_ns) for name, p in found.items()}

    asked = ("put", shelf.root / "old", shelf.root / "keys/trust", store.root, shelf.old)
    assert errand(*asked).returncode == 0
    verify(store.package(shelf.old), shelf.root / "keys/trust")
    before = files()
    assert errand(*asked).returncode == 0
    assert before == files()
    assert list(packages(store)) == [shelf.old.removeprefix("sha256:")]


def test_an_unsigned_package_never_gets_into_the_store(
    shelf: Shelf, store: Store, tmp_path: Path
) -> None:
    digest = tiny_package(tmp_path / "foreign", tmp_path / "keys")
    ended = errand(
        *("swap", tmp_path / "foreign", shelf.root / "keys/trust", store.root, digest, 1),
        log=tmp_path / "log",
    )
    assert ended.returncode == 4
    assert "signed by none of the trusted keys" in (tmp_path / "log").read_text()
    assert not store.package(digest).exists()
    assert store.order() is None


def test_a_package_that_was_broken_in_the_store_is_replaced(shelf: Shelf, store: Store) -> None:
    digest = put(store, shelf, "old")
    with (store.package(digest) / MODEL_FILE).open("ab") as model:
        model.write(b"\0")
    put(store, shelf, "old")
    verify(store.package(digest), shelf.root / "keys/trust")
    assert list(packages(store)) == [store.package(digest).name]


def test_one_digest_is_never_two_packages(shelf: Shelf, store: Store) -> None:
    digest = put(store, shelf, "old")
    with store.locked(), pytest.raises(PackageError, match="two packages of one digest"):
        store.put(shelf.root / "new", shelf.root / "keys/trust", digest)


def test_what_a_killed_errand_left_is_swept_away_by_the_next(shelf: Shelf, store: Store) -> None:
    draft = store.root / "packages" / f".{store.package(shelf.old).name}.draft"
    draft.mkdir(parents=True)
    (draft / MODEL_FILE).write_bytes(b"half of a mod")
    put(store, shelf, "old")
    assert list(packages(store)) == [store.package(shelf.old).name]


def test_errands_at_once_leave_whole_packages_and_one_order(shelf: Shelf, store: Store) -> None:
    trust = shelf.root / "keys/trust"
    asked = [
        ("swap", shelf.root / name, trust, store.root, digest, 7)
        for name, digest in (("old", shelf.old), ("new", shelf.new))
    ]
    running = [subprocess.Popen([*EDGE, *map(str, each)]) for each in asked * 3]
    assert [process.wait(60) for process in running] == [0] * 6
    for digest in (shelf.old, shelf.new):
        verify(store.package(digest), trust)
    assert len(packages(store)) == 2
    order = store.order()
    assert order is not None
    assert order.want in {shelf.old, shelf.new}
    # The same order again does nothing; each change of mind counts one up.
    assert 2 <= order.number <= 6


def test_a_lower_epoch_is_fenced_in_words_and_an_equal_one_may_change_its_mind(
    shelf: Shelf, store: Store, tmp_path: Path
) -> None:
    old, new = put(store, shelf, "old"), put(store, shelf, "new")
    assert errand("order", store.root, new, 5).returncode == 0
    before = (store.root / ORDER_FILE).read_bytes()
    assert {"want": new, "epoch": 5, "number": 1} == json.loads(before)
    for name in (("order",), ("swap", shelf.root / "old", shelf.root / "keys/trust")):
        ended = errand(*name, store.root, old, 4, log=tmp_path / "log")
        assert ended.returncode == 5
        assert "an order of epoch 4 came after one of epoch 5" in (tmp_path / "log").read_text()
    assert (store.root / ORDER_FILE).read_bytes() == before
    assert errand("order", store.root, new, 5).returncode == 0
    assert (store.root / ORDER_FILE).read_bytes() == before
    assert errand("order", store.root, old, 5).returncode == 0
    assert store.order() == Order(want=old, epoch=5, number=2)


def test_what_is_not_in_the_store_cannot_be_ordered(shelf: Shelf, store: Store) -> None:
    ended = errand("order", store.root, shelf.old, 1)
    assert ended.returncode == 4
    assert "is not in this node's store. Put the package there first" in ended.stderr
    assert store.order() is None


def test_an_order_that_nobody_follows_is_not_known_in_time(shelf: Shelf, store: Store) -> None:
    digest = put(store, shelf, "old")
    ended = errand("order", store.root, digest, 1, "--wait", 0.2)
    assert ended.returncode == 6
    assert "not known within 0.2 s what became of it, nothing serves" in ended.stderr


def test_who_waits_is_told_what_the_server_said(shelf: Shelf, store: Store) -> None:
    old, new = put(store, shelf, "old"), put(store, shelf, "new")
    with store.locked():
        order = store.give(new, 3)
    store.write_state(State(serving=new).served(order))
    assert errand("order", store.root, new, 3, "--wait", 5).returncode == 0
    store.write_state(State(serving=old).refused(order, "it is too heavy"))
    refused = errand("order", store.root, new, 3, "--wait", 5)
    assert (refused.returncode, f"{new} does not serve: it is too heavy\n") == (4, refused.stderr)


def test_an_order_that_was_replaced_before_it_was_followed_is_fenced(
    shelf: Shelf, store: Store
) -> None:
    old, new = put(store, shelf, "old"), put(store, shelf, "new")
    asked = [*EDGE, "order", str(store.root), new, "3", "--wait", "60"]
    with subprocess.Popen(asked, stderr=subprocess.PIPE, text=True) as waiting:
        while store.order() is None:
            assert waiting.poll() is None
        with store.locked():
            store.give(old, 4)
        _, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 5
    assert f"was replaced: {old}, epoch 4" in said


def test_an_order_given_again_after_another_one_is_an_order_of_its_own() -> None:
    first, again = (Order(want=Digest("a"), epoch=1, number=number) for number in (1, 3))
    state = State(serving=first.want).served(first)
    assert state.settles(first)
    assert not state.settles(again)
    assert state.refused(again, "no").settles(again)


def test_documents_that_cannot_be_read_are_named_and_never_guessed(
    shelf: Shelf, store: Store
) -> None:
    digest = put(store, shelf, "old")
    (store.root / STATE_FILE).write_text("{")
    assert store.state() == State()
    for content in ("{", '{"want":"../../etc","epoch":1}'):
        (store.root / ORDER_FILE).write_text(content)
        ended = errand("order", store.root, digest, 9)
        assert ended.returncode == 4
        assert "order.json: is no order" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["put", "a", "b", "c", "sha256:12"], "64 lower-case hexadecimal digits"),
        (["order", "c", "sha256:" + "a" * 64, "soon"], "invalid int value"),
        (["swap", "a"], "usage: python -m edgefleet.edge swap"),
    ],
)
def test_an_order_that_is_not_understood_shows_what_was_expected(
    arguments: list[str], words: str
) -> None:
    ended = errand(*arguments)
    assert ended.returncode == 2
    assert words in ended.stderr


def test_packages_that_nobody_needs_are_removed_but_never_what_is_ordered(
    shelf: Shelf, store: Store
) -> None:
    old, new = put(store, shelf, "old"), put(store, shelf, "new")
    third = Digest("sha256:" + "c" * 64)
    shutil.copytree(store.package(old), store.package(third))
    with store.locked():
        store.give(new, 1)
        with pytest.raises(BlockingIOError):
            store.tidy({old})
    store.tidy({old})
    assert {store.package(old).name, store.package(new).name} == set(packages(store))


def test_a_fence_holds_before_anything_is_copied(shelf: Shelf, store: Store) -> None:
    put(store, shelf, "old")
    with store.locked():
        store.give(shelf.old, 2)
        with pytest.raises(Fenced):
            store.fence(1)
    ended = errand("swap", shelf.root / "new", shelf.root / "keys/trust", store.root, shelf.new, 1)
    assert ended.returncode == 5
    assert not store.package(shelf.new).exists()
