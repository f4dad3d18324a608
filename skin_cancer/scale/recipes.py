"""Compare recipes by small trainings, and train a network by the one found; from the shell.

    python -m skin_cancer.scale.recipes screening --data HAM10000_FOLDER --output runs/recipe

A finished training is not repeated and an interrupted one goes on, so the same command can be
given again at any time.
"""

import argparse
import dataclasses
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import pandas as pd
from tqdm.auto import tqdm

from skin_cancer.data import dataset, splits
from skin_cancer.errors import SkinCancerError, TrainingError
from skin_cancer.evaluation import evaluate, metrics
from skin_cancer.images import cleaning, lesion
from skin_cancer.model import bundle, bundle_writer, card
from skin_cancer.training import calibration
from skin_cancer.training.config import PREDICTIONS, TrainingConfig

TRAVEL = "vidir_modern"  # the source that screening leaves out

# Small and short, so that many can be compared; each lever is pulled alone.
SMALL = {
    "image_size": 128,
    "first_image_size": 128,
    "epochs": 4,
    "normalisation": "frozen",
    "learning_rate": 3e-4,
}
LEVERS = {
    "base": {},
    "augmentation 2": {"augmentation": 2.0},
    "style mixing": {"style_mixing": 0.5},
    "rebalanced by half": {"rebalance": 0.5},
    "sources rebalanced by half": {"source_rebalance": 0.5},
    "mixup": {"mixup": 0.2},
    "colour constancy": {"data": "shades_of_grey"},
    "cropped to the lesion": {"data": "crop_to_lesion"},
    "hairs removed": {"data": "remove_hairs"},
    "learning rate 7e-4": {"learning_rate": 7e-4},
    "statistics trained": {"normalisation": "trained", "learning_rate": 7e-4},
}

# Copies of the dataset, each picture changed for training and validation alike.
PREPARATIONS = {
    "shades_of_grey": cleaning.shades_of_grey,
    "crop_to_lesion": lesion.crop_to_lesion,
    "remove_hairs": cleaning.remove_hairs,
}

# The recipe of the network: a first stage with the defaults, then two that go on from it.
SECOND = {
    "start_weights": ("first",),
    "first_image_size": 160,
    "last_image_size": 192,
    "epochs": 12,
    "normalisation": "frozen",
    "learning_rate": 3e-4,
    "averaging": 0.998,
    "augmentation": 1.5,
    "rebalance": 0.5,
}
THIRD = {
    **SECOND,
    "start_weights": ("second",),
    "epochs": 6,
    "learning_rate": 1.5e-4,
    "seed": 1,
}
SMALL_SECOND = {**SECOND, "epochs": 5, "averaging": 0.995}
SMALL_THIRD = {**THIRD, "epochs": 3, "averaging": 0.995}
SOURCES = ("vidir_molemax", "vidir_modern", "rosendahl", "vienna_dias")
SECOND_STAGE, THIRD_STAGE = "second stage", "third stage"
OUT_OF_FOLD = "out_of_fold.csv"
LOSS, AGREEMENT = 0.005, 0.98  # what the int8 graph may lose, and how often it must agree


def screening() -> dict[str, dict]:
    """Return each lever's options, once with a fold and once with a source left out."""
    left_out = {"fold 0": {"fold": 0}, f"without {TRAVEL}": {"source": TRAVEL}}
    return {
        f"{lever}, {name}": {**SMALL, **part, **options}
        for lever, options in LEVERS.items()
        for name, part in left_out.items()
    }


def sources() -> dict[str, dict]:
    """Return the small recipe, with each source left out."""
    return {f"base, without {source}": {**SMALL, "source": source} for source in SOURCES}


def folds() -> dict[str, dict]:
    """Return all stages of the network's recipe, smaller, with each fold left out."""
    steps = {"base": SMALL, SECOND_STAGE: SMALL_SECOND, THIRD_STAGE: SMALL_THIRD}
    before = dict(zip([SECOND_STAGE, THIRD_STAGE], steps, strict=False))
    return {
        f"{stage}, fold {fold}": {
            **options,
            **({"start_weights": (f"{before[stage]}, fold {fold}",)} if stage in before else {}),
            "fold": fold,
        }
        for stage, options in steps.items()
        for fold in range(splits.FOLDS)
    }


def sizes() -> dict[str, dict]:
    """Return the small recipe with larger pictures and with a larger network.

    The larger network's start weights are not in the repository: `models/imagenet/convert.py 2`
    makes them.
    """
    levers = {
        "base": {},
        "160 pixels": {"image_size": 160, "first_image_size": 160},
        "Lite2": {"backbone": "efficientnet_lite2"},
    }
    return {f"{name}, fold 0": {**SMALL, **options, "fold": 0} for name, options in levers.items()}


