"""What a visitor takes along: a report of one lesion, a table of all."""

import html
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from skin_cancer.app.answer import CAUTION
from skin_cancer.app.reading import Opinion, Refusal
from skin_cancer.model.bundle import Description
from skin_cancer.model.classifier import DISCLAIMER

PROGRAM = metadata.version("skin_cancer")
STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def template(description: Description) -> str:
    """Return a report without what differs from visit to visit, which the browser fills in.

    It is an HTML page that needs no other file and asks no host. `{{time}}` and `{{patient}}` stand
    for what the browser knows, `{{lesions}}` for what the page shows of each lesion.

    Args:
        description: of the bundle whose answers are reported.
    """
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Skin lesion report</title>
<style>{STYLE}</style>
</head>
<body class="sc-page sc-report">
<main>
<h1>Skin lesion report</h1>
{{{{patient}}}}
<p><strong>{CAUTION}</strong> {html.escape(DISCLAIMER)}</p>
<p class="sc-small">{{{{time}}}}. {html.escape(version(description))}.</p>
{{{{lesions}}}}
</main>
</body>
</html>
"""


def table(
    opinions: Iterable[Opinion], refused: Iterable[Refusal], description: Description
) -> list[list[str | float]]:
    """Return all lesions of a visit as the rows of a table, and the files that were refused.

    An image that is unlike the training images gets no diagnosis and no verdict; only an example
    has a confirmed diagnosis.

    Args:
        opinions: what is said of each lesion.
        refused: the files that could not be read.
        description: of the bundle that answers.

    Returns:
        The names of the columns, then a row a file.
    """
    columns = ["file", "read at", "verdict", "malignancy", "threshold", "sensitivity aimed at"]
    columns += ["prior", "diagnosis", "prediction set", "unfamiliarity", "reasons for doubt"]
    columns += ["confirmed diagnosis", *description.diagnoses, "refused because", "model"]
    blank = [""] * (len(columns) - 4)
    return [
        columns,
        *(_row(opinion, description) for opinion in opinions),
        *(
            [_plain(each.name), each.time, *blank, each.reason, version(description)]
            for each in refused
        ),
    ]


def _row(opinion, description):
    reading, prediction, verdict = opinion.reading, opinion.prediction, opinion.verdict
    strange, unfamiliarity = prediction.unfamiliar, prediction.unfamiliarity
    compared = verdict.suspicious is not None
    return [
        _plain(reading.name),
        reading.time,
        verdict.words,
        "" if strange or not verdict.percents[0] else round(verdict.malignancy, 6),
        round(verdict.threshold, 6) if compared else "",
        verdict.sensitivity if compared else "",
        prediction.prior_name,
        "" if strange else prediction.diagnosis,
        "" if strange else " ".join(prediction.prediction_set),
        "" if unfamiliarity is None else round(unfamiliarity, 4),
        " ".join(prediction.warnings),
        reading.confirmed or "",
        *(round(p, 4) for p in prediction.probabilities.values()),
        "",
        version(description),
    ]


def _plain(name):
    """Return a file's name so that no spreadsheet takes it for a formula."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name


def version(description: Description) -> str:
    """Return which model and program answered, in words."""
    commit = description.training["provenance"].get("git_commit") or "unknown"
    return f"Model {description.name} (trained at {commit[:10]}), program {PROGRAM}"
