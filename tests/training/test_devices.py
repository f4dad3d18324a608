"""Several devices and several hosts, as far as a machine without GPUs can show them.

Each training is a process of its own with as many logical CPU devices as it is to have. Adam
divides a gradient by its own size plus epsilon, so at the default of 1e-7 it turns the rounding
error of a vanishing gradient into a step of full length: by default 3 weights in 100,000 differ
by more than 1e-5 (at most 4e-4) between one device and two. Hence 1e-3 here. In float64, under
JAX, they are alike within 1e-8 with the default as well.

Batch normalisation is frozen where one device is compared with two: under TensorFlow each device
normalises by its own part of the batch, which is another computation. JAX takes all of the batch.
"""

import functools
import os
import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import tiny
from conftest import ROOT
from tiny import checkpoint

from skin_cancer import Classifier
from skin_cancer.diagnoses import ISIC_2018
from skin_cancer.training import train
from skin_cancer.training.config import CHECKPOINT, PREDICTIONS, TrainingConfig
from skin_cancer.training.devices import PROCESSES
from skin_cancer.training.start import start_network

SCRIPT = """
import functools
import sys

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * int(sys.argv[1])
    tf.config.set_logical_device_configuration(cpu, devices)
keras.optimizers.AdamW = functools.partial(keras.optimizers.AdamW, epsilon=1e-3)

sys.path.insert(0, "tests")
import tiny

from skin_cancer.training import train

del sys.argv[1]
tiny.shrink()
train.main()
"""
ONE_EPOCH = (*tiny.OPTIONS, "--epochs=1", "--fold=2")
FROZEN = (*ONE_EPOCH, "--normalisation=frozen", "--learning-rate=3e-3", "--no-bundle")


def start(backend, devices, data, output, *options, **environment):
    """Start to train on so many logical CPU devices; the process writes to OUTPUT/log."""
    flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    environment = {"KERAS_BACKEND": backend, "XLA_FLAGS": flags, **environment}
    arguments = [str(devices), f"--data={data}", f"--output={output}", *options]
    output.mkdir(exist_ok=True)
    with (output / "log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *arguments],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
        )


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def finish(run, output):
    assert run.wait(timeout=600) == 0, (output / "log").read_text()


@pytest.fixture(scope="module")
def first(ham10000, tmp_path_factory):
    """The bundle that all trainings here start from: each backend draws others by itself."""
    output = tmp_path_factory.mktemp("first")
    done = tiny.train(f"--data={ham10000}", f"--output={output}", *ONE_EPOCH)
    assert done.returncode == 0, done.stderr
    return output / "bundle"


@pytest.fixture(scope="module")
def frozen(first):
    """The options of trainings that are compared."""
    return (*FROZEN, f"--start-weights={first}")


@pytest.fixture(scope="module")
def start_weights(first):
    with tiny.backbone():
        config = TrainingConfig(start_weights=str(first), fold=2)
        return start_network(config, [diagnosis.code for diagnosis in ISIC_2018]).get_weights()


@pytest.fixture(scope="module")
def outputs(ham10000, frozen, tmp_path_factory):
    """Return the output folders of trainings of a backend on one device and on two."""

    @functools.cache
    def trained(backend):
        folders = [tmp_path_factory.mktemp("run") for _ in (1, 2)]
        runs = [
            start(backend, devices, ham10000, folder, *frozen)
            for devices, folder in enumerate(folders, 1)
        ]
        for run, folder in zip(runs, folders, strict=True):
            finish(run, folder)
        return folders

    return trained


def assert_same(output, other, start_weights):
    """Assert that two runs end with the same weights, far from the start, and predictions."""
    number = len(start_weights)
    ours, theirs = checkpoint(output)[0][:number], checkpoint(other)[0][:number]
    assert max(np.abs(a - b).max() for a, b in zip(ours, theirs, strict=True)) < 1e-5
    assert max(np.abs(a - b).max() for a, b in zip(ours, start_weights, strict=True)) > 5e-4
    tables = [pd.read_csv(folder / PREDICTIONS, index_col="image_id") for folder in (output, other)]
    pd.testing.assert_frame_equal(*tables, check_exact=False, rtol=0, atol=1e-5)


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_two_devices_train_as_one(backend, outputs, start_weights):
    assert_same(*outputs(backend), start_weights)


@pytest.mark.slow
def test_two_hosts_train_as_one(outputs, ham10000, frozen, start_weights, tmp_path):
    hosts = {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{free_port()}",
        PROCESSES: "2",
    }
    runs = [
        start("jax", 1, ham10000, tmp_path, *frozen, KERAS_DISTRIBUTION_PROCESS_ID=number, **hosts)
        for number in "01"
    ]
    for run in runs:
        finish(run, tmp_path)
    assert_same(outputs("jax")[0], tmp_path, start_weights)


@pytest.mark.slow
def test_a_resumed_run_on_two_devices_ends_with_the_same_weights(ham10000, tmp_path, picture):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    options = (*tiny.OPTIONS, "--epochs=2")
    run = start("tensorflow", 2, ham10000, whole, *options, "--no-bundle")
    while not (whole / CHECKPOINT).exists():
        assert run.poll() is None, (whole / "log").read_text()
        time.sleep(0.01)
    resumed.mkdir()
    shutil.copy(whole / CHECKPOINT, resumed)
    finish(run, whole)
    finish(start("tensorflow", 2, ham10000, resumed, *options), resumed)
    assert "holds this run up to epoch 1." in (resumed / "log").read_text()
    ours, theirs = checkpoint(resumed)[0], checkpoint(whole)[0]
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    prediction = Classifier.load(resumed / "bundle").predict(picture)
    assert sum(prediction.probabilities.values()) == pytest.approx(1)


@pytest.mark.slow
def test_batches_that_devices_cannot_share_are_refused(ham10000, tmp_path):
    run = start("tensorflow", 3, ham10000, tmp_path, *FROZEN)
    assert run.wait() != 0
    log = (tmp_path / "log").read_text()
    assert "Batches of 16 images cannot be shared alike by 3 devices" in log
    assert "Traceback" not in log


def test_several_hosts_need_jax(monkeypatch):
    monkeypatch.setenv(PROCESSES, "2")
    monkeypatch.setattr(sys, "argv", ["training"])
    with pytest.raises(SystemExit, match="KERAS_BACKEND=jax"):
        train.main()
