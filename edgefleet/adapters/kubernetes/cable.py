"""What takes a cluster's node off its network: a command of the plant's own, named in its file.

Nobody's cluster lets a client pull the cable of a node; a switch, a managed power strip or the
node's firewall does. So the command does it, and keeps the end of the cut itself: edgefleet, this
machine or the link to either may be gone by then. No shell is between, and no secret of edgefleet's
is in its environment.
"""

from __future__ import annotations

import math
import os
import subprocess
import tempfile
from dataclasses import dataclass
from typing import IO, Final

from edgefleet.errors import Refused
from edgefleet.fleet.drill import check_cut

NOTICE_S: Final = 60.0
ENDS_S: Final = 30.0
"""The command only orders the cut: it does not wait for its end."""
_SHOWN: Final = 400
"""Characters of what it said last."""
_OWN: Final = ("EDGEFLEET_", "PREFECT_", "MLFLOW_")


@dataclass(frozen=True, slots=True)
class Cable:
    """How the nodes of a cluster are unplugged."""

    command: tuple[str, ...] = ()
    """Gets the node's name and seconds as two more arguments; empty: there is no way."""
    notice_s: float = NOTICE_S
    """After so long the control plane says of a node that it does not hear from it."""
    ends_s: float = ENDS_S

    def cut(self, node: str, seconds: float) -> None:
        """Have a node cut off for so long; 0: restored.

        Raises:
            Refused: there is no command, or it did not end well, or not in time.
        """
        check_cut(node, seconds)
        if not self.command:
            problem = "a cluster's node is taken off its network by a command, and none is named"
            remedy = "Name one as `unplug` in the file of the clusters (docs/drill.md)"
            raise Refused(node, problem, remedy)
        # Into a file, not a pipe: what the command leaves behind to restore the link holds it open.
        with tempfile.TemporaryFile() as said:
            try:
                self._run([*self.command, node, str(math.ceil(seconds))], said)
            except subprocess.CalledProcessError as error:
                raise self._failed(node, f"ended with {error.returncode}", said) from error
            except subprocess.TimeoutExpired as error:
                raise self._failed(node, f"did not end in {self.ends_s:g} s", said) from error
            except OSError as error:
                raise self._failed(node, f"cannot be run: {error.strerror}", said) from error

    def _run(self, words: list[str], said: IO[bytes]) -> None:
        # Ctrl-C is for the drill, which then restores the link by the same command. One that takes
        # too long is ended alone, not with its children: one of them may be the timer.
        subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env={k: v for k, v in os.environ.items() if not k.startswith(_OWN)},
            start_new_session=True,
            timeout=self.ends_s,
            check=True,
        )

    def _failed(self, node: str, what: str, said: IO[bytes]) -> Refused:
        said.seek(0)
        lines = said.read().decode(errors="replace").split("\n")
        last = "; ".join(line.strip() for line in lines if line.strip())[-_SHOWN:]
        problem = f"{self.command[0]} {what}" + (f": {last}" if last else "")
        remedy = "It may be cut off or not: see to it, and to the command, by hand"
        return Refused(node, problem, remedy)
