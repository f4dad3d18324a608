"""An archive of pictures to a table: on Dask, in shards that are whole or not there.

Each worker holds the model once and fetches, scores and writes one shard at a time. What is
finished is not done again: the same call goes on with an interrupted run, or with an archive that
has grown.
"""

import ctypes
import hashlib
import itertools
import json
import os
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cv2
import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from dask.distributed import Client, LocalCluster, as_completed
from tqdm.auto import tqdm

from skin_cancer import folders, priors
from skin_cancer.diagnoses import BY_CODE
from skin_cancer.errors import ArchiveError, ClusterError, ImageError
from skin_cancer.images import decoding, kinds, squares
from skin_cancer.model import bundle
from skin_cancer.model.classifier import SENSITIVITY, Classifier
from skin_cancer.scale import archive
from skin_cancer.scale.archive import list_pictures

__all__ = ["cluster", "list_pictures", "look_again", "read", "score"]

NOT_AN_IMAGE = "not an image"
MANIFEST, SETTINGS, SHARDS = "manifest.parquet", "settings.json", "scores"
SCHEMA = 3  # of the shards
FETCHED = 16  # pictures in memory at once
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
NO_PROFILE = {"distributed.worker.profile.enabled": False}  # it grows without end
_worker = threading.local()


@contextmanager
def cluster(scheduler: str = "", workers: int | None = None, **options: Any) -> Iterator[Client]:
    """Give a Dask client: of the cluster at an address, or of one on this machine for as long.

    Args:
        scheduler: address such as `tcp://HOST:8786`; empty for processes of this machine.
        workers: how many of them; None for as many as there are cores.
        options: of `dask.distributed.LocalCluster`, for processes of this machine.

    Raises:
        ClusterError: nobody answers at the address.
    """
    if not scheduler:
        options |= {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
        with (
            dask.config.set(NO_PROFILE),
            LocalCluster(n_workers=workers, **options) as local,
            Client(local) as client,
        ):
            yield client
        return
    try:
        client = Client(scheduler, timeout="10s")
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"No Dask scheduler answers at {scheduler}: {error}. Start one with `dask scheduler`, "
            "or leave the address empty for this machine alone."
        ) from error
    with client:
        yield client


def score(
    source: str | Path,
    output: str | Path,
    client: Client,
    folder: str | Path | None = None,
    graph: str | None = None,
    views: int = 1,
    prior: str = priors.DEFAULT,
    sensitivity: float = SENSITIVITY,
    shard_size: int = 500,
) -> None:
    """Score all pictures of an archive; what `output` already holds of them is not done again.

    Args:
        source: as for `list_pictures`.
        output: folder or address to write to; the workers must reach it, and the source, as well.
            `pandas.read_parquet` reads the folder `scores` in it.
        client: of a Dask cluster.
        folder: of the bundle; the shipped one if None.
        graph: `float` or `int8`; the bundle's default if None.
        views: as for `Classifier.predict`.
        prior: name of one of the bundle's priors.
        sensitivity: as for `Prediction.verdict`.
        shard_size: pictures a shard.

    Raises:
        ArchiveError: there are no pictures; `output` holds scores of another source, with other
            settings or of another schema, cannot be written, or is written to by another run; or
            shards could not be finished, in which case the others are.
        BundleError: the bundle cannot be loaded.
        ValueError: it has no such prior, or no threshold for that sensitivity.
    """
    folder, output = folder and str(Path(folder).resolve()), os.fspath(output)
    settings = _settings(folder, graph, views, prior, sensitivity)
    kept = {"schema": SCHEMA, "source": archive.address_of(source), **settings}
    pictures = list_pictures(source, output)
    files, place = archive.place(output)
    arguments = {"folder": folder, "settings": settings}
    arguments["output"] = output if archive.is_remote(output) else place
    with ExitStack() as alone:
        with _said_if_it_cannot_be_written(output):
            files.makedirs(f"{place}/{SHARDS}", exist_ok=True)
            if not archive.is_remote(output):
                alone.enter_context(folders.alone(place, ArchiveError))
            _keep_settings(files, place, kept)
            manifest = _manifest(files, place, pictures, shard_size)
        _score_missing(client, manifest, _shards(files, place), arguments)


@contextmanager
def _said_if_it_cannot_be_written(output):
    try:
        yield
    except OSError as error:
        raise ArchiveError(
            f"{archive.address_of(output)} cannot be written: {archive.reason(error)}. Mend that "
            "and run the same call again, or name another output folder."
        ) from error


