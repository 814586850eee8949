"""Threads that decode a type for the first time at the same moment."""

import subprocess
import sys

import msgspec
import pytest

from edgefleet.documents import decode

# A process of its own: what this guards against is a crash. Threads are switched as often as can
# be, and each round has types that nobody has decoded before.
ROUNDS = """
import sys, threading
import msgspec
from edgefleet.documents import decode

sys.setswitchinterval(1e-6)
for number in range(60):
    inner = msgspec.defstruct(f"Inner{number}", [(f"f{k}", int) for k in range(20)])
    outer = msgspec.defstruct(f"Outer{number}", [("now", float), ("records", tuple[inner, ...])])
    body = msgspec.json.encode(outer(1.0, (inner(*range(20)),) * 3))
    barrier = threading.Barrier(16)
    found = []

    def work():
        barrier.wait()
        found.append(decode(body, outer))

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16 and len({one.now for one in found}) == 1
"""


def test_threads_may_meet_a_type_for_the_first_time_together() -> None:
    done = subprocess.run([sys.executable, "-c", ROUNDS], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_does_not_fit_is_an_error() -> None:
    assert decode(b"[1]", tuple[int, ...]) == (1,)
    with pytest.raises(msgspec.ValidationError):
        decode(b'["one"]', tuple[int, ...])
