"""The model card: `README.md` of a bundle, written from its description."""

from skin_cancer.diagnoses import BY_CODE

# Of each dataset: what it is, the licence of weights that learnt from it, and its limits.
HAM10000 = (
    "HAM10000 (Tschandl, Rosendahl, Kittler 2018, doi:10.1038/sdata.2018.161)",
    "The weights are CC BY-NC 4.0, as the data they were trained on (HAM10000, "
    "doi:10.7910/DVN/DBW86T).",
    "HAM10000 comes from two clinics, in Austria and Australia, and mostly from light skin. On "
    "other\n  cameras, other clinics and darker skin expect less; this was not measured for these "
    "weights.\n  The official files of HAM10000 are 600 x 450.",
)
DATASETS = {
    "HAM10000": HAM10000,
    "ISIC 2018": HAM10000,
    "ISIC 2019": (
        "ISIC 2019 (HAM10000, BCN20000 and MSK; challenge.isic-archive.com)",
        "The weights are CC BY-NC 4.0, as the data they were trained on (ISIC 2019).",
        "ISIC 2019 comes from clinics in Austria, Australia, Spain and the United States, mostly "
        "from\n  light skin. On other cameras, other clinics and darker skin expect less; this was "
        "not measured\n  for this model. Its AK, here AKIEC, is not quite HAM10000's AKIEC.",
    ),
    "synthetic sample": (
        "the synthetic sample, drawings made by this project",
        "The weights are MIT, as the code that drew what they were trained on.",
        "It was trained on drawings and knows nothing of real lesions: good for teaching and for "
        "tests,\n  and for nothing else.",
    ),
}

LIMITS = """\
- It knows these {count} diagnoses and no other: whatever it is shown, it names one of them. It
  has no notion yet of a picture that shows something else.
- {of_the_data}
- Trained and measured on pictures of {picture} pixels, read at {size} x {size}: finer detail is not
  used.
- The probabilities are not calibrated yet, and assume that all diagnoses are equally frequent
  unless another prior is given: they rank, but are not a patient's risk.
- Of {rarest} there are only {rarest_share} among the training images. Where a figure rests on few
  lesions its interval is too narrow; none holds what another training run would change.
- A heatmap shows where the evidence lies, not why, at {cells} x {cells} cells over the picture."""