def further() -> dict[str, dict]:
    """Return what may follow the first stage, smaller, and means of weights; on fold 0."""
    base, second, shorter, third = (
        f"{name}, fold 0" for name in ("base", SECOND_STAGE, "shorter second stage", THIRD_STAGE)
    )
    common = {**SMALL_SECOND, "start_weights": (base,), "fold": 0}
    mean = {"epochs": 0, "normalisation": "frozen", "fold": 0}
    return {
        base: {**SMALL, "fold": 0},
        second: common,
        f"{SECOND_STAGE} without rebalancing, fold 0": {**common, "rebalance": 0.0},
        shorter: {**SMALL_THIRD, "start_weights": (base,), "fold": 0},
        third: {**SMALL_THIRD, "start_weights": (second,), "fold": 0},
        "mean of second and shorter, fold 0": {**mean, "start_weights": (second, shorter)},
        "mean of second and third, fold 0": {**mean, "start_weights": (second, third)},
    }


def distillation() -> dict[str, dict]:
    """Return the small recipe without and with teachers."""
    base = {**SMALL, "fold": 0}
    return {"base, fold 0": base, "distilled, fold 0": {**base, "targets": OUT_OF_FOLD}}


def measured() -> dict[str, dict]:
    """Return the network that the holdout's figures are of."""
    return {"first": {}, "second": SECOND, "measured": THIRD}


def shipped() -> dict[str, dict]:
    """Return the network that ships: second and third stage are on all lesions."""
    second, name = {**SECOND, "holdout": "included"}, "second on all lesions"
    third = {**THIRD, "start_weights": (name,), "holdout": "included"}
    return {"first": {}, name: second, "shipped": third}


STAGES = {
    function.__name__: function
    for function in (screening, sizes, further, sources, folds, distillation, measured, shipped)
}
STARTS = {
    start
    for stage in STAGES.values()
    for options in stage().values()
    for start in options.get("start_weights", ())
}


def folder(output, name: str) -> Path:
    """Return the output folder of a named training."""
    return Path(output) / re.sub(r"\W+", "_", name)


def command(name: str, options: dict, output, data) -> list[str]:
    """Return the shell's command of a training, with the options that differ from the defaults."""
    defaults = dataclasses.asdict(TrainingConfig())
    folders = data if isinstance(data, list) else [data]
    given = {"data": ",".join(map(str, folders)), **options, "output": str(folder(output, name))}
    if "data" in options:
        given["data"] = str(folder(output, options["data"]))
    if "targets" in options:
        given["targets"] = str(Path(output) / options["targets"])
    if "start_weights" in options:
        starts = [str(folder(output, start) / "bundle") for start in options["start_weights"]]
        given["start_weights"] = ",".join(starts)
    changed = {key: value for key, value in given.items() if value != defaults[key]}
    arguments = [f"--{key.replace('_', '-')}={value}" for key, value in changed.items()]
    end = [] if _ends_in_bundle(name, options) else ["--no-bundle"]
    return ["python", "-m", "skin_cancer.training", *arguments, *end]


def _leaves_out(options):
    return "fold" in options or "source" in options


def _ends_in_bundle(name, options):
    """Return whether a training ends in more than predictions of what it left out."""
    return name in STARTS or not _leaves_out(options)


def _finished(name, options, output):
    end = f"bundle/{bundle.DESCRIPTION}" if _ends_in_bundle(name, options) else PREDICTIONS
    return (folder(output, name) / end).exists()