def _score_missing(client, manifest, there, arguments):
    """Let the workers score the shards of a manifest that are not there yet."""
    done = {path.rpartition("/")[2] for path in there}
    sizes = manifest["shard"].value_counts().sort_index()
    missing = [shard for shard in sizes.index if _name(shard) not in done]
    futures = client.map(_score_shard, missing, retries=1, pure=False, **arguments)
    failed, finished = [], int(sizes.drop(missing).sum())
    with tqdm(total=len(manifest), initial=finished, unit="image") as bar:
        for future in as_completed(futures):
            if future.status == "finished":
                bar.update(future.result())
            else:
                failed.append(future.exception())
    if failed:
        raise ArchiveError(
            f"{len(failed)} of {len(sizes)} shards could not be finished: {failed[0]!r}. The "
            "others are; mend that and run the same call again."
        )


def _settings(folder, graph, views, prior, sensitivity):
    """Return what decides the scores."""
    description = bundle.read(folder or bundle.DEFAULT_BUNDLE)
    description.named_prior(prior)
    bundle.threshold_at(description.thresholds(prior), sensitivity)
    return {
        "model": _model(description),
        "graph": graph or description.default_graph,
        "views": views,
        "prior": prior,
        "sensitivity": sensitivity,
    }


def _model(description):
    """Return a model's name and version."""
    content = json.dumps([description.training, description.doubt], sort_keys=True).encode()
    return f"{description.name} {hashlib.sha256(content).hexdigest()[:12]}"


def _keep_settings(files, place, settings):
    path = f"{place}/{SETTINGS}"
    if not files.exists(path):
        _write(files, place, SETTINGS, json.dumps(settings, indent=1).encode())
    held = json.loads(files.cat_file(path))
    _check_schema(place, held)
    other = [f"{k}={held.get(k)!r}" for k, value in settings.items() if held.get(k) != value]
    if other:
        raise ArchiveError(
            f"{place} holds scores with {', '.join(other)}. Name another output folder, or give "
            "the same parameters to go on."
        )


def _check_schema(place, settings):
    version = settings.get("schema", 1)
    if version != SCHEMA:
        raise ArchiveError(
            f"{place} holds scores of schema {version}; this program writes and reads schema "
            f"{SCHEMA}. Score the archive again into another output folder, or use the version of "
            "this program that wrote them."
        )


