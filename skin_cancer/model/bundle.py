"""Model bundles: one folder with everything about one trained model, checked when it is read.

`bundle_writer` writes them.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from skin_cancer import diagnoses, priors
from skin_cancer.errors import BundleError
from skin_cancer.priors import Prior

SCHEMA_VERSION = 4
OLDEST_SCHEMA = 3  # that `bundle_writer.upgrade` brings up
DESCRIPTION = "bundle.json"
CARD = "README.md"
FIGURES = "figures"
GRAPHS = {"float": "model.tflite", "int8": "model_int8.tflite"}
KERAS_MODEL = "model.keras"
LOGITS = "logits.csv"  # of the images left out in training, for calibrations to come
REFERENCE = "reference.npz"
PATTERNS = "patterns.npy"  # of the training images; older bundles have them in the reference
OPTIONAL = (KERAS_MODEL, LOGITS, PATTERNS)

BUNDLE_VARIABLE = "SKIN_CANCER_BUNDLE"  # in the environment: the folder of the page's bundle
MODELS_FOLDER = Path(__file__).resolve().parents[2] / "models"
DEFAULT_BUNDLE = MODELS_FOLDER / "isic_lite0"
MEASURED_BUNDLE = MODELS_FOLDER / "isic_lite0_measured"  # holdout never seen


@dataclass(frozen=True)
class Description:
    """What `bundle.json` says of a model.

    Attributes:
        name: the model's name.
        diagnoses: ISIC codes in the order of the network's outputs.
        input_size: side in pixels of the square that the graphs take.
        default_graph: `float` or `int8`, the graph that `Classifier.load` takes.
        priors: the priors that the model offers, by the names of `priors.NAMES`; the logits assume
            `training`.
        training: recipe, history and provenance of the run.
        metrics: what `skin_cancer.evaluation` measured, by the name of the data; may be empty.
            Each may have `thresholds`, by the prior that they hold for, as `measured_thresholds`
            returns them; `tables`, by their captions; and `figures`, file names in the folder of
            that name to captions.
        studies: tables of trainings that were compared to find the recipe, by their captions.
        doubt: calibration, prediction sets, thresholds and what is unfamiliar, as `calibration.fit`
            returns it; empty until that was fitted.

    A table is a dictionary of `command` (what made it), `columns` (names) and `rows` (lists of
    cells). A cell is a name, a number, null where there is none, or a dictionary of `value`, `low`
    and `high`.
    """

    name: str
    diagnoses: tuple[str, ...]
    input_size: int
    default_graph: str
    priors: dict[str, Prior]
    training: dict
    metrics: dict
    studies: dict = dataclasses.field(default_factory=dict)
    doubt: dict = dataclasses.field(default_factory=dict)

    @property
    def prior(self) -> dict[str, float]:
        """ISIC code to share among the training images, in the order of the outputs."""
        return self.priors[priors.TRAINING].shares

    def thresholds(self, prior: str) -> dict[float, float]:
        """Return sensitivity aimed at to the threshold of malignancy that was fitted for it.

        Args:
            prior: name of the prior under which the malignancy is to be compared.

        Returns:
            Both in [0, 1]; empty where no threshold was fitted for that prior.
        """
        fitted = self.doubt.get("thresholds", {}).get(prior, [])
        return {each["sensitivity"]: each["threshold"] for each in fitted}

    def named_prior(self, name: str) -> Prior:
        """Return one of the model's priors.

        Raises:
            ValueError: there is none of that name; says which there are.
        """
        if not isinstance(name, str) or name not in self.priors:
            known = ", ".join(map(repr, self.priors))
            raise ValueError(f"prior={name!r}: take {known} or, in Python, a dictionary.")
        return self.priors[name]

    def found_at(self, prior: str, sensitivity: float) -> list[dict]:
        """Return what a threshold found on each set of images that the model was measured on.

        Args:
            prior: as in `thresholds`.
            sensitivity: that the threshold aims at.

        Returns:
            Of each set `title` and `images`, their number; `sensitivity` and `specificity`, each a
            dictionary of `value`, `low` and `high` in [0, 1].
        """
        return [
            {"title": title, "images": measured["images"], **point}
            for title, measured in self.metrics.items()
            for point in measured.get("thresholds", {}).get(prior, {}).get("points", [])
            if point["aimed at"] == sensitivity
        ]

    @property
    def files(self) -> list[str]:
        """Names of the files that the bundle must have beside card and Keras model."""
        return [*GRAPHS.values(), *([REFERENCE] if self.doubt else []), *self.figures]

    @property
    def figures(self) -> list[str]:
        """Paths of the figures within the bundle's folder."""
        names = [n for measured in self.metrics.values() for n in measured.get("figures", {})]
        return [f"{FIGURES}/{name}" for name in names]


