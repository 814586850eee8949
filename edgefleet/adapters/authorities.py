"""Who may vouch for a server that is spoken to over TLS."""

from __future__ import annotations

import ssl
from pathlib import Path

from edgefleet.errors import Refused


def tls_context(ca: Path | None, setting: str) -> ssl.SSLContext:
    """Return a context that trusts the authorities in a file alone; None: the system's.

    Raises:
        Refused: the file cannot be read as certificates; `setting` named it.
    """
    try:
        return ssl.create_default_context(cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError) as error:
        problem = f"cannot be read as certificates: {error}"
        raise Refused(f"CA file {ca}", problem, f"Correct {setting}") from error
