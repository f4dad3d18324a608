"""An archive of pictures to a table: on Dask, in shards that are whole or not there.

Each worker holds the model once and fetches, scores and writes one shard at a time. What is
finished is not done again: the same call goes on with an interrupted run, or with an archive that
has grown.
"""

import ctypes
import hashlib
import itertools
import json
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import dask
import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from dask.distributed import Client, LocalCluster, as_completed
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import get_protocol
from tqdm.auto import tqdm

from skin_cancer import priors
from skin_cancer.errors import ArchiveError, ClusterError
from skin_cancer.images.decoding import MAX_BYTES
from skin_cancer.model import bundle
from skin_cancer.model.classifier import SENSITIVITY, Classifier

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
TABLES = {".csv": pd.read_csv, ".parquet": pd.read_parquet}
COLUMN = "path"
MANIFEST, SETTINGS = "manifest.parquet", "settings.json"
SCHEMA = 2  # of the shards
FETCHED = 16  # pictures in memory at once
PAUSES = (1, 4)  # seconds before what could not be fetched is tried again
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


def list_pictures(source: str) -> list[str]:
    """List the pictures of an archive.

    Args:
        source: a folder, with the folders in it; a pattern such as `scans/*/*.jpg`; one picture; or
            a table (.csv, .parquet) whose column `path` names pictures, relative ones from the
            table's own folder. Each on a disk or at an address that fsspec knows (`s3://`, `gs://`,
            `https://`).

    Returns:
        Their addresses, sorted, each once.

    Raises:
        ArchiveError: there is no such source, or no picture in it.
    """
    try:
        found = _listed(source)
    except (OSError, ValueError, ImportError) as error:
        raise ArchiveError(
            f"{source} cannot be listed: {error}. For s3:// and gs://: make .venv/cloud.done."
        ) from error
    if not found:
        raise ArchiveError(f"There are no pictures in {source} ({', '.join(SUFFIXES)}).")
    return sorted(set(found))


def _listed(source):
    files, path = fsspec.url_to_fs(source)
    if PurePosixPath(path).suffix.lower() in TABLES:
        return _tabled(source, files, path)
    if fsspec.core.has_magic(path):
        found = [name for name in files.glob(path) if files.isfile(name)]
    elif files.isfile(path) and path.lower().endswith(SUFFIXES):
        found = [path]
    elif not files.isdir(path):
        raise FileNotFoundError("no such folder or picture")
    else:
        found = [name for name in files.find(path) if name.lower().endswith(SUFFIXES)]
    return [_address(files, name) for name in found]


def _tabled(source, files, path):
    """Return the addresses in a table's column."""
    with files.open(path, "rb") as file:
        table = TABLES[PurePosixPath(path).suffix.lower()](file)
    if COLUMN not in table:
        raise ValueError(f"the table has no column {COLUMN!r}")
    folder = source.rpartition("/")[0]
    names = table[COLUMN].dropna().astype(str)
    return [_address(*fsspec.url_to_fs(_joined(folder, name))) for name in names]


def _joined(folder, name):
    whole = "://" in name or name.startswith("/") or not folder
    return name if whole else f"{folder}/{name}"


def _address(files, path):
    return path if isinstance(files, LocalFileSystem) else files.unstrip_protocol(path)


