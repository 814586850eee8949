"""One module or package for each outside system; nothing else speaks to it."""
