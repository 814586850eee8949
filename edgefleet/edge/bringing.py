"""What a server with a store brings up: at its start, and for an order. Runs in a loading thread.

At the start that is the package of the last order, else what served last, else the environment's
own. An order that a process has ended on comes last, for a package may end every process that loads
it: as a rule it is tried again beside what serves, and it is refused after `MOST_DEATHS`. Nothing
here raises: what must not serve comes back as a reason, with nothing that still holds a session.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from msgspec import structs

from edgefleet.edge import loading
from edgefleet.edge.contract import Digest, SelfCheck, ServerSettings
from edgefleet.edge.errors import PackageError
from edgefleet.edge.loading import Loaded
from edgefleet.edge.slots import Slot
from edgefleet.edge.store import Order, State, Store

MOST_DEATHS: Final = 3

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unfit:
    """A package that must not serve."""

    digest: Digest
    reason: str
    check: SelfCheck | None = None
    """None: its golden set was not answered."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a server's start came to."""

    loaded: Loaded | None
    """None: nothing may serve."""
    previous: Slot | None
    unfit: tuple[Unfit, ...]
    """What was tried before, and refused."""
    state: State
    order: Order | None

    @property
    def reason(self) -> str:
        """All that was refused, in words."""
        return "; ".join(f"{each.digest}: {each.reason}" for each in self.unfit)


def start(settings: ServerSettings, store: Store) -> Start:
    """Bring up the first package that may serve, and what served before it as its reference."""
    state = store.state()
    order = _order(store)
    unfit: list[Unfit] = []
    loaded, begun = None, False
    for digest, package in _candidates(settings, store, state, order):
        ordered = order is not None and digest == order.want
        if order is not None and ordered and not begun:
            state, begun = _begun(store, state, order), True
        found = _attempt(settings, package, digest, state.model if ordered else "")
        if isinstance(found, Loaded):
            loaded = found
            break
        logger.error("%s: not serving: %s", digest, found.reason)
        unfit.append(found)
    refused = {each.digest for each in unfit}
    previous = None
    if loaded is not None:
        slot = loaded.slot
        before = state.previous if state.serving == slot.digest else state.serving
        if before is not None and before not in refused and before != slot.digest:
            previous = _beside(settings, store, before)
        previous = previous or loading.shadow_slot(settings, slot)
        state = structs.replace(
            state,
            serving=slot.digest,
            model=slot.card.model,
            previous=None if previous is None else previous.digest,
        )
    ended = Start(loaded, previous, tuple(unfit), state, order)
    if order is not None and loaded is not None and loaded.slot.digest == order.want:
        return replace(ended, state=state.served(order))
    if order is not None and order.want in refused:
        state = state.refused(order, ended.reason)
        return replace(ended, state=structs.replace(state, tries=0))
    return ended


def follow(
    settings: ServerSettings,
    store: Store,
    state: State,
    order: Order,
    beside: Slot | None,
) -> Loaded | Unfit | None:
    """Return what an order wants, ready to serve; None: there is another order by now.

    `beside` is what stands beside the serving slot: if it is wanted, it is only checked again.
    """
    deaths = state.deaths(order)
    if deaths >= MOST_DEATHS:
        return Unfit(order.want, f"the server ended {deaths} times while it was brought up")
    _begun(store, state, order)
    if beside is not None and order.want == beside.digest:
        found: Loaded | Unfit = _vetted(beside, state.model)
    else:
        found = Unfit(order.want, "is not in this node's store, nor what this server came with")
        for digest, package in _places(settings, store, order.want):
            found = _attempt(settings, package, digest, state.model)
            if isinstance(found, Loaded):
                break
    return found if _order(store) == order else None


def _begun(store: Store, state: State, order: Order) -> State:
    """Note on the disk that an order is acted on, unless that has ended well before."""
    if state.settles(order) and not state.reason:
        return state
    state = state.begun(order)
    try:
        store.write_state(state)
    except OSError:
        # A full disk is no reason not to follow: only a death would not be counted.
        logger.exception("%s: not noted that order %d is acted on", store.root, order.number)
    return state


def _order(store: Store) -> Order | None:
    try:
        return store.order()
    except PackageError:
        logger.exception("no order is followed")
        return None


def _candidates(
    settings: ServerSettings, store: Store, state: State, order: Order | None
) -> Iterator[tuple[Digest, Path]]:
    """Yield what may be tried at the start, best first, and everything once."""
    digests = [state.serving, settings.digest]
    if order is not None:
        deaths = state.deaths(order)
        if deaths:
            logger.warning("%s: %d processes ended on it: not first", order.want, deaths)
        if deaths < MOST_DEATHS:
            digests.insert(len(digests) if deaths else 0, order.want)
    for digest in dict.fromkeys(digests):
        if digest is None:
            continue
        places = list(_places(settings, store, digest))
        # What was ordered is named even if it is nowhere; what served may have been cleared away.
        if not places and order is not None and digest == order.want:
            places = [(digest, store.package(digest))]
        yield from places


def _places(
    settings: ServerSettings, store: Store, digest: Digest
) -> Iterator[tuple[Digest, Path]]:
    if store.package(digest).is_dir():
        yield digest, store.package(digest)
    if digest == settings.digest:
        yield digest, Path(settings.package_dir)


def _beside(settings: ServerSettings, store: Store, digest: Digest) -> Slot | None:
    for _, package in _places(settings, store, digest):
        found = loading.reference(settings, package, digest)
        if found is not None:
            return found
    return None


def _attempt(settings: ServerSettings, package: Path, digest: Digest, model: str) -> Loaded | Unfit:
    try:
        loaded = loading.load(settings, package, digest)
    except PackageError as error:
        return Unfit(digest, str(error))
    except Exception as error:  # a boundary: what serves goes on, and says what happened
        logger.exception("%s", package)
        return Unfit(digest, f"loading failed: {type(error).__name__}: {error}")
    return _judged(loaded, model)


def _vetted(slot: Slot, model: str) -> Loaded | Unfit:
    try:
        loaded = loading.checked(slot)
    except Exception as error:  # as in _attempt
        logger.exception("%s", slot.digest)
        return Unfit(slot.digest, f"its self-check failed: {type(error).__name__}: {error}")
    return _judged(loaded, model)


def _judged(loaded: Loaded, model: str) -> Loaded | Unfit:
    slot, check = loaded.slot, loaded.self_check
    if not check.passed:
        return Unfit(slot.digest, check.reason, check)
    if model and slot.card.model != model:
        reason = f"is a model named {slot.card.model!r}, and clients of this node ask for {model!r}"
        return Unfit(slot.digest, reason, check)
    return loaded
