"""How fast things are: in alternation, as ratios within one run, with their spread."""

import dataclasses
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from ai_edge_litert.interpreter import Interpreter
from dask.distributed import Client

from skin_cancer.data import dataset
from skin_cancer.evaluation import explanation
from skin_cancer.images import decoding, quality, squares
from skin_cancer.images.quality import Square
from skin_cancer.model import bundle
from skin_cancer.model.classifier import Classifier
from skin_cancer.notebook import ROOT
from skin_cancer.scale import scoring
from skin_cancer.training import train
from skin_cancer.training.batches import TrainingImages
from skin_cancer.training.config import TrainingConfig, divide, read_divided
from skin_cancer.training.keras_settings import keras
from skin_cancer.training.network import build_outputs

REST = 0.05  # seconds before each block of calls, in which what others left running ends
MB = 1e6


def alternate(calls: dict[str, Callable], rounds: int, block: int = 1) -> pd.DataFrame:
    """Time calls in turn, in another order each round, so that whatever slows the machine hits all.

    Args:
        calls: functions without arguments, by name; each is called twice before.
        rounds: how often each is timed.
        block: calls of one function in a row, the first third of which is not timed. Engines with
            threads need some: those of the one before still wait, busily, for more work, and take
            a core from the next.

    Returns:
        Milliseconds, one row a round, one column a call: the median of its block.
    """
    for call in calls.values():
        call()
        call()
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(rounds):
        order = rng.permutation(list(calls))
        rows.append({name: _milliseconds(calls[name], block) for name in order})
    return pd.DataFrame(rows)[list(calls)]