TEMPLATE = """\
# {name}

Reads a dermatoscopic picture of one skin lesion and gives a probability for each of
{count} diagnoses, with a heatmap for each. Made for research and teaching, and to support a
doctor's decision. **Not a medical device**; it must not be used to decide on its own.

| code | diagnosis | malignant or precursor | share of the training images |
|---|---|---|---|
{diagnoses}

## Use

```python
from skin_cancer import Classifier
prediction = Classifier.load("BUNDLE_FOLDER").predict("IMAGE.jpg")
```

`{graph}` is loaded unless another graph is asked for. Input: RGB uint8
({size} x {size}), the centre square of the picture. The logits assume the class shares above; by
default the classifier shows probabilities under the *balanced* prior, all diagnoses alike.

| file | what it is |
|---|---|
| `model.tflite` | LiteRT, float16: logits, maps (evidence a diagnosis and place), pooled features |
| `model_int8.tflite` | the same in int8 |
| `model.keras` | the Keras model, to go on training from; not in a bundle only to be measured |
| `bundle.json` | diagnoses, prior, recipe, history, provenance, metrics, checksums |

## How well

{results}

## How the recipe was found

{studies}

## Training

{images:,} images of {lesions:,} lesions of {source}, {picture} pixels each. {held_out}

Recipe: {recipe}.

Logit-adjusted cross-entropy with label smoothing {smoothing} (Menon et al. 2021, "Long-tail
learning via logit adjustment", section 4.2): what the network learns means all diagnoses to be
equally frequent; the log class shares are added to the bias of its head when the bundle is
written. The weights are a running average, rounded to float16.

{minutes:.0f} minutes on {machine}, with {versions}; code at commit `{commit}`.{first_stage}

SHA-256 of the training data: `{data}`.

| epoch | pixels | seconds | loss | accuracy on augmented training images |{validation_head}
|---|---|---|---|---|{validation_rule}
{history}

## Limits

{limits}

## Licence

{licence}
{start} The code is MIT.
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
    provenance, history = training["provenance"], training["history"]
    source, licence, of_the_data = DATASETS[provenance.get("dataset", "HAM10000")]
    rarest = min(description.prior, key=description.prior.get)
    picture = " x ".join(str(side) for side in provenance["picture_size"])
    validated = "validation_balanced_accuracy" in history[0]
    results = [result(title, measured) for title, measured in description.metrics.items()]
    return TEMPLATE.format(
        name=description.name,
        count=len(description.diagnoses),
        size=description.input_size,
        graph=description.default_graph,
        diagnoses="\n".join(_diagnosis(code, description.prior) for code in description.diagnoses),
        results="\n\n".join(results) or "Not measured yet: `python -m skin_cancer.evaluation`.",
        studies="\n\n".join(_studies(description.studies)) or "No trainings were compared.",
        held_out=_held_out(training["recipe"]),
        first_stage=_first_stage(training.get("start")),
        recipe=_recipe(training["recipe"]),
        smoothing=training["recipe"]["label_smoothing"],
        start=_start(training),
        minutes=sum(row["seconds"] for row in history) / 60,
        history="\n".join(_epoch(row) for row in history),
        validation_head=" balanced accuracy on the validation fold |" if validated else "",
        validation_rule="---|" if validated else "",
        source=source,
        licence=licence,
        limits=LIMITS.format(
            of_the_data=of_the_data,
            count=len(description.diagnoses),
            picture=picture,
            size=description.input_size,
            rarest=BY_CODE[rarest].name,
            rarest_share=_percent(description.prior[rarest]),
            cells=description.input_size // 32,
        ),
        picture=picture,
        images=provenance["images"],
        lesions=provenance["lesions"],
        machine=provenance["machine"],
        versions=", ".join(f"{name} {version}" for name, version in provenance["versions"].items()),
        commit=provenance["git_commit"],
        data=provenance["data_sha256"],
    )


def _held_out(recipe):
    if recipe.get("holdout") == "included":
        return (
            "None is set aside: the figures above are of a network of the same recipe that never "
            "saw 15 % of the lesions."
        )
    fold = recipe["fold"]
    kept = "" if fold is None else f" Fold {fold} was kept for validation."
    return f"15 % of the lesions were set aside before, and never seen in training.{kept}"


def _first_stage(training):
    """Return how the weights were trained that this training went on from, or nothing."""
    if training is None:
        return ""
    minutes = sum(row["seconds"] for row in training["history"]) / 60
    provenance = training["provenance"]
    return (
        f"\n\nIt went on from weights of this recipe: {_recipe(training['recipe'])}.\n"
        f"They took {minutes:.0f} minutes on {provenance['images']:,} images; code at commit "
        f"`{provenance['git_commit']}`.{_first_stage(training.get('start'))}"
    )


def _start(training):
    recipe = training["recipe"]
    if "start" in training:
        return _start(training["start"])
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
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in recipe.items())


def _diagnosis(code, prior):
    diagnosis = BY_CODE[code]
    malignant = "yes" if diagnosis.malignant else "no"
    return f"| {code} | {diagnosis.name} | {malignant} | {_percent(prior[code])} |"


def _epoch(row):
    cells = [row["epoch"], row["size"], f"{row['seconds']:.0f}"]
    cells += [f"{row['loss']:.3f}", f"{row['accuracy']:.3f}"]
    if "validation_balanced_accuracy" in row:
        cells.append(f"{row['validation_balanced_accuracy']:.3f}")
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
        illustrations=_illustrations(title, measured),
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


def _table(caption, table):
    rows = [table["columns"], ["---"] * len(table["columns"]), *table["rows"]]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([f"{caption}:", "", *lines])
