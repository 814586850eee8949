"""`python -m edgefleet.edge SETTINGS`: one inference server; or an errand with a package.

SETTINGS is the path of a ServerSettings file, or, if it begins with `{`, the JSON itself. The
errands (`verify`, `hold`, `copy`, `put`, `order`, `swap`) are described in edgefleet.edge.errands.
Nothing is imported before it is known which of them it is: an errand needs none of what a server
needs.
"""

from __future__ import annotations

import sys

ERRANDS = frozenset({"verify", "hold", "copy", "put", "order", "swap"})


def main(arguments: list[str]) -> int:
    """Run a server or an errand; return the exit code."""
    if arguments and arguments[0] in ERRANDS:
        from edgefleet.edge.errands import run  # noqa: PLC0415 - see above

        return run(arguments)
    if len(arguments) != 1:
        errands = "|".join(sorted(ERRANDS))
        sys.stderr.write(f"usage: python -m edgefleet.edge SETTINGS | {{{errands}}} ...\n")
        return 2
    from edgefleet.edge.start import start  # noqa: PLC0415 - see above

    return start(arguments[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
