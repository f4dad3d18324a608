"""Trainings in seconds: an EfficientNet-Lite of one stage, where a test is not about the backbone.

`train` trains in this process; COMMAND, with the options of `skin_cancer.training`, in another.
"""

import json
import sys
from contextlib import contextmanager

import keras
import numpy as np
import pytest
from conftest import call

from skin_cancer.training import network, start
from skin_cancer.training.config import CHECKPOINT

STAGES = ((3, 2, 1, 16, 1),)
OPTIONS = ("--image-size=64", "--first-image-size=64", "--batch-size=16")
COMMAND = (sys.executable, "tests/tiny.py")


@contextmanager
def backbone():
    """Within it `build_network` builds EfficientNet-Lites of one stage."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(network, "LITE_STAGES", STAGES)
        patched.setitem(start.START_WEIGHTS, "imagenet", None)  # there are none for one stage
        yield


def train(*options):
    """Run `skin_cancer.training` with OPTIONS and these, as `call` does."""
    keras.utils.clear_session()  # layers have the names that they have in a process of their own
    with backbone():
        return call("training.train", *OPTIONS, *options)


def checkpoint(output):
    """Return the arrays of a checkpoint, as a list, and its record."""
    with np.load(output / CHECKPOINT) as file:
        arrays = [file[name] for name in file.files if name != "record"]
        return arrays, json.loads(str(file["record"]))


if __name__ == "__main__":
    from skin_cancer.training.train import main

    with backbone():
        main()
