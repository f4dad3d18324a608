"""The model card: `README.md` of a bundle, written from its description.

Its sections are those of Mitchell et al. 2019, "Model cards for model reporting", section 4.
"""

import dataclasses
import math
import re
import textwrap
from dataclasses import dataclass

from skin_cancer import priors
from skin_cancer.diagnoses import BY_CODE

WIDTH = 100
KEPT = ("|", "#", "```", "![")  # how a block begins whose lines stay as they are


@dataclass(frozen=True)
class Source:
    """What a dataset means for a model that learnt from it.

    Attributes:
        origin: what it is.
        licence: of weights that learnt from it.
        uses: what the model may be used for.
        users: who may use it.
        instrument: with what the pictures were taken.
        people: whose pictures they are, and on what terms.
        ids: what the ids of its images and lesions are.
        limits: of a model that learnt from it.
    """

    origin: str
    licence: str
    uses: str
    users: str
    instrument: str
    people: str
    ids: str
    limits: str


USES = (
    "Research and teaching, and a second opinion on a dermatoscopic picture of one skin lesion "
    "that supports a doctor's decision."
)
USERS = "Doctors who know dermatoscopy; researchers, teachers and students of image analysis."
HAM10000 = Source(
    origin="HAM10000 (Tschandl, Rosendahl, Kittler 2018, doi:10.1038/sdata.2018.161)",
    licence="The weights are CC BY-NC 4.0, as the data they were trained on (HAM10000, "
    "doi:10.7910/DVN/DBW86T).",
    uses=USES,
    users=USERS,
    instrument="HAM10000 names four sources, which differ in camera and in clinic: "
    "`vidir_molemax`, `vidir_modern`, `rosendahl` and `vienna_dias`.",
    people="The data came from patients of two clinics, in Austria and Australia, and is published "
    "under CC BY-NC 4.0. It has very few pictures of dark skin: on dark skin the model is largely "
    "untested, and may miss more.",
    ids="public ids of ISIC and HAM10000",
    limits="HAM10000 comes from two clinics, in Austria and Australia, and mostly from light skin. "
    "On other cameras, other clinics and darker skin expect less; this was not measured for these "
    "weights. The official files of HAM10000 are 600 x 450.",
)
DATASETS = {
    "HAM10000": HAM10000,
    "ISIC 2018": HAM10000,
    "ISIC 2019": Source(
        origin="ISIC 2019 (HAM10000, BCN20000 and MSK; challenge.isic-archive.com)",
        licence="The weights are CC BY-NC 4.0, as the data they were trained on (ISIC 2019).",
        uses=USES,
        users=USERS,
        instrument="ISIC 2019 joins three collections, each of other cameras and clinics.",
        people="The data came from patients of clinics in Austria, Australia, Spain and the United "
        "States, and is published under CC BY-NC 4.0. It is mostly of light skin: on dark skin the "
        "model is largely untested, and may miss more.",
        ids="public ids of ISIC",
        limits="ISIC 2019 comes from clinics in Austria, Australia, Spain and the United States, "
        "mostly from light skin. On other cameras, other clinics and darker skin expect less; this "
        "was not measured for this model. Its AK, here AKIEC, is not quite HAM10000's AKIEC.",
    ),
    "MILK10k": Source(
        origin="MILK10k (MILK study team, ISIC Archive, 2025; challenge.isic-archive.com)",
        licence="The weights are CC BY-NC, as the data they were trained on (MILK10k).",
        uses=USES,
        users=USERS,
        instrument="MILK10k comes from five centres and does not say which image from which.",
        people="The data came from patients of five centres, and is published under CC BY-NC. "
        "Few images show dark skin.",
        ids="public ids of ISIC and MILK10k",
        limits="MILK10k is mostly confirmed by histology and half of it is basal cell carcinoma: "
        "what a doctor sees in a day is other.",
    ),
    "synthetic sample": Source(
        origin="the synthetic sample, drawings made by this project",
        licence="The weights are MIT, as the code that drew what they were trained on.",
        uses="Teaching, and tests of this project's code; nothing else.",
        users="Teachers, students and developers.",
        instrument="None: the pictures are drawn.",
        people="The data are drawings. No patient is behind them.",
        ids="ids of drawings",
        limits="It was trained on drawings and knows nothing of real lesions: good for teaching "
        "and for tests, and for nothing else.",
    ),
}

