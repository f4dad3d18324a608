"""Memory that is freed is there for the next step."""

import platform
import subprocess
import sys

import pytest
from conftest import ROOT

FAULTS = """
import resource, sys
import numpy as np
from skin_cancer.training import memory
if sys.argv[1] == "kept":
    memory.keep_freed()
np.ones(10_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(10_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(kind):
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, kind], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_what_is_freed_is_not_fetched_from_the_system_again():
    assert faults("kept") < faults("given back") / 10
