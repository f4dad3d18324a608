"""Two trained networks to what ships: the one that has seen all lesions, and its measured twin."""

import dataclasses
from pathlib import Path

from skin_cancer.errors import TrainingError
from skin_cancer.evaluation import evaluate
from skin_cancer.model import bundle, bundle_writer
from skin_cancer.training import calibration

LOSS, AGREEMENT = 0.005, 0.98  # what the int8 graph may lose, and how often it must agree


def add_doubt(measured: Path, shipped: Path, data: Path | list[Path], predictions: Path) -> str:
    """Fit what both networks know of their limits, and choose their default graph.

    Args:
        measured: bundle of the network that never saw the holdout.
        shipped: bundle of the network that has seen all lesions.
        data: the dataset's folder or folders.
        predictions: table of what the measured network says of the fold that it left out.

    Returns:
        The graph, as of `choose_graph`.

    Raises:
        SkinCancerError: a bundle or the dataset cannot be used.
    """
    for path in (measured, shipped):
        calibration.add(path, data, predictions)
    graph = choose_graph(measured, shipped, data)
    if graph == "int8":  # what is familiar is told by the features that this graph gives
        for path in (measured, shipped):
            calibration.add(path, data, predictions)
    return graph


def choose_graph(measured: Path, shipped: Path, data: Path | list[Path]) -> str:
    """Make int8 the default graph of both networks where it answers as float does.

    It does if, on the fold that the measured network left out, it loses at most 0.005 of balanced
    accuracy in each archive and gives the same answer for 98 % of the images.

    Args:
        measured: bundle of the network that never saw the holdout.
        shipped: bundle of the network that has seen all lesions.
        data: the dataset's folder or folders.

    Returns:
        The graph, `int8` or `float`.

    Raises:
        SkinCancerError: a bundle or the dataset cannot be used.
        TrainingError: the measured network left out no fold.
    """
    fold = bundle.read(measured).training["recipe"]["fold"]
    if fold is None:
        raise TrainingError(f"{measured} left out no fold to choose its graph on. Train with one.")
    found = evaluate.evaluate(measured, data, str(fold), graph="int8")
    against = [of_archive["against float"] for of_archive in found]
    alike = all(one["value"] >= -LOSS and one["agreement"] >= AGREEMENT for one in against)
    graph = "int8" if alike else "float"
    for path in (measured, shipped):
        described = dataclasses.replace(bundle.read(path), default_graph=graph)
        bundle_writer.write(path, described, path)
    return graph


def publish(measured: Path, shipped: Path, models: Path = bundle.MODELS_FOLDER) -> None:
    """Put the network that ships into a folder, and beside it the one that is measured for it.

    The first has seen all lesions, so its card holds what was measured of the second. That one
    goes without figures.

    Args:
        measured: bundle of the network that never saw the holdout.
        shipped: bundle of the network that has seen all lesions.
        models: where the bundles `isic_lite0` and `isic_lite0_measured` are put.

    Raises:
        BundleError: a bundle is missing or damaged, or cannot be written.
    """
    twin = dataclasses.replace(bundle.read(measured), name=bundle.MEASURED_BUNDLE.name)
    _publish_shipped(twin, measured, shipped, models)
    _publish_measured(twin, measured, models)


def _publish_shipped(twin, measured, shipped, models):
    described = dataclasses.replace(
        bundle.read(shipped),
        name=bundle.DEFAULT_BUNDLE.name,
        metrics={
            title: {**measures, "network": twin.name} for title, measures in twin.metrics.items()
        },
        studies=twin.studies,
    )
    figures = {Path(name).name: (measured / name).read_bytes() for name in twin.figures}
    bundle_writer.write(models / described.name, described, shipped, figures)


def _publish_measured(twin, measured, models):
    bare = {title: {**measures, "figures": {}} for title, measures in twin.metrics.items()}
    plain = dataclasses.replace(twin, metrics=bare)
    bundle_writer.write(models / plain.name, plain, measured)
