"""A whole world in this process, on a clock of its own: for rehearsals of 10,000 nodes, and tests.

It passes the same contract suites as the real adapters. Nothing here opens a socket or a process.
"""