def _manifest(files, place, pictures, shard_size):
    """Return the table of all pictures and their shards; new pictures make new shards."""
    path = f"{place}/{MANIFEST}"
    known = pd.DataFrame({"address": pd.Series(dtype=str), "shard": pd.Series(dtype=np.int64)})
    if files.exists(path):
        known = _read_table(files, path).to_pandas()
    new = pd.Index(pictures).difference(known["address"])
    first = len(known) and known["shard"].max() + 1
    added = pd.DataFrame({"address": new, "shard": first + np.arange(len(new)) // shard_size})
    manifest = pd.concat([known, added], ignore_index=True)
    if len(new):
        table = pa.Table.from_pandas(manifest)
        _write_table(files, place, MANIFEST, table, row_group_size=shard_size)
    return manifest


def read(output: str | Path) -> pd.DataFrame:
    """Read the scores of an archive, one row a picture.

    Args:
        output: as given to `score`.

    Returns:
        Columns `address`, as `archive.address_of` gives it; `diagnosis`, the most probable ISIC
        code; `malignancy`, and one column an ISIC code, probabilities in [0, 1] under the prior;
        `suspicious`, `threshold` and `verdict`, those of `Prediction.verdict` and its words;
        `prediction_set`, codes; `unfamiliarity` in [0, 1]; `quality`, names of `quality.WORDS`;
        `error`, why a file could not be scored, which begins with `NOT_AN_IMAGE` if it is none;
        `model`, `graph`, `views`, `prior`, `sensitivity`.

    Raises:
        ArchiveError: there are none, or they are of another schema.
    """
    files, place = archive.place(output)
    if files.exists(f"{place}/{SETTINGS}"):
        _check_schema(place, json.loads(files.cat_file(f"{place}/{SETTINGS}")))
    shards = _shards(files, place)
    if not shards:
        raise ArchiveError(f"{archive.address_of(output)} holds no scores.")
    return pa.concat_tables([_read_table(files, shard) for shard in shards]).to_pandas()


def look_again(rows: pd.DataFrame, classifier: Classifier) -> dict[str, list]:
    """Read images of a table of scores once more, for what no table holds.

    Args:
        rows: of `read`, without an `error`.
        classifier: of the bundle and graph that they were scored with.

    Returns:
        For `figures.beside_heatmaps`: `images`, the squares that the network saw; `maps`, the
        evidence for the most probable diagnosis that is malignant or a precursor; `titles`, the
        name, and that diagnosis, the probability of malignancy and the verdict.

    Raises:
        ArchiveError: an image cannot be read any more.
    """
    contents = dict(archive.fetched(rows["address"]))
    seen = [_seen(classifier, row, contents[row.address]) for row in rows.itertuples()]
    return {name: [one[name] for one in seen] for name in ("images", "maps", "titles")}


def _seen(classifier, row, content):
    if isinstance(content, Exception):
        raise ArchiveError(f"{row.address} cannot be read again: {archive.reason(content)}.")
    found = classifier.predict(content, row.views, row.prior)
    verdict = found.verdict(row.sensitivity)
    malignant = {code: p for code, p in found.probabilities.items() if BY_CODE[code].malignant}
    suspect = max(malignant, key=malignant.__getitem__, default=found.diagnosis)
    name = row.address.rpartition("/")[2]
    return {
        "images": squares.centre_square(decoding.decode(content), found.size),
        "maps": found.heatmaps[suspect],
        "titles": f"{name}\n{suspect}: {verdict.percents[0]}, {verdict.words}",
    }


def _shards(files, place):
    """Return the paths of the shards that are written."""
    files.invalidate_cache()
    return sorted(files.find(f"{place}/{SHARDS}"))


def _read_table(files, path, **options):
    with files.open(path, "rb") as file:  # whose name says nothing to Arrow
        return pq.read_table(file, **options)


def _name(shard):
    return f"shard-{shard:06d}.parquet"


def _score_shard(shard, output, folder, settings):
    """Score and write one shard on a worker; return how many pictures it has."""
    classifier = _classifier(folder, settings)
    files, place = archive.place(output)
    chosen = _read_table(files, f"{place}/{MANIFEST}", filters=[("shard", "=", shard)])
    addresses = chosen["address"].to_pylist()
    rows = [
        _row(classifier, address, content, settings)
        for start in range(0, len(addresses), FETCHED)
        for address, content in archive.fetched(addresses[start : start + FETCHED])
    ]
    table = pa.Table.from_pylist(rows, _schema(classifier.description.diagnoses))
    _write_table(files, place, f"{SHARDS}/{_name(shard)}", table)
    return len(rows)


def _classifier(folder, settings):
    """Return this worker's classifier, one a thread: LiteRT serves one caller at a time."""
    key = folder, settings["model"], settings["graph"]
    if getattr(_worker, "key", None) != key:
        cv2.setNumThreads(1)  # the cores are shared out among the workers already
        _keep_memory()
        classifier = Classifier.load(folder, settings["graph"], threads=1)
        if _model(classifier.description) != settings["model"]:
            raise ClusterError(f"A worker has another model than {settings['model']} in {folder}.")
        _worker.classifier, _worker.key = classifier, key
    return _worker.classifier


def _keep_memory():
    """Let glibc keep memory that is freed, for the next picture.

    Dask tells its workers to give all of it back at once, which takes a fifth of a picture's time.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_TRIM_THRESHOLD, 1 << 28)
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 25)


def _row(classifier, address, content, settings):
    row = {"address": address, **settings}
    try:
        if isinstance(content, Exception):
            raise content
        found = classifier.predict(content, settings["views"], settings["prior"])
        verdict = found.verdict(settings["sensitivity"])
    except Exception as error:  # whatever one picture does, the others are scored
        known = not isinstance(error, ImageError) or _may_be_image(address, content)
        words = archive.reason(error)
        return row | {"error": words if known else f"{NOT_AN_IMAGE}: {words}"}
    return row | {
        "diagnosis": found.diagnosis,
        "malignancy": verdict.malignancy,
        "suspicious": verdict.suspicious,
        "threshold": verdict.threshold,
        "verdict": verdict.words,
        **found.probabilities,
        "prediction_set": list(found.prediction_set),
        "unfamiliarity": found.unfamiliarity,
        "quality": list(found.quality),
    }


def _may_be_image(address, content):
    """Whether a file says that it is an image, by its name or by how it begins."""
    if address.lower().endswith(tuple(itertools.chain(*kinds.ENDINGS.values()))):
        return True
    try:
        kinds.kind(content)
    except ImageError:
        return False
    return True


def _schema(codes):
    names = pa.list_(pa.string())
    types = {"address": pa.string(), "diagnosis": pa.string(), "malignancy": pa.float64()}
    types |= {"suspicious": pa.bool_(), "threshold": pa.float64(), "verdict": pa.string()}
    types |= dict.fromkeys(codes, pa.float64())
    types |= {"prediction_set": names, "unfamiliarity": pa.float64(), "quality": names}
    types |= {"error": pa.string(), "model": pa.string(), "graph": pa.string()}
    types |= {"views": pa.int64(), "prior": pa.string(), "sensitivity": pa.float64()}
    return pa.schema(list(types.items()))


def _write_table(files, place, name, table, **options):
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    _write(files, place, name, sink.getvalue().to_pybytes())


def _write(files, place, name, content):
    """Write a file aside and rename it, so that it is whole whenever it is there."""
    aside = f"{place}/{uuid.uuid4().hex}.part"
    try:
        files.pipe_file(aside, content)
        files.mv(aside, f"{place}/{name}")
    except BaseException:
        if files.exists(aside):
            files.rm_file(aside)
        raise
