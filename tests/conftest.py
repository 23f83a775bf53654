"""For all tests: no hub, and one thread, since threads only wait for each other on tiny tensors.

JUMPWIRE_TEST_THREADS=4 takes another number of threads; numbers may depend on it in their last digits alone.
"""

import os

import jaxtyping
import torch

from tests.checked_once import checked_at_first, count_anew

threads = os.environ.get("JUMPWIRE_TEST_THREADS", "1")
torch.set_num_threads(int(threads))
os.environ.setdefault("OMP_NUM_THREADS", threads)
os.environ.setdefault("HF_HUB_OFFLINE", "1")

jaxtyping.jaxtyped = checked_at_first(jaxtyping.jaxtyped)


def pytest_runtest_setup() -> None:
    """Every test checks the shapes of its first calls."""
    count_anew()
