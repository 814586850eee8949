"""`python -m edgefleet.cli`."""

from edgefleet.cli import main

main()