def read(folder: str | Path) -> Description:
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
        content = read_content(folder, SCHEMA_VERSION)
        kept = {field.name: content[field.name] for field in dataclasses.fields(Description)}
        kept["diagnoses"] = tuple(kept["diagnoses"])
        kept["priors"] = {name: Prior(**prior) for name, prior in kept["priors"].items()}
        _make_known(folder, kept["training"])
        description = Description(**kept)
        _check_files(folder, content["sha256"], description.files)
        return description
    except (AttributeError, KeyError, TypeError) as error:
        raise BundleError(
            f"{folder / DESCRIPTION} is damaged: {error!r}. Copy the bundle again."
        ) from error


def _make_known(folder, training):
    recipe = training.get("recipe", {})
    try:
        diagnoses.add(diagnoses.own(recipe.get("diagnoses", ""), recipe.get("malignant", "")))
    except ValueError as error:
        raise BundleError(f"The bundle {folder} cannot be used here: {error}") from error


def measured_thresholds(rows: list[dict], command: str) -> dict:
    """Return what thresholds found, as `Description.metrics` keeps it for a prior.

    Args:
        rows: of each threshold the sensitivity `aimed at`, the `threshold`, and `sensitivity` and
            `specificity`, each also with `, low` and `, high` behind its name.
        command: what measured them.

    Returns:
        `command`, and `points`: a dictionary a threshold, with `value`, `low` and `high` of
        sensitivity and specificity together.
    """
    points = [
        {
            "aimed at": row["aimed at"],
            "threshold": row["threshold"],
            **{
                name: {"value": row[name], "low": row[f"{name}, low"], "high": row[f"{name}, high"]}
                for name in ("sensitivity", "specificity")
            },
        }
        for row in rows
    ]
    return {"command": command, "points": points}


def threshold_at(thresholds: dict[float, float], sensitivity: float) -> float | None:
    """Return the threshold that aims at a sensitivity, or None if there are no thresholds.

    Args:
        thresholds: as `Description.thresholds` returns them.
        sensitivity: one of those that they aim at.

    Raises:
        ValueError: there are thresholds, but none for that sensitivity.
    """
    if thresholds and sensitivity not in thresholds:
        known = ", ".join(map(str, thresholds))
        raise ValueError(f"No threshold for sensitivity={sensitivity}; there are {known}.")
    return thresholds.get(sensitivity)


def _check_files(folder, expected, files):
    for name in sorted({CARD, *files, *expected} - {DESCRIPTION}):
        path = folder / name
        if not path.is_file():
            raise BundleError(f"The bundle {folder} lacks {name}. Copy the bundle again.")
        if file_sha256(path) != expected.get(name):
            raise BundleError(
                f"{name} in the bundle {folder} is not the file that was written. "
                "Copy the bundle again."
            )


def read_content(folder: Path, schema: int) -> dict:
    """Return what `bundle.json` holds, once its schema version and its checksum are checked.

    Args:
        folder: the bundle's folder.
        schema: the version that is asked for.

    Raises:
        BundleError: there is no such file, it is damaged, or it is of another schema version.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise BundleError(f"There is no model bundle in {folder}: it holds no {DESCRIPTION}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {error}. Copy the bundle again.") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != schema:
        raise BundleError(_other_schema(folder, version, schema))
    if content_sha256(content) != content["sha256"][DESCRIPTION]:
        raise BundleError(
            f"{DESCRIPTION} in the bundle {folder} is not the file that was written. "
            "Copy the bundle again."
        )
    return content


def _other_schema(folder, version, schema):
    said = f"The bundle {folder} has schema version {version}; this needs version {schema}."
    older = isinstance(version, int) and OLDEST_SCHEMA <= version < SCHEMA_VERSION
    if older and schema == SCHEMA_VERSION:
        return f"{said} Bring it up to date: python -m skin_cancer.model.bundle_writer {folder}"
    return f"{said} Use the version of this program that wrote it, or train the model again."


def content_sha256(content: dict) -> str:
    """Return the checksum of a description without its checksums, whatever order and blanks."""
    plain = {name: value for name, value in content.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