REFERENCE_FILE = """\
| `reference.npz` | what is familiar, and the confirmed cases: see below |
"""

NO_DOUBT = """\
The probabilities are not calibrated, and the model has no notion of unfamiliar pictures: it has
neither prediction sets nor similar confirmed cases.
`python -m skin_cancer.training.calibration` adds them to a bundle."""

DOUBT = """\
**Calibration.** The logits are divided by a temperature of {temperature:.3f} (Guo et al. 2017,
"On calibration of modern neural networks", section 4.2), fitted on {images:,} out-of-fold
predictions of {networks}. Like the logits, what comes of it assumes the class shares of the
training images, until the classifier brings it to the prior that is asked for.

**Prediction sets.** A set is to hold the true diagnosis in {coverage} of the lesions of each
diagnosis, if they are like the training images (class-conditional conformal sets; Vovk 2012;
Sadinle, Lei, Wasserman 2019). The most probable diagnosis is always a member; another is one from
this probability on, under the balanced prior:

| diagnosis | least probability of a member |
|---|---|
{sets}

**Thresholds of malignancy.** From this probability of malignant or precursor on, under that prior
and no other, a lesion is called suspicious:

| prior | sensitivity aimed at | threshold |
|---|---|---|
{malignancy}

**Unfamiliarity.** From 0, like the training pictures, to 1, unlike any; above 0.5 a picture is
unfamiliar. One in a hundred training images is above 0.5.

**Similar confirmed cases.** Of each training picture `reference.npz` keeps 64 numbers (float16),
its image id, its lesion id and its diagnosis. The ids are {ids}. `prediction.similar()` returns the
nearest lesions."""

METRICS = """\
- **Balanced accuracy**, the mean recall of the diagnoses: nevi are frequent, and plain accuracy
  would hide what is missed of the rare and dangerous diagnoses.
- **ROC AUC** of malignant or precursor against benign, and of melanoma against all others: how well
  the model ranks, whatever the threshold.
- **Sensitivity and specificity** of malignant or precursor: what a threshold misses, and how often
  it alarms for nothing.
- **Expected calibration error**: how far the probabilities are from the frequencies. It is never 0
  on a finite number of pictures: read it beside the floor, the error that a perfectly calibrated
  model would show on as many."""
DOUBT_METRICS = """
- **Coverage** of the {coverage} prediction sets for each diagnosis, and their size: whether the
  sets keep what they promise, and how much they say.
- **AUROC for unfamiliar pictures** against those of the holdout: whether unfamiliarity tells them
  apart."""

UNABLE = """\
- It knows these {count} diagnoses and no other: whatever it is shown, it names one of them. It
  has no notion yet of a picture that shows something else."""
UNCALIBRATED = """\
- The probabilities are not calibrated yet, and assume the *clinic* prior unless another is given:
  they rank, but are not a patient's risk."""
ABLE = """\
- It knows these {count} diagnoses and no other: whatever it is shown, it names one of them. Do not
  rely on the answer where the picture is unfamiliar. A picture that is not called unfamiliar can
  still show something else."""
CALIBRATED = """\
- Calibration, prediction sets and thresholds hold for lesions like those of the training images.
  Elsewhere fit them anew. The probabilities assume the *clinic* prior unless another is given:
  without the prior of your patients they are not a patient's risk.
- They were not fitted anew for more views or the `int8` graph: the same numbers are used there."""

