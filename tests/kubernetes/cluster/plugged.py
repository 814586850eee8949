"""What unplugs the nodes of a test cluster: the shipped script over the cables of this machine."""

from __future__ import annotations

from pathlib import Path

from edgefleet.adapters.kubernetes.cable import Cable
from tests.kubernetes.cluster.factory import ROOT, Factory

NOTICE_S = 25.0
"""After 10 s without a word a node is not heard: tests/kubernetes/cluster/control_plane.py."""
_PORT = """\
#!/bin/sh
exec ip link set "$(cat {links}/"$2")" "$1"
"""


def cable_to(factory: Factory) -> Cable:
    """Return what cuts off the nodes that the factory has now.

    Where it keeps the ends is in the factory's folder: they go with it.
    """
    root: Path = factory.remains.root
    links, port = root / "links", root / "port"
    links.mkdir(exist_ok=True)
    for node in factory.nodes:
        (links / node.name).write_text(node.cable.link)
    port.write_text(_PORT.format(links=links))
    port.chmod(0o755)
    state = f"UNPLUG_STATE={root / 'unplugged'}"
    return Cable(("env", state, str(ROOT / "infra/unplug/unplug.sh"), str(port)), NOTICE_S)
