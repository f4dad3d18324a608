"""Trainings in seconds: an EfficientNet-Lite of one stage, where a test is not about the backbone.

`train` trains in this process; COMMAND, with the options of `skin_cancer.training`, in another.
"""

import json
import sys
from contextlib import contextmanager
from unittest import mock

import keras
import numpy as np
from conftest import call

from skin_cancer.training import network, start
from skin_cancer.training.config import CHECKPOINT

STAGES = ((3, 2, 1, 16, 1),)
OPTIONS = ("--image-size=64", "--first-image-size=64", "--batch-size=16")
COMMAND = (sys.executable, "tests/tiny.py")


def shrink():
    """From now on let `build_network` build EfficientNet-Lites of one stage."""
    network.LITE_STAGES = STAGES
    start.START_WEIGHTS["imagenet"] = None  # there are none for one stage


@contextmanager
def backbone():
    """Let it build them for as long."""
    with (
        mock.patch.object(network, "LITE_STAGES", STAGES),
        mock.patch.dict(start.START_WEIGHTS, imagenet=None),
    ):
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

    shrink()
    main()
