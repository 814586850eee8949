"""What a pod does with a package besides serving it, each a command of `python -m edgefleet.edge`.

    verify PACKAGE_DIR TRUST_DIR   check the signature
    hold PACKAGE_DIR TRUST_DIR     check it, then wait for SIGTERM: as long as it runs, the image is
                                   on the node and cannot be collected
    copy PACKAGE_DIR TARGET_DIR    copy the package's files into a folder, each whole

    put PACKAGE_DIR TRUST_DIR STORE_DIR DIGEST
                                   check it, then copy it into the node's store; again: nothing
    order STORE_DIR DIGEST EPOCH [--wait SECONDS]
                                   order the server to serve what is in its store; again: nothing
    swap PACKAGE_DIR TRUST_DIR STORE_DIR DIGEST EPOCH [--wait SECONDS]
                                   both: what a job of the new image does

With `--wait` an order ends when the server has said what became of it. Any number of errands may
run at once: they change the store one after the other.

Exit codes: 0 done, 2 not understood, 3 the file system refused, 4 the package must not serve, is
not in the store, or the server refused it, 5 fenced (there is an order of a higher epoch, or a
later one replaced this one), 6 not known within SECONDS what became of the order. The reason is
written to stderr, and to the file that the variable TERMINATION_LOG names, from where Kubernetes
puts it into the pod's status. Numpy, onnxruntime and starlette are not imported.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from contextlib import suppress
from pathlib import Path
from typing import Final

from edgefleet.edge.contract import PACKAGE_FILES, Digest, parse_digest
from edgefleet.edge.errors import Fenced, NotYet, PackageError, Refused
from edgefleet.edge.store import Order, Store
from edgefleet.edge.trust import verify

DONE: Final = 0
DISK: Final = 3
BAD_PACKAGE: Final = 4
FENCED: Final = 5
NOT_YET: Final = 6
_LOOK_S: Final = 0.1
_ENDS: Final = (signal.SIGTERM, signal.SIGINT)


def run(arguments: list[str]) -> int:
    """Run an errand; return the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        asked.errand(asked)
    except (PackageError, Refused) as error:
        return _failed(BAD_PACKAGE, str(error))
    except Fenced as error:
        return _failed(FENCED, str(error))
    except NotYet as error:
        return _failed(NOT_YET, str(error))
    except OSError as error:
        place = asked.package if "package" in asked else asked.store
        return _failed(DISK, f"{asked.name} {place}: {error}")
    return DONE


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m edgefleet.edge")
    commands = parser.add_subparsers(dest="name", required=True)
    for name, errand, second in (
        ("verify", _verify, "trust"),
        ("hold", _hold, "trust"),
        ("copy", _copy, "target"),
    ):
        command = commands.add_parser(name)
        command.add_argument("package", type=Path, metavar="PACKAGE_DIR")
        command.add_argument(second, type=Path, metavar=f"{second.upper()}_DIR")
        command.set_defaults(errand=errand)
    for name, errand in (("put", _put), ("order", _order), ("swap", _swap)):
        command = commands.add_parser(name)
        if errand is not _order:
            command.add_argument("package", type=Path, metavar="PACKAGE_DIR")
            command.add_argument("trust", type=Path, metavar="TRUST_DIR")
        command.add_argument("store", type=lambda text: Store(Path(text)), metavar="STORE_DIR")
        command.add_argument("digest", type=_digest, metavar="DIGEST")
        if errand is not _put:
            command.add_argument("epoch", type=int, metavar="EPOCH")
            command.add_argument("--wait", type=float, metavar="SECONDS")
        command.set_defaults(errand=errand)
    return parser


def _verify(asked: Namespace) -> None:
    verify(asked.package, asked.trust)


def _hold(asked: Namespace) -> None:
    # Blocked and not handled: as a container's first process it would not be sent them otherwise,
    # and a signal that comes while the package is read waits.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    verify(asked.package, asked.trust)
    # An interpreter that has imported nothing takes a quarter of this one's memory, and waits for
    # days. It inherits the blocked signals.
    wait = f"import _signal; _signal.sigwait({[int(number) for number in _ENDS]})"
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", wait])  # noqa: S606 - no shell


def _copy(asked: Namespace) -> None:
    asked.target.mkdir(parents=True, exist_ok=True)
    for name in PACKAGE_FILES:
        draft = asked.target / f".{name}.draft"
        shutil.copyfile(asked.package / name, draft)
        draft.replace(asked.target / name)


def _digest(text: str) -> Digest:
    try:
        return parse_digest(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def _put(asked: Namespace) -> None:
    with asked.store.locked():
        asked.store.put(asked.package, asked.trust, asked.digest)


def _order(asked: Namespace) -> None:
    with asked.store.locked():
        order = asked.store.give(asked.digest, asked.epoch)
    _settled(asked.store, order, asked.wait)


def _swap(asked: Namespace) -> None:
    with asked.store.locked():
        # First, so that who has been replaced does not fill the disk.
        asked.store.fence(asked.epoch)
        asked.store.put(asked.package, asked.trust, asked.digest)
        order = asked.store.give(asked.digest, asked.epoch)
    _settled(asked.store, order, asked.wait)


def _settled(store: Store, order: Order, seconds: float | None) -> None:
    """Return when an order serves; None: at once.

    Raises:
        Refused: the server did not follow it.
        Fenced: another order replaced it.
        NotYet: the time is over.
    """
    if seconds is None:
        return
    end = time.monotonic() + seconds
    # The state first: what was done before another order came is told as it was.
    while not (state := store.state()).settles(order):
        if (now := store.order()) != order:
            instead = "none" if now is None else f"{now.want}, epoch {now.epoch}"
            raise Fenced(
                f"the order for {order.want}, epoch {order.epoch}, was replaced: {instead}"
            )
        if time.monotonic() >= end:
            raise NotYet(
                f"the order for {order.want}, epoch {order.epoch}: not known within {seconds:g} s"
                f" what became of it, {state.serving or 'nothing'} serves or did last"
            )
        time.sleep(_LOOK_S)
    if state.reason:
        raise Refused(f"{order.want} does not serve: {state.reason}")


def _failed(code: int, reason: str) -> int:
    sys.stderr.write(f"{reason}\n")
    if log := os.environ.get("TERMINATION_LOG"):
        # It is on stderr all the same.
        with suppress(OSError):
            Path(log).write_text(reason)
    return code
