"""Who owns the fields of an object, as the API server says when it refuses an apply.

It notes for each field which manager wrote it, and how: what a manager's apply wrote and what the
same manager's other writes did are two owners to it.
"""

from __future__ import annotations

import re
from typing import Final

from edgefleet.adapters.kubernetes.objects import Problem
from edgefleet.errors import Conflict

GIVE_BACK: Final = 'To give it back: docs/kubernetes.md, "Somebody else\'s kubectl"'
_CAUSE: Final = "FieldManagerConflict"


class Owned(Conflict):
    """Somebody owns fields that an apply would change: it would be refused again."""

    def __init__(self, text: str, owners: frozenset[str]) -> None:
        """`owners`: names of the field managers."""
        super().__init__(f"{text}. {GIVE_BACK}")
        self.owners = owners


def owners(problem: Problem) -> frozenset[str]:
    """Return the field managers that an apply would overwrite; none: it was refused otherwise.

    The message names them too, in the singular for one field and in the plural for several; the
    causes are one for each field, and all alike.
    """
    causes = problem.details.causes if problem.details else ()
    said = [cause.message for cause in causes or () if cause.reason == _CAUSE]
    found = [re.match(r'conflict with "([^"]*)"', words) for words in said]
    return frozenset(name[1] if name else "" for name in found)