def _milliseconds(call, block):
    time.sleep(REST)
    ends = [time.perf_counter()]
    for _ in range(block):
        call()
        ends.append(time.perf_counter())
    return 1000 * float(np.median(np.diff(ends)[block // 3 :]))


def compared(times: pd.DataFrame, base: str) -> pd.DataFrame:
    """Summarise what `alternate` measured.

    Args:
        times: milliseconds, or anything of which less is better.
        base: the column that the others are compared with.

    Returns:
        For each column: `median`, `from` and `to` (quartiles), `ratio` to the base, median over
        rounds, and `ratio from`, `ratio to`, its quartiles.
    """
    ratios = times.div(times[base], axis=0)
    found = times.quantile([0.5, 0.25, 0.75]).T.set_axis(["median", "from", "to"], axis=1)
    names = ["ratio", "ratio from", "ratio to"]
    return found.join(ratios.quantile([0.5, 0.25, 0.75]).T.set_axis(names, axis=1))


def stages(folder: str | Path, picture: bytes) -> dict[str, Callable]:
    """Return what an answer is made of, step by step, and all of it.

    Args:
        folder: of a bundle.
        picture: bytes of an image file.
    """
    classifier = Classifier.load(folder)
    image = decoding.decode(picture)
    square = squares.centre_square(image, classifier.description.input_size)
    found = classifier.predict(image)
    network = litert(folder, "float", None)

    def doubt():
        quality.check(Square.of(image))
        squares.appearance(square)

    return {
        "decode": lambda: decoding.decode(picture),
        "crop and resize": lambda: squares.centre_square(image, len(square)),
        "network, float": lambda: network(square[None]),
        "heatmaps of all diagnoses": lambda: (
            dataclasses.replace(found).heatmaps
        ),  # a copy has none yet
        "quality and familiarity": doubt,
        "all": lambda: classifier.predict(picture).heatmaps,
    }


def whole(folder: str | Path, picture: bytes) -> dict[str, Callable]:
    """Return ways from the bytes of a picture to probabilities and heatmaps.

    Keras is used as its guides do: `predict` for the probabilities, then a gradient for the
    Grad-CAM heatmap of each diagnosis.

    Args:
        folder: of a bundle with a Keras model.
        picture: bytes of an image file.
    """
    network = explanation.load_network(folder)
    description = bundle.read(folder)
    size, count = description.input_size, len(description.diagnoses)

    def with_keras(diagnoses):
        square = squares.centre_square(decoding.decode(picture), size)
        network.predict(square[None], verbose=0)
        for target in range(diagnoses):
            explanation.explain(network, square, target, "Grad-CAM")

    ours = {graph: Classifier.load(folder, graph) for graph in bundle.GRAPHS}
    return {
        "ours, float": lambda: ours["float"].predict(picture).heatmaps,
        "ours, int8": lambda: ours["int8"].predict(picture).heatmaps,
        "Keras predict and Grad-CAM of all diagnoses": lambda: with_keras(count),
        "Keras predict and Grad-CAM of one diagnosis": lambda: with_keras(1),
    }


def litert(folder: str | Path, graph: str, threads: int | None) -> Callable:
    """Return a function from uint8 squares (n, size, size, 3) to logits, maps and features."""
    path = str(Path(folder) / bundle.GRAPHS[graph])
    run = Interpreter(path, num_threads=threads or os.cpu_count()).get_signature_runner()
    return lambda squares: list(run(image=squares).values())


def engines(folder: str | Path, threads: int) -> dict[str, Callable]:
    """Return the same network in several engines, each with so many threads.

    ONNX Runtime and OpenVINO are left out where they are not installed (`benchmarks` extra).

    Args:
        folder: of a bundle with a Keras model.
        threads: of each engine.

    Returns:
        Functions from uint8 squares (n, size, size, 3) to a list of logits, maps and features, in
        any order, by name.
    """
    found = {f"LiteRT, {graph} (ours)": litert(folder, graph, threads) for graph in bundle.GRAPHS}
    if importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("tf2onnx"):
        with tempfile.TemporaryDirectory() as aside:
            graph = _onnx_graph(folder, Path(aside) / "model.onnx")
            found["ONNX Runtime, float"] = _onnx_runtime(graph, threads)
    if importlib.util.find_spec("openvino"):
        for graph, name in bundle.GRAPHS.items():
            found[f"OpenVINO, {graph}"] = _openvino(Path(folder) / name, threads)
    return found


def compiled(folder: str | Path) -> Callable:
    """Return the network with its maps as one `tf.function`, with as many threads as cores."""
    import tensorflow as tf

    model, size = _outputs(folder)
    shape = tf.TensorSpec((None, size, size, 3), tf.uint8)
    run = tf.function(model, input_signature=[shape])
    return lambda squares: [value.numpy() for value in run(squares).values()]


def logits(outputs: list[np.ndarray]) -> np.ndarray:
    """Return the logits (n, diagnoses) among what an engine gives."""
    return min(outputs, key=np.size)


def _outputs(folder):
    size = bundle.read(folder).input_size
    return build_outputs(explanation.load_network(folder), size), size


def _onnx_graph(folder, path):
    import tensorflow as tf
    import tf2onnx

    model, size = _outputs(folder)
    shape = (tf.TensorSpec((None, size, size, 3), tf.uint8, name="image"),)
    run = tf.function(model)
    graph, _ = tf2onnx.convert.from_function(run, input_signature=shape, output_path=str(path))
    return graph.SerializeToString()


def _onnx_runtime(graph, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options)
    return lambda squares: session.run(None, {"image": squares})


def _openvino(path, threads):
    import openvino

    options = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = openvino.Core().compile_model(path, "CPU", options).create_infer_request()
    return lambda squares: list(request.infer([squares]).values())


def archive(folder: Path, pictures: list[bytes], count: int) -> Path:
    """Write a folder of so many pictures; the same ones again and again, as links to one file.

    Args:
        folder: that does not exist yet.
        pictures: bytes of image files.
        count: of the files.
    """
    folder.mkdir(parents=True)
    for number in range(count):
        path = folder / f"{number:06}.jpg"
        if number < len(pictures):
            path.write_bytes(pictures[number])
        else:
            path.hardlink_to(folder / f"{number % len(pictures):06}.jpg")
    return folder


def loops(bundle_folder: str | Path, pictures: Path) -> dict[str, Callable[[], int]]:
    """Return ways to score a folder of pictures in this process; each returns how many it scored.

    Args:
        bundle_folder: of a bundle with a Keras model.
        pictures: a folder of JPEG files.
    """
    paths = sorted(str(path) for path in pictures.iterdir())
    network = explanation.load_network(bundle_folder)
    classifier = Classifier.load(bundle_folder, threads=1)
    size = bundle.read(bundle_folder).input_size

    def plain():
        for path in paths:
            square = squares.centre_square(dataset.read_image(path), size)
            network.predict(square[None], verbose=0)
        return len(paths)

    def in_batches():
        network.predict(_tf_data(paths, size), verbose=0)
        return len(paths)

    def ours():
        return sum(1 for _ in classifier.predict_many(paths))

    return {
        "ours, one thread": ours,
        "loop over Keras predict": plain,
        "tf.data and Keras predict in batches of 32": in_batches,
    }


def _tf_data(paths, size):
    import tensorflow as tf

    def read(path):
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        side = tf.minimum(tf.shape(image)[0], tf.shape(image)[1])
        square = tf.image.resize_with_crop_or_pad(image, side, side)
        return tf.image.resize(square, (size, size), "area")

    images = tf.data.Dataset.from_tensor_slices(paths).map(read, tf.data.AUTOTUNE)
    return images.batch(32).prefetch(tf.data.AUTOTUNE)


def rate(call: Callable[[], int]) -> float:
    """Return how many images a second a call scores."""
    start = time.perf_counter()
    return call() / (time.perf_counter() - start)


def batch_rate(pictures: Path, client: Client, bundle_folder: str | Path) -> dict[str, float]:
    """Score a folder on a cluster whose workers have loaded the model.

    Args:
        pictures: a folder of image files.
        client: of a Dask cluster.
        bundle_folder: of a bundle.

    Returns:
        `images`, `images a second`, and `memory`, that of the largest worker after it, in MB.
    """
    count, workers = len(list(pictures.iterdir())), len(_workers(client))
    with tempfile.TemporaryDirectory() as aside:
        warm = archive(Path(aside) / "warm", [next(pictures.iterdir()).read_bytes()], 4 * workers)
        scoring.score(str(warm), f"{aside}/first", client, bundle_folder, shard_size=1)
        size = max(1, min(500, count // (8 * workers)))
        scores = f"{aside}/scores"
        start = time.perf_counter()
        scoring.score(str(pictures), scores, client, bundle_folder, shard_size=size)
        seconds = time.perf_counter() - start
    client.wait_for_workers(workers, timeout=60)  # one may be lost for a moment on a busy machine
    time.sleep(1)  # until every worker has told the scheduler how it is
    memory = max(worker["metrics"]["memory"] for worker in _workers(client)) / MB
    return {"images": count, "images a second": count / seconds, "memory": memory}


def _workers(client):
    return client.scheduler_info(n_workers=-1)["workers"].values()


@contextmanager
def page(
    tensorflow: bool = False, waiting: bool = True
) -> Iterator[tuple[str, Callable[[], list[psutil.Process]]]]:
    """Serve the upload page as `make app` does, from a folder of its own.

    Args:
        tensorflow: whether its kernels import TensorFlow first.
        waiting: whether a kernel waits for the next visitor.

    Yields:
        Its address, and a function that returns the processes of its kernels.
    """
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        _copy_page(Path(folder), tensorflow)
        command = [Path(sys.executable).with_name("voila"), "app.ipynb", "--no-browser"]
        command += [f"--port={port}", f"--VoilaConfiguration.preheat_kernel={waiting}"]
        with open(Path(folder) / "log", "w", encoding="utf-8") as log:
            server = psutil.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            _wait_until(lambda: b"is running at" in (Path(folder) / "log").read_bytes())
            yield f"http://localhost:{port}/", lambda: _kernels(server)
        finally:
            for process in [server, *server.children(recursive=True)]:
                process.kill()
            server.wait()


def _copy_page(folder, tensorflow):
    shutil.copy(ROOT / "voila.json", folder)
    page = json.loads((ROOT / "app.ipynb").read_text(encoding="utf-8"))
    page["cells"][0]["source"][:0] = ["import tensorflow\n"] * tensorflow
    (folder / "app.ipynb").write_text(json.dumps(page), encoding="utf-8")


def _kernels(server):
    found = server.children(recursive=True)
    return [child for child in found if "ipykernel_launcher" in child.cmdline()]


def _wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("The page's server did not start.")
        time.sleep(0.05)


def visit(address: str, visitors: int) -> list[float]:
    """Open the page for so many visitors at once.

    Returns:
        Seconds until each has the whole page, its kernel's cell executed.
    """

    def opened(_):
        start = time.perf_counter()
        with urllib.request.urlopen(address, timeout=300) as answer:
            text = answer.read().decode()
        if "application/vnd.jupyter.widget-view+json" not in text:
            raise RuntimeError("The page came without its widgets.")
        return time.perf_counter() - start

    with ThreadPoolExecutor(visitors) as pool:
        return list(pool.map(opened, range(visitors)))


def visits(crowds: list[int], tensorflow: bool = False) -> dict:
    """Let visitors come to a page of which no kernel waits for them.

    Args:
        crowds: how many at once; each crowd comes to a server of its own, since kernels stay.
        tensorflow: whether the page imports TensorFlow.

    Returns:
        `memory`, what a visitor's kernel keeps, in MB; `waits`, for each size of a crowd the
        seconds until its last visitor has the page.
    """
    waits, memory = {}, []
    for count in crowds:
        with page(tensorflow, waiting=False) as (address, kernels):
            waits[count] = max(visit(address, count))
            memory += [kernel.memory_info().rss / MB for kernel in kernels()]
    return {"memory": float(np.median(memory)), "waits": waits}


class Repeated(keras.utils.PyDataset):
    """The same batch again and again: a training without its input pipeline."""

    def __init__(self, batch: tuple[np.ndarray, np.ndarray], steps: int) -> None:
        super().__init__()
        self.batch, self.steps = batch, steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, _: int) -> tuple[np.ndarray, np.ndarray]:
        return self.batch


def training_times(config: TrainingConfig, steps: int, rounds: int) -> pd.DataFrame:
    """Time the training of a step's images, with the whole input pipeline and on one fixed batch.

    Args:
        config: of a training; nothing is written.
        steps: of each timing.
        rounds: how often both are timed.

    Returns:
        Milliseconds an image, one row a round: `fixed batch` and `whole pipeline`.
    """
    table, _ = divide(read_divided(config), config.recipe)
    table = table.iloc[np.arange(steps * config.batch_size) % len(table)].reset_index(drop=True)
    network = train.compiled_network(config, table)
    images = TrainingImages(table, config, config.epochs)
    fixed = Repeated(images[0], steps)
    options = {"shuffle": False, "verbose": 0, "steps_per_epoch": steps}
    calls = {
        "fixed batch": lambda: network.fit(fixed, **options),
        "whole pipeline": lambda: network.fit(images, **options),
    }
    return alternate(calls, rounds) / (steps * images.batch_size)


def other_backends(config: TrainingConfig, steps: int, rounds: int) -> dict[str, float]:
    """Time the fixed batch of `training_times` under PyTorch, if it is installed.

    Returns:
        Median milliseconds an image, by the name of the backend.
    """
    if not importlib.util.find_spec("torch"):
        return {}
    options = [config.data, config.image_size, config.batch_size, steps, rounds]
    command = [sys.executable, "-m", "skin_cancer.scale.benchmarks", *map(str, options)]
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    text = subprocess.check_output(command, env=environment, cwd=ROOT, text=True)
    return {"torch": float(text.split()[-1])}


def main(data: str, *sizes: str) -> None:
    """Print what `other_backends` asks of a process with another backend."""
    size, batch_size, steps, rounds = map(int, sizes)
    config = TrainingConfig(
        data=data, image_size=size, first_image_size=size, batch_size=batch_size
    )
    print(training_times(config, steps, rounds)["fixed batch"].median())


if __name__ == "__main__":
    main(*sys.argv[1:])