TEMPLATE = """\
# {name}

Reads a dermatoscopic picture of one skin lesion and gives a probability for each of
{count} diagnoses, with a heatmap for each. **Not a medical device**; it must not be used to decide
on its own. The sections of this card are those of Mitchell et al. 2019, "Model cards for model
reporting", doi:10.1145/3287560.3287596.

## Model details

| code | diagnosis | malignant or precursor | share of the training images |
|---|---|---|---|
{diagnoses}

```python
from skin_cancer import Classifier
prediction = Classifier.load("BUNDLE_FOLDER").predict("IMAGE.jpg")
```

`{graph}` is loaded unless another graph is asked for. Input: RGB uint8
({size} x {size}), the centre square of the picture. The logits assume the class shares above.

| file | what it is |
|---|---|
| `model.tflite` | LiteRT, float16: logits, maps (evidence a diagnosis and place), pooled features |
| `model_int8.tflite` | the same in int8 |
| `model.keras` | the Keras model, to go on training from; not in a bundle only to be measured |
{reference}| `bundle.json` | diagnoses, priors, recipe, history, provenance, metrics, checksums |

### Priors

The probabilities that the classifier gives assume how frequent each diagnosis is: the prior
*{default}* unless another is asked for by `prior=`, one of these names or a dictionary.

| prior | {codes} | what it assumes |
|---|{rule}---|
{priors}

### Doubt

{doubt}

### How it was trained

Recipe: {recipe}.

Logit-adjusted cross-entropy with label smoothing {smoothing} (Menon et al. 2021, "Long-tail
learning via logit adjustment", section 4.2): what the network learns means all diagnoses to be
equally frequent; the log class shares are added to the bias of its head when the bundle is
written. The weights are a running average, rounded to float16.

{trained}{history}

## Intended use

**Primary uses.** {uses}

**Primary users.** {users}

**Out of scope.**

- Any decision without a doctor: diagnosis of oneself, screening without supervision, a reason not
  to see a doctor.
- Pictures not taken with a dermatoscope, pictures of several lesions, and whatever is not one of
  the {count} diagnoses.
- Patients, skin tones and cameras unlike those of the training data, before the model was measured
  on them.

## Factors

Figures by group stand under *Quantitative analyses*. A factor that has no table there was not
measured for this model.

- **Groups of patients:** sex, age, site of the lesion, and skin tone. Skin tone is recorded
  nowhere: it is estimated from the skin around the lesion, whose colour light and camera change.
- **How the diagnosis was confirmed:** histopathology, follow-up, consensus or confocal microscopy.
  Lesions that were cut out had looked suspicious: they may be harder than the others.
- **Artefacts:** hair, ruler, dark corners, ink.
- **Instrument:** the source of a picture, for its camera. {instrument}

## Metrics

{metrics}

All intervals are over lesions, not pictures: the pictures of one lesion are not independent.

## Evaluation data

{held_out} The holdout has the same share of each diagnosis as the rest, and no lesion in common
with it. Each heading under *Quantitative analyses* names dataset and part, and the text below
it says how many images and lesions.

Pictures are measured as they are used: the centre square, read at {size} x {size}.

## Training data

{images:,} images of {lesions:,} lesions of {source}, {picture} pixels each. The share of each
diagnosis is in the first table of this card.

SHA-256 of the training data: `{data}`.

## Quantitative analyses

{results}

### How the recipe was found

{studies}

## Ethical considerations

- The model supports a doctor's decision. It is not a medical device and has no approval as one.
- Its two errors weigh differently: a missed melanoma can spread and kill; a needless excision costs
  a scar, a fear and a bill. No threshold is right for all: who uses one must choose how many
  needless excisions a found melanoma is worth.
- {people}
- No picture is stored in the bundle.{ids}
- Risk of automation bias: a number and a heatmap look surer than they are, and an answer seen first
  sways the doctor. Judge the lesion first and look at the answer afterwards.

## Caveats and recommendations

{unable}
- {of_the_data}
- Trained and measured on pictures of {picture} pixels, read at {size} x {size}: finer detail is not
  used.
{probabilities}
- Of {rarest} there are only {rarest_share} among the training images. Where a figure rests on few
  lesions its interval is probably too narrow; none includes what another training run would change.
- A heatmap shows where the evidence lies, not why, at {cells} x {cells} cells over the picture.
- Measure the model on your own confirmed cases before you rely on it.

## How to reproduce

Check out the commit that is named under *How it was trained*, and take data of the same SHA-256.
The options of `python -m skin_cancer.training` have the names of the recipe's parts. Beside all
figures stands the command that gave them.{refit}

## Licence

{licence} {start} The code is MIT.
"""