def run(trainings: dict[str, dict], output, data, jobs: int) -> None:
    """Run the trainings that are not finished, some at a time.

    Args:
        trainings: name to options of `TrainingConfig`.
        output: folder with a folder and a log for each training.
        data: the dataset's folder.
        jobs: how many to run at a time; the processor's cores are shared among them.

    Raises:
        TrainingError: names the trainings that failed and their logs.
    """
    Path(output).mkdir(parents=True, exist_ok=True)
    todo = [name for name in trainings if not _finished(name, trainings[name], output)]
    for preparation in {trainings[name]["data"] for name in todo if "data" in trainings[name]}:
        prepare(data, folder(output, preparation), PREPARATIONS[preparation])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = str(max(1, cores // jobs))
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads}

    def work(name):
        arguments = command(name, trainings[name], output, data)
        with folder(output, name).with_suffix(".log").open("w") as log:
            done = subprocess.run(
                [sys.executable, *arguments[1:]],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
        return name, done.returncode

    for wave in _waves({name: trainings[name] for name in todo}):
        with ThreadPoolExecutor(jobs) as pool:
            done = list(tqdm(pool.map(work, wave), total=len(wave), unit="training"))
        failed = [str(folder(output, name).with_suffix(".log")) for name, code in done if code]
        if failed:
            raise TrainingError(f"{len(failed)} trainings failed; read {', '.join(failed)}.")


def _waves(trainings):
    """Yield names of trainings such that each comes after those that it goes on from."""
    left = set(trainings)
    while left:
        wave = [
            name
            for name, options in trainings.items()
            if name in left and left.isdisjoint(options.get("start_weights", ()))
        ]
        yield wave
        left -= set(wave)


def prepare(data, copy: Path, change) -> None:
    """Write a copy of a dataset with each picture changed, as JPEG of quality 98; once.

    Args:
        data: the folder of one dataset.
        copy: the new folder.
        change: uint8 RGB (height, width, 3) to the same with any height and width.

    Raises:
        DatasetError: the dataset, or an image of it, cannot be used.
        TrainingError: several folders are given.
    """
    if copy.exists():
        return
    if isinstance(data, list):
        raise TrainingError(f"{copy.name} is prepared from one dataset folder. Name one alone.")
    aside = copy.with_name(f".{copy.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    for path in tqdm(dataset.read(data)["path"], desc=copy.name, unit="image"):
        place = aside / path.relative_to(data)
        place.parent.mkdir(parents=True, exist_ok=True)
        picture = change(dataset.read_image(path))
        cv2.imwrite(str(place), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
    for table in Path(data).glob("*.csv"):
        shutil.copy(table, aside)
    aside.rename(copy)


def write_out_of_fold(output) -> Path:
    """Write the probabilities that each image has from a network that was not trained on it.

    They come from the last stage of `folds`, under the balanced prior; the holdout's images
    have none.

    Args:
        output: folder with a folder for each training.

    Returns:
        The table's path.

    Raises:
        TrainingError: a fold's training is not finished.
    """
    parts = []
    for name, options in folds().items():
        if not _finished(name, options, output):
            raise TrainingError(f"{name} is not finished in {output}: run the stage folds first.")
        if name.startswith(THIRD_STAGE):
            parts.append(dataset.read_probabilities(folder(output, name) / PREDICTIONS))
    path = Path(output) / OUT_OF_FOLD
    pd.concat(parts).to_csv(path, float_format="%.6g")
    return path


def compare(trainings: dict[str, dict], output, table: pd.DataFrame) -> pd.DataFrame:
    """Measure the finished trainings on what each left out, and against the first of its kind.

    Args:
        trainings: name to options of `TrainingConfig`.
        output: folder with a folder for each training.
        table: the images, as `dataset.split` returns them.

    Returns:
        One row a finished training: `mean recall` of the diagnoses that occur, with its interval;
        `gain` against the first training with the same part left out, paired, with its interval,
        and None for that first one; area under the ROC curve of `melanoma against nevus` with its
        interval. Where all folds are finished, a row of all their images together follows.

    Raises:
        TrainingError: none is finished.
    """
    codes, first, rows = dataset.codes(table), {}, {}
    for name, (left_out, found) in _predictions(trainings, output).items():
        part = table.set_index("image_id", drop=False).loc[found.index]
        probabilities = found[list(codes)].to_numpy()
        base = first.setdefault(left_out, probabilities)
        gain = metrics.difference(part, probabilities, base, codes)
        rows[name] = {
            "mean recall": metrics.mean_recall(part, probabilities, codes),
            "gain": None if base is probabilities else gain,
            "melanoma against nevus": metrics.melanoma_against_nevus(part, probabilities, codes),
        }
    if not rows:
        raise TrainingError(f"No training of this stage is finished in {output}.")
    return pd.DataFrame(rows).T.rename_axis("training")


def _predictions(trainings, output):
    """Return name to (what was left out, predictions of it), all folds together included."""
    found, levers = {}, {}
    for name, options in trainings.items():
        path = folder(output, name) / PREDICTIONS
        if not path.exists():
            continue
        predictions = dataset.read_probabilities(path)
        found[name] = options.get("source") or options.get("fold"), predictions
        if "fold" in options:
            lever = name.removesuffix(f", fold {options['fold']}")
            levers.setdefault(lever, []).append(predictions)
    for lever, parts in levers.items():
        if len(parts) == splits.FOLDS:
            found[f"{lever}, all folds"] = "all folds", pd.concat(parts)
    return found


def choose_graph(output, data) -> str:
    """Make int8 the default graph of both networks where it answers as float does.

    It does if, on the holdout, it loses at most 0.005 of balanced accuracy and gives the same
    answer for 98 % of the images; that of `measured` is tried.

    Args:
        output: folder with a folder for each training; `measured` and `shipped` are finished.
        data: the dataset's folder.

    Returns:
        The graph, `int8` or `float`.

    Raises:
        SkinCancerError: a bundle or the dataset cannot be used.
    """
    folders = [folder(output, name) / "bundle" for name in ("measured", "shipped")]
    against = evaluate.evaluate(folders[0], data, graph="int8")["against float"]
    alike = against["value"] >= -LOSS and against["agreement"] >= AGREEMENT
    graph = "int8" if alike else "float"
    for path in folders:
        described = dataclasses.replace(bundle.read(path), default_graph=graph)
        bundle_writer.write(path, described, path)
    return graph


def add_doubt(output, data) -> None:
    """Fit what both networks know of their limits, and choose their default graph.

    Args:
        output: folder with a folder for each training; `folds`, `measured` and `shipped` are
            finished.
        data: the dataset's folder.

    Raises:
        SkinCancerError: a training is not finished, a bundle or the dataset cannot be used.
    """
    predictions = write_out_of_fold(output)
    folders = [folder(output, name) / "bundle" for name in ("measured", "shipped")]
    for path in folders:
        calibration.add(path, data, predictions)
    graph = choose_graph(output, data)
    print(f"default graph: {graph}")
    if graph == "int8":  # what is familiar is told by the features that this graph gives
        for path in folders:
            calibration.add(path, data, predictions)


def publish(output, models=bundle.MODELS_FOLDER) -> None:
    """Put the network that ships into a folder, and beside it the one that is measured for it.

    The first has seen all lesions, so its card holds what was measured of the second. That one
    goes without its Keras model and without figures.

    Args:
        output: folder with a folder for each training; `measured` and `shipped` are finished.
        models: where the bundles `ham10000_lite0` and `ham10000_lite0_measured` are put.

    Raises:
        BundleError: a bundle is missing or damaged, or cannot be written.
    """
    ours, theirs = (folder(output, name) / "bundle" for name in ("shipped", "measured"))
    twin = dataclasses.replace(bundle.read(theirs), name=bundle.MEASURED_BUNDLE.name)
    bare = {title: {**measures, "figures": {}} for title, measures in twin.metrics.items()}
    described = dataclasses.replace(
        bundle.read(ours),
        name=bundle.DEFAULT_BUNDLE.name,
        metrics={
            title: {**measures, "network": twin.name} for title, measures in twin.metrics.items()
        },
        studies=twin.studies,
    )
    figures = {Path(name).name: (theirs / name).read_bytes() for name in twin.figures}
    bundle_writer.write(Path(models) / described.name, described, ours, figures)
    with tempfile.TemporaryDirectory() as scratch:
        plain = dataclasses.replace(twin, metrics=bare)
        for name in plain.files:
            shutil.copy(theirs / name, scratch)
        bundle_writer.write(Path(models) / twin.name, plain, scratch)


def shown(table: pd.DataFrame, stage: str) -> pd.DataFrame:
    """Return the table of `compare` as it is printed and saved.

    Columns without a figure are left out; that of the stage `sources` ends in the sources' mean.
    """
    table = table.dropna(axis=1, how="all")
    if stage == "sources" and len(table) == len(SOURCES):
        table.loc[evaluate.SOURCES_MEAN] = table.map(lambda cell: cell["value"]).mean()
    return table


def main():
    """Run a stage from the shell and print its table, or put the networks into `models/`."""
    parser = argparse.ArgumentParser(
        prog="python -m skin_cancer.scale.recipes", description=__doc__.split("\n")[0]
    )
    parser.add_argument("stage", choices=[*STAGES, "doubt", "publish"])
    parser.add_argument("--data", default="", help="dataset folder; without it ISIC_DATA_DIR")
    parser.add_argument("--output", default="runs/recipe", help="folder for all trainings")
    parser.add_argument("--jobs", default=1, type=int, help="trainings at a time")
    parser.add_argument("--list", action="store_true", help="only print the trainings' commands")
    parser.add_argument("--table", action="store_true", help="only measure what is finished")
    parser.add_argument("--save", help="bundle to whose card the table is added")
    given = parser.parse_args()
    try:
        if given.stage == "publish":
            return publish(given.output)
        data = dataset.data_folder(given.data)
        if given.stage == "doubt":
            return add_doubt(given.output, data)
        _run_stage(given, data)
    except SkinCancerError as error:
        raise SystemExit(str(error)) from error


def _run_stage(given, data):
    trainings = STAGES[given.stage]()
    if given.list:
        for name, options in trainings.items():
            print(f"{name}: {shlex.join(command(name, options, given.output, data))}")
        return
    if not given.table:
        if any("targets" in options for options in trainings.values()):
            write_out_of_fold(given.output)
        run(trainings, given.output, data, given.jobs)
    if not all(_leaves_out(options) for options in trainings.values()):
        return
    found = compare(trainings, given.output, splits.split(dataset.read(data)))
    table = shown(found, given.stage)
    print(table.map(card.cell).to_string())
    if given.save:
        shell = f"python -m skin_cancer.scale.recipes {given.stage}"
        evaluate.add_study(given.save, f"Stage {given.stage}", table, shell)


if __name__ == "__main__":
    main()
