"""Model bundles: one folder with everything about one trained model, read and written whole."""

import dataclasses
import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from skin_cancer.card import model_card
from skin_cancer.errors import BundleError

SCHEMA_VERSION = 3
DESCRIPTION = "bundle.json"
CARD = "README.md"
FIGURES = "figures"
GRAPHS = {"float": "model.tflite", "int8": "model_int8.tflite"}
KERAS_MODEL = "model.keras"
REFERENCE = "reference.npz"

MODELS_FOLDER = Path(__file__).resolve().parent.parent / "models"
DEFAULT_BUNDLE = MODELS_FOLDER / "ham10000_lite0"
MEASURED_BUNDLE = MODELS_FOLDER / "ham10000_lite0_measured"  # same recipe, holdout never seen


@dataclass(frozen=True)
class Description:
    """What `bundle.json` says of a model.

    Attributes:
        name: the model's name.
        diagnoses: ISIC codes in the order of the network's outputs.
        input_size: side in pixels of the square that the graphs take.
        default_graph: `float` or `int8`, the graph that `Classifier.load` takes.
        prior: share of each ISIC code among the training images; the logits assume it.
        training: recipe, history and provenance of the run.
        metrics: what `skin_cancer.evaluation` measured, by the name of the data; may be empty.
            Each may name `figures`, file names in the folder of that name to captions.
        studies: tables of trainings that were compared to find the recipe, by their captions.
        doubt: calibration, prediction sets, thresholds and what is unfamiliar, as `calibration.fit`
            returns it; empty until that was fitted.
    """

    name: str
    diagnoses: tuple[str, ...]
    input_size: int
    default_graph: str
    prior: dict[str, float]
    training: dict
    metrics: dict
    studies: dict = dataclasses.field(default_factory=dict)
    doubt: dict = dataclasses.field(default_factory=dict)

    @property
    def files(self) -> list[str]:
        """Names of the files that the bundle must have beside card and Keras model."""
        return [*GRAPHS.values(), *([REFERENCE] if self.doubt else []), *self.figures]

    @property
    def figures(self) -> list[str]:
        """Paths of the figures within the bundle's folder."""
        names = [n for measured in self.metrics.values() for n in measured.get("figures", {})]
        return [f"{FIGURES}/{name}" for name in names]


def read(folder) -> Description:
    """Read a bundle and check every file in it.

    Args:
        folder: the bundle's folder.

    Returns:
        Its description.

    Raises:
        BundleError: names the file that is missing or changed, or the schema version.
    """
    folder = Path(folder)
    try:
        content = _read_description(folder)
        description = Description(
            **{field.name: content[field.name] for field in dataclasses.fields(Description)}
        )
        _check_files(folder, content["sha256"], description.files)
        return dataclasses.replace(description, diagnoses=tuple(description.diagnoses))
    except (AttributeError, KeyError, TypeError) as error:
        raise BundleError(
            f"{folder / DESCRIPTION} is damaged: {error!r}. Copy the bundle again."
        ) from error


def _check_files(folder, expected, files):
    for name in sorted({CARD, *files, *expected} - {DESCRIPTION}):
        path = folder / name
        if not path.is_file():
            raise BundleError(f"The bundle {folder} lacks {name}. Copy the bundle again.")
        if _sha256(path) != expected.get(name):
            raise BundleError(
                f"{name} in the bundle {folder} is not the file that was written. "
                "Copy the bundle again."
            )


def write(folder, description: Description, files, figures: dict[str, bytes] | None = None) -> None:
    """Write a bundle and its model card aside, then rename it into place.

    Args:
        folder: the bundle's folder; a bundle that is there already is replaced.
        description: becomes `bundle.json` and the model card.
        files: folder that holds the graphs, the reference if the description has doubt, the Keras
            model if the bundle is to have it, and the figures that are not given.
        figures: new figures by their file names.

    Raises:
        BundleError: the bundle cannot be written; what was there before is kept.
    """
    folder = Path(folder).resolve()
    aside = folder.with_name(f".{folder.name}.part")
    card = model_card(description)
    has_keras = (Path(files) / KERAS_MODEL).exists()  # one only to be measured goes without
    names = [*description.files, *([KERAS_MODEL] if has_keras else [])]
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        (aside / FIGURES).mkdir()
        for name, content in (figures or {}).items():
            (aside / FIGURES / name).write_bytes(content)
        for name in names:
            if not (aside / name).exists():
                shutil.copyfile(Path(files) / name, aside / name)
        (aside / CARD).write_text(card, encoding="utf-8")
        content = {"schema_version": SCHEMA_VERSION, **dataclasses.asdict(description)}
        checksums = {name: _sha256(aside / name) for name in (*names, CARD)}
        content["sha256"] = {DESCRIPTION: _content_sha256(content), **checksums}
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (aside / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
        _rename(aside, folder)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise BundleError(f"The bundle cannot be written to {folder}: {error}.") from error


def _rename(aside, folder):
    """Put the new folder in the place of the old, which comes back if that fails."""
    old = folder.with_name(f".{folder.name}.old")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    try:
        aside.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _read_description(folder):
    path = folder / DESCRIPTION
    if not path.is_file():
        raise BundleError(f"There is no model bundle in {folder}: it holds no {DESCRIPTION}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {error}. Copy the bundle again.") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"{path} has schema version {version}; this program reads {SCHEMA_VERSION}. Take the "
            "program that wrote it, or train anew."
        )
    if _content_sha256(content) != content["sha256"][DESCRIPTION]:
        raise BundleError(
            f"{DESCRIPTION} in the bundle {folder} is not the file that was written. "
            "Copy the bundle again."
        )
    return content


def _content_sha256(content):
    """Checksum of a description without its checksums, whatever the order and white space."""
    plain = {name: value for name, value in content.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