RESULT = """\
### {title}

{network}{images} images of {lesions} lesions, `{graph}` graph, {views} view{plural}, balanced
prior. 95 % intervals by bootstrap over lesions ({resamples} resamples within each diagnosis).
Printed by `{command}`.{against_float}

| measure | value | 95 % interval |
|---|---|---|
{measures}

| diagnosis | recall | 95 % interval | precision | images | lesions |
|---|---|---|---|---|---|
{classes}

Confusion matrix, images; rows are the true diagnosis, columns the answer:

| | {columns} |
|---|{rule}
{matrix}{illustrations}"""


def model_card(description) -> str:
    """Return the card as Markdown.

    Args:
        description: a `bundle.Description`.
    """
    training = description.training
    provenance = training["provenance"]
    source = _joined(provenance.get("dataset", "HAM10000").split(", "))
    rarest = min(description.prior, key=description.prior.get)
    results = [result(title, measured) for title, measured in description.metrics.items()]
    text = TEMPLATE.format(
        name=description.name,
        count=len(description.diagnoses),
        size=description.input_size,
        graph=description.default_graph,
        diagnoses="\n".join(_diagnosis(code, description.prior) for code in description.diagnoses),
        default=priors.DEFAULT,
        codes=" | ".join(description.diagnoses),
        rule="---|" * len(description.diagnoses),
        priors="\n".join(_prior(name, prior) for name, prior in description.priors.items()),
        results="\n\n".join(results) or "Not measured yet: `python -m skin_cancer.evaluation`.",
        studies="\n\n".join(_studies(description.studies)) or "No trainings were compared.",
        held_out=_held_out(training["recipe"], provenance.get("dataset", "")),
        recipe=_recipe(training["recipe"]),
        smoothing=training["recipe"]["label_smoothing"],
        start=_start(training),
        trained=_trained(training),
        history=_history(training["history"]),
        source=source.origin,
        licence=source.licence,
        uses=source.uses,
        users=source.users,
        instrument=source.instrument,
        people=source.people,
        of_the_data=source.limits,
        rarest=BY_CODE[rarest].name,
        rarest_share=_percent(description.prior[rarest]),
        cells=description.input_size // 32,
        picture=" x ".join(str(side) for side in provenance["picture_size"]),
        images=provenance["images"],
        lesions=provenance["lesions"],
        data=provenance["data_sha256"],
        **_of_doubt(description.doubt, training["recipe"], source, len(description.diagnoses)),
    )
    return "\n\n".join(_wrapped(block) for block in text.rstrip("\n").split("\n\n")) + "\n"


def _joined(names):
    """Return what several datasets together mean, each thing said once."""
    sources = [dataclasses.asdict(DATASETS[name]) for name in names]
    return Source(**{key: " ".join(dict.fromkeys(s[key] for s in sources)) for key in sources[0]})


def _of_doubt(fitted, recipe, source, count):
    """Return the parts of the card that depend on whether the bundle has doubt."""
    if not fitted:
        return {
            "reference": "",
            "doubt": NO_DOUBT,
            "metrics": METRICS,
            "ids": "",
            "unable": UNABLE.format(count=count),
            "probabilities": UNCALIBRATED,
            "refit": "",
        }
    coverage = f"{100 * fitted['sets']['coverage']:.0f} %"
    learnt_all = recipe.get("holdout") == "included" or recipe["fold"] is None
    sets, thresholds = fitted["sets"]["thresholds"], fitted["thresholds"]
    return {
        "reference": REFERENCE_FILE,
        "doubt": DOUBT.format(
            temperature=fitted["temperature"],
            images=fitted["images"],
            networks=f"{'' if learnt_all else 'this network, or of '}networks of the same kind "
            "that may have been trained for a shorter time",
            coverage=coverage,
            sets="\n".join(f"| {code} | {least:.3f} |" for code, least in sets.items()),
            malignancy="\n".join(
                f"| {prior} | {row['sensitivity']:.2f} | {row['threshold']:.3f} |"
                for prior, rows in thresholds.items()
                for row in rows
            ),
            ids=source.ids,
        ),
        "metrics": METRICS + DOUBT_METRICS.format(coverage=coverage),
        "ids": f" The confirmed cases are named by {source.ids}.",
        "unable": ABLE.format(count=count),
        "probabilities": CALIBRATED,
        "refit": " What stands under *Doubt* comes from "
        "`python -m skin_cancer.training.calibration`.",
    }


