"""The devices and processes that share the batches of a training."""

import contextlib
import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from skin_cancer.errors import TrainingError
from skin_cancer.training.keras_settings import keras

PROCESSES, NUMBER = "KERAS_DISTRIBUTION_NUM_PROCESSES", "KERAS_DISTRIBUTION_PROCESS_ID"


def join_processes() -> None:
    """Join the other processes of the run, where the environment names them.

    Raises:
        TrainingError: the backend is not JAX.
    """
    if PROCESSES not in os.environ:
        return
    if keras.backend.backend() != "jax":
        raise TrainingError(f"{PROCESSES} is set: several hosts train under KERAS_BACKEND=jax.")
    keras.distribution.initialize()


def is_first() -> bool:
    """Whether this process is the first of those that train together, also outside `scope`."""
    return os.environ.get(NUMBER, "0") == "0"


def scope() -> AbstractContextManager:
    """Return the scope in which all devices, if there are several, share each batch."""
    devices = _devices()
    if len(devices) == 1:
        return contextlib.nullcontext()
    if keras.backend.backend() == "jax":
        return keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False).scope()
    import tensorflow as tf  # not at the top: training itself runs without it

    return tf.distribute.MirroredStrategy(devices).scope()


def process() -> tuple[int, int]:
    """Return the number of this process, from 0, and how many of them train together."""
    distribution = keras.distribution.distribution()
    return (distribution.data_shard_id, distribution.num_processes) if distribution else (0, 1)


def shareable(images: int) -> int:
    """Return the next number of images that all devices can share alike."""
    devices = len(_devices())
    return math.ceil(images / devices) * devices


def check_batch(size: int) -> None:
    """Refuse batches that the devices cannot share alike.

    Raises:
        TrainingError: says how many images and devices there are.
    """
    if size != shareable(size):
        raise TrainingError(
            f"Batches of {size} images cannot be shared alike by "
            f"{len(_devices())} devices. Give a batch_size that their "
            "number divides, or make fewer of them visible."
        )


@contextmanager
def undistributed() -> Iterator[None]:
    """Under JAX, let each process compute whole batches: `predict` gathers no other's parts."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def _devices():
    """Return the names of the devices that share each batch: under PyTorch, of one."""
    if keras.backend.backend() == "torch":
        return ["default"]
    return keras.distribution.list_devices()