def score(
    source: str,
    output: str,
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
        client: of a Dask cluster.
        folder: of the bundle; the shipped one if None.
        graph: `float` or `int8`; the bundle's default if None.
        views: as for `Classifier.predict`.
        prior: name of one of the bundle's priors.
        sensitivity: as for `Prediction.verdict`.
        shard_size: pictures a shard.

    Raises:
        ArchiveError: there are no pictures; `output` holds scores of another source, with other
            settings or of another schema; or shards could not be finished, in which case the
            others are.
        BundleError: the bundle cannot be loaded.
        ValueError: it has no such prior, or no threshold for that sensitivity.
    """
    folder = folder and str(Path(folder).resolve())
    settings = _settings(folder, graph, views, prior, sensitivity)
    files, place = fsspec.url_to_fs(output)
    files.makedirs(place, exist_ok=True)
    _keep_settings(files, place, {"schema": SCHEMA, "source": source, **settings})
    manifest = _manifest(files, place, list_pictures(source), shard_size)
    there = set(files.glob(f"{place}/shard-*.parquet"))
    sizes = manifest["shard"].value_counts().sort_index()
    missing = [shard for shard in sizes.index if f"{place}/{_name(shard)}" not in there]
    arguments = {"output": output, "folder": folder, "settings": settings}
    futures = client.map(_score_shard, missing, retries=1, pure=False, **arguments)
    failed, done = [], int(sizes.drop(missing).sum())
    with tqdm(total=len(manifest), initial=done, unit="image") as bar:
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
        _write(files, path, json.dumps(settings, indent=1).encode())
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
        known = pq.read_table(path, filesystem=files).to_pandas()
    new = pd.Index(pictures).difference(known["address"])
    first = len(known) and known["shard"].max() + 1
    added = pd.DataFrame({"address": new, "shard": first + np.arange(len(new)) // shard_size})
    manifest = pd.concat([known, added], ignore_index=True)
    if len(new):
        _write_table(files, path, pa.Table.from_pandas(manifest), row_group_size=shard_size)
    return manifest


def read(output: str) -> pd.DataFrame:
    """Read the scores of an archive, one row a picture.

    Args:
        output: as given to `score`.

    Returns:
        Columns `address`; `diagnosis`, the most probable ISIC code; `malignancy`, and one column
        an ISIC code, probabilities in [0, 1] under the prior; `suspicious`, `threshold` and
        `verdict`, those of `Prediction.verdict` and its words; `prediction_set`, codes;
        `unfamiliarity` in [0, 1]; `quality`, names of `quality.WORDS`; `error`, why a picture could
        not be scored; `model`, `graph`, `views`, `prior`, `sensitivity`.

    Raises:
        ArchiveError: there are none, or they are of another schema.
    """
    files, place = fsspec.url_to_fs(output)
    if files.exists(f"{place}/{SETTINGS}"):
        _check_schema(place, json.loads(files.cat_file(f"{place}/{SETTINGS}")))
    shards = sorted(files.glob(f"{place}/shard-*.parquet"))
    if not shards:
        raise ArchiveError(f"{output} holds no scores.")
    tables = [pq.read_table(shard, filesystem=files) for shard in shards]
    return pa.concat_tables(tables).to_pandas()


def _name(shard):
    return f"shard-{shard:06d}.parquet"


def _score_shard(shard, output, folder, settings):
    """Score and write one shard on a worker; return how many pictures it has."""
    classifier = _classifier(folder, settings)
    files, place = fsspec.url_to_fs(output)
    chosen = pq.read_table(f"{place}/{MANIFEST}", filesystem=files, filters=[("shard", "=", shard)])
    addresses = chosen["address"].to_pylist()
    rows = [
        _row(classifier, address, content, settings)
        for start in range(0, len(addresses), FETCHED)
        for address, content in _fetched(addresses[start : start + FETCHED])
    ]
    table = pa.Table.from_pylist(rows, _schema(classifier.description.diagnoses))
    _write_table(files, f"{place}/{_name(shard)}", table)
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


def _fetched(addresses):
    """Return each address with the bytes of its file, or with the error that kept them back."""
    found = _fetched_once(addresses)
    for pause in PAUSES:
        missing = [address for address in addresses if _may_come(found[address])]
        if not missing:
            break
        time.sleep(pause)
        found |= _fetched_once(missing)
    return found.items()


def _may_come(content):
    lasting = FileNotFoundError, PermissionError, IsADirectoryError
    return isinstance(content, Exception) and not isinstance(content, lasting)


def _fetched_once(addresses):
    found: dict[str, bytes | Exception] = {}
    for _, group in itertools.groupby(addresses, get_protocol):
        names = list(group)
        files, _ = fsspec.url_to_fs(names[0])
        paths = [files._strip_protocol(name) for name in names]
        contents = files.cat_ranges(paths, 0, MAX_BYTES + 1, on_error="return")
        found |= dict(zip(names, contents, strict=True))
    return found


def _row(classifier, address, content, settings):
    row = {"address": address, **settings}
    try:
        if isinstance(content, Exception):
            raise content
        found = classifier.predict(content, settings["views"], settings["prior"])
        verdict = found.verdict(settings["sensitivity"])
    except Exception as error:  # whatever one picture does, the others are scored
        return row | {"error": str(error) or type(error).__name__}
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


def _schema(codes):
    names = pa.list_(pa.string())
    kinds = {"address": pa.string(), "diagnosis": pa.string(), "malignancy": pa.float64()}
    kinds |= {"suspicious": pa.bool_(), "threshold": pa.float64(), "verdict": pa.string()}
    kinds |= dict.fromkeys(codes, pa.float64())
    kinds |= {"prediction_set": names, "unfamiliarity": pa.float64(), "quality": names}
    kinds |= {"error": pa.string(), "model": pa.string(), "graph": pa.string()}
    kinds |= {"views": pa.int64(), "prior": pa.string(), "sensitivity": pa.float64()}
    return pa.schema(list(kinds.items()))


def _write_table(files, path, table, **options):
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    _write(files, path, sink.getvalue().to_pybytes())


def _write(files, path, content):
    """Write a file aside and rename it, so that it is whole whenever it is there."""
    aside = f"{path}.{uuid.uuid4().hex}.part"
    try:
        files.pipe_file(aside, content)
        files.mv(aside, path)
    except BaseException:
        if files.exists(aside):
            files.rm_file(aside)
        raise