def _wrapped(block):
    """Wrap a paragraph or a list; code in backticks stays on one line, to be copied."""
    if block.startswith(KEPT):
        return block
    items = re.split(r"\n(?=- )", block)
    return "\n".join(_filled(item, "  " if item.startswith("- ") else "") for item in items)


def _filled(text, indent):
    solid = re.sub(r"`[^`]*`", lambda code: code[0].replace(" ", "\N{NO-BREAK SPACE}"), text)
    filled = textwrap.fill(
        re.sub(r"[ \n]+", " ", solid),
        WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return filled.replace("\N{NO-BREAK SPACE}", " ")


def _held_out(recipe, names):
    share = "15 % of the lesions"
    if "MILK10k" in names:
        share += " of each dataset, 30 % of those of MILK10k"
    if recipe.get("holdout") == "included":
        return (
            "None is set aside: the figures below are of a network of the same recipe that never "
            f"saw {share}, the holdout."
        )
    apart = f"{share}, the holdout, were set aside before, and never seen in training."
    if recipe.get("source"):
        return f"{apart} Source {recipe['source']} was kept for validation."
    if recipe["fold"] is None:
        return apart
    return f"{apart} Fold {recipe['fold']} was kept for validation."


def _trained(training):
    """Return how long it took and where, and the same of the trainings that it went on from."""
    provenance = training["provenance"]
    versions = ", ".join(f"{name} {version}" for name, version in provenance["versions"].items())
    minutes = sum(row["seconds"] for row in training["history"]) / 60
    text = (
        f"{minutes:.0f} minutes on {provenance['machine']}, with {versions}"
        if training["history"]
        else "Nothing was trained after the mean was taken"
    )
    text += f"; {provenance['images']:,} images; code at commit `{provenance['git_commit']}`."
    starts = training.get("starts", [])
    if len(starts) > 1:
        text += f"\n\nIt went on from the mean of the weights of {len(starts)} networks."
    for start in starts:
        one = "One of them" if len(starts) > 1 else "It went on from weights"
        text += f"\n\n{one} of this recipe: {_recipe(start['recipe'])}. {_trained(start)}"
    return text


def _history(epochs):
    if not epochs:
        return ""
    validated = any("validation_balanced_accuracy" in row for row in epochs)
    head = "| epoch | pixels | seconds | loss | accuracy on augmented training images |"
    head += " balanced accuracy on the validation images |" if validated else ""
    rule = "|---" * (5 + validated) + "|"
    return "\n\n" + "\n".join([head, rule, *(_epoch(row, validated) for row in epochs)])


def _start(training):
    recipe = training["recipe"]
    if "starts" in training:
        return _start(training["starts"][0])
    if recipe["start_weights"] == "random":
        return "They started from random values."
    if recipe["backbone"].startswith("efficientnet_lite"):
        return (
            "They started from EfficientNet-Lite's ImageNet weights (Apache-2.0, see "
            "`models/imagenet`)."
        )
    return f"They started from the ImageNet weights of `keras.applications.{recipe['backbone']}`."


def _percent(share):
    return f"{100 * share:.1f} %"


def _recipe(recipe):
    return ", ".join(
        f"{key.replace('_', ' ')} {'none' if value in ('', None) else value}"
        for key, value in recipe.items()
    )


def _diagnosis(code, prior):
    diagnosis = BY_CODE[code]
    malignant = "yes" if diagnosis.malignant else "no"
    return f"| {code} | {diagnosis.name} | {malignant} | {_percent(prior[code])} |"


def _prior(name, prior):
    shares = " | ".join(_percent(share) for share in prior.shares.values())
    return f"| {name} | {shares} | {prior.source} |"


def _epoch(row, validated):
    cells = [row["epoch"], row["size"], f"{row['seconds']:.0f}"]
    cells += [f"{row['loss']:.3f}", f"{row['accuracy']:.3f}"]
    if validated:
        measured = row.get("validation_balanced_accuracy")
        cells.append("" if measured is None else f"{measured:.3f}")
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def result(title: str, measured: dict) -> str:
    """Return measures as Markdown.

    Args:
        title: names the data.
        measured: as `evaluation.evaluate` returns it.
    """
    codes = measured["confusion"]
    return RESULT.format(
        title=title,
        network=_network(measured),
        against_float=_against_float(measured.get("against float")),
        plural="" if measured["views"] == 1 else "s",
        measures="\n".join(_measure(name, value) for name, value in measured["measures"].items()),
        classes="\n".join(_class(code, value) for code, value in measured["classes"].items()),
        columns=" | ".join(codes),
        rule="---|" * len(codes),
        matrix="\n".join(
            f"| **{code}** | " + " | ".join(str(row[c]) for c in codes) + " |"
            for code, row in codes.items()
        ),
        illustrations=_thresholds(measured) + _illustrations(title, measured),
        **{k: measured[k] for k in ("images", "lesions", "graph", "views", "resamples", "command")},
    )


def _network(measured):
    if "network" not in measured:
        return ""
    return f"Of `{measured['network']}`, the same recipe trained without these lesions.\n\n"


def _against_float(difference):
    if difference is None:
        return ""
    return (
        f"\n\nAgainst the float graph, paired: balanced accuracy {interval(difference)}, the same "
        f"answer for {_percent(difference['agreement'])} of the images."
    )


def interval(value: dict) -> str:
    """Return a `value` and its interval `low` to `high` as text."""
    return f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"


def _measure(name, value):
    return f"| {name} | {value['value']:.3f} | {value['low']:.3f} to {value['high']:.3f} |"


def _class(code, value):
    recall = value["recall"]
    return (
        f"| {code} | {recall['value']:.2f} | {recall['low']:.2f} to {recall['high']:.2f} "
        f"| {value['precision']:.2f} | {value['images']} | {value['lesions']} |"
    )


def _illustrations(title, measured):
    """Return tables and figures, those of one command together."""
    tables, figures = measured.get("tables", {}), measured.get("figures", {})
    commands = dict.fromkeys(item["command"] for item in (*tables.values(), *figures.values()))
    parts = []
    for command in commands:
        parts.append(f"By `{command}`:")
        parts += [_table(c, table) for c, table in tables.items() if table["command"] == command]
        parts += [
            f"![{title}: {figure['caption']}](figures/{name})"
            for name, figure in figures.items()
            if figure["command"] == command
        ]
    return "".join(f"\n\n{part}" for part in parts)


def _studies(studies):
    """Return tables, each with the command that made it."""
    for caption, table in studies.items():
        yield f"By `{table['command']}`:"
        yield _table(caption, table)


def _thresholds(measured):
    """Return a table of what the thresholds found, for each prior that they hold for."""
    parts = []
    for prior, found in measured.get("thresholds", {}).items():
        columns = ["aimed at", "threshold", "sensitivity", "specificity"]
        rows = [[point[name] for name in columns] for point in found["points"]]
        table = {"columns": columns, "rows": rows}
        caption = f"Malignant or precursor under the {prior} prior, thresholds set on other images"
        parts += [f"By `{found['command']}`:", _table(caption, table)]
    return "".join(f"\n\n{part}" for part in parts)


def _table(caption, table):
    rows = [[cell(value) for value in row] for row in table["rows"]]
    lines = [
        "| " + " | ".join(row) + " |"
        for row in (table["columns"], ["---"] * len(table["columns"]), *rows)
    ]
    return "\n".join([f"{caption}:", "", *lines])


def cell(value) -> str:
    """Return a cell of a bundle's table, as `bundle.Description` describes them, as text."""
    if isinstance(value, dict):
        return interval(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) <= 1 else f"{value:.1f}"
    return str(value)
