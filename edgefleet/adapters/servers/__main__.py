"""`python -m edgefleet.adapters.servers HOME`: the guard of a home, fed by a pipe."""

from __future__ import annotations

import sys
from pathlib import Path

from edgefleet.adapters.servers.guard import watch

if __name__ == "__main__":
    watch(Path(sys.argv[1]))
