"""One list and one watch of a kind of object, for as long as a driver lives.

The client's own SharedInformer notices no connection that is silently dead, logs a traceback for
each that breaks, and decodes every event into the full models. Here a watch that says nothing for
longer than the server's bookmarks take is opened anew where it was; if that fails, whoever reads is
told that nothing is known instead of being shown the past.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from edgefleet.adapters.kubernetes.api import Absent, Api, Broken
from edgefleet.adapters.kubernetes.objects import Event, Mark, Meta, Page
from edgefleet.errors import EdgefleetError, Unreachable

_PAGE: Final = "500"
_IDLE_S: Final = 90.0
"""The server sends a bookmark about every minute."""
_AGAIN_S: Final = 1.0
_FIRST_S: Final = 15.0

logger = logging.getLogger(__name__)


class Kept(Protocol):
    """What has metadata."""

    @property
    def metadata(self) -> Meta:
        """Return the object's."""
        ...


K = TypeVar("K", bound=Kept)


class Informer(Generic[K]):
    """The objects of a kind at one API server; started by the first reader."""

    def __init__(
        self,
        api: Api,
        path: str,
        kind: type[K],
        selector: str = "",
        group: Callable[[K], str] = lambda _: "",
    ) -> None:
        """Keep what is below `path` and carries the labels; `group` says what belongs together."""
        self._api = api
        self._path = path
        self._query = {"labelSelector": selector} if selector else {}
        # Made here: a type must not be met for the first time by two threads at once.
        self._pages = msgspec.json.Decoder(Page)
        self._events = msgspec.json.Decoder(Event)
        self._marks = msgspec.json.Decoder(Mark)
        self._objects = msgspec.json.Decoder(kind)
        self._group = group
        self._version = ""
        self._kept: dict[str, K] = {}
        self._groups: dict[str, dict[str, K]] = {}
        self._tuples: dict[str, tuple[K, ...]] = {}
        self._lock = threading.Lock()
        self._heard = threading.Event()
        self._ended = threading.Event()
        self._problem = f"{api.name}: nothing heard yet"
        self._thread: threading.Thread | None = None

    def all(self) -> Mapping[str, K]:
        """Return the objects by name, those of a namespace by `namespace/name`.

        Raises:
            Unreachable: the API server does not answer now.
        """
        with self._known():
            return dict(self._kept)

    def get(self, key: str) -> K | None:
        """Return one object by its key in `all`, None if there is none.

        Raises:
            Unreachable: the API server does not answer now.
        """
        with self._known():
            return self._kept.get(key)

    def of(self, group: str) -> tuple[K, ...]:
        """Return the objects of a group: the very same tuple until one of them changes.

        Raises:
            Unreachable: the API server does not answer now.
        """
        with self._known():
            found = self._tuples.get(group)
            if found is None:
                found = self._tuples[group] = tuple(self._groups.get(group, {}).values())
            return found

    @contextmanager
    def _known(self) -> Iterator[None]:
        """Hold the lock while what is kept is known to be true; the first reader starts the watch.

        Raises:
            Unreachable: it is not.
        """
        if self._thread is None:
            self._start()
        self._heard.wait(_FIRST_S)
        with self._lock:
            if self._problem:
                raise Unreachable(self._problem)
            yield

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                name = f"watch {self._path}"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()

    def saw(self, content: bytes) -> K:
        """Keep what a write of our own answered, unless something newer is known; return it."""
        found = self._objects.decode(content)
        with self._lock:
            self._keep(found)
        return found

    def close(self) -> None:
        """Stop watching at the next event."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                if not self._version:
                    self._list()
                self._watch()
            except Absent:
                self._version = ""  # too old: list again
            except Broken as error:
                # Taken up where it ended, nothing is missed: readers are told only if that fails.
                logger.info("%s", error)
                self._ended.wait(_AGAIN_S)
            except (EdgefleetError, msgspec.MsgspecError) as error:
                with self._lock:
                    self._problem = str(error)
                self._heard.set()
                logger.info("%s", error)
                self._ended.wait(_AGAIN_S)

    def _list(self) -> None:
        found: dict[str, K] = {}
        query = {**self._query, "limit": _PAGE}
        while True:
            page = self._pages.decode(self._api.get(self._path, query))
            items = map(self._objects.decode, page.items)
            found |= {item.metadata.key: item for item in items}
            if not page.metadata.continue_:
                break
            query["continue"] = page.metadata.continue_
        with self._lock:
            self._kept, self._groups, self._tuples = {}, {}, {}
            for item in found.values():
                self._keep(item)
            self._problem = ""
        self._version = page.metadata.resource_version
        self._heard.set()

    def _watch(self) -> None:
        """Follow from the last known version until the server ends the watch."""
        query = {
            **self._query,
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
        }
        for line in self._api.lines(self._path, query, _IDLE_S):
            if self._ended.is_set():
                break
            if not line:  # it is open: from here on nothing is missed
                with self._lock:
                    self._problem = ""
                continue
            event = self._events.decode(line)
            if event.type == "ERROR":
                raise Absent(bytes(event.object)[:300].decode(errors="replace"))
            if event.type == "BOOKMARK":  # its other fields are null
                self._version = self._marks.decode(event.object).metadata.resource_version
                continue
            found = self._objects.decode(event.object)
            with self._lock:
                if event.type == "DELETED":
                    self._gone(found)
                else:
                    self._keep(found)
            self._version = found.metadata.resource_version

    def _keep(self, found: K) -> None:
        key = found.metadata.key
        known = self._kept.get(key)
        if known is not None and _number(known) > _number(found):
            return
        self._drop(key)
        group = self._group(found)
        self._kept[key] = found
        self._groups.setdefault(group, {})[key] = found
        self._tuples.pop(group, None)

    def _gone(self, found: K) -> None:
        """Forget what was deleted; a successor of that name, which we made ourselves, stays."""
        known = self._kept.get(found.metadata.key)
        if known is not None and _number(known) <= _number(found):
            self._drop(found.metadata.key)

    def _drop(self, key: str) -> None:
        known = self._kept.pop(key, None)
        if known is not None:
            group = self._group(known)
            del self._groups[group][key]
            self._tuples.pop(group, None)


def _number(item: Kept) -> int:
    """Return a version as a number.

    Comparable within a kind by contract since Kubernetes 1.35; before, because it is etcd's.
    """
    text = item.metadata.resource_version
    return int(text) if text.isdecimal() else 0
