"""`python -m edgefleet.plant CONFIG.json`: cameras and QA stations until SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from edgefleet.errors import Refused
from edgefleet.plant.config import PlantConfig, load_config
from edgefleet.plant.floor import Floor
from edgefleet.plant.parts import surface_parts


async def run(config: PlantConfig) -> None:
    """Run a plant until SIGTERM or SIGINT."""
    end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    await Floor(config, lambda factory: surface_parts(factory, config.pool, config.seed)).run(end)


def main(arguments: list[str]) -> int:
    """Run a plant; return the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m edgefleet.plant CONFIG.json\n")
        return 2
    try:
        config = load_config(Path(arguments[0]))
    except Refused as error:
        sys.stderr.write(f"{error}\n")
        return 2
    asyncio.run(run(config))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
