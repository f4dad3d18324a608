"""What a visitor takes along: a report of one lesion, a table of all."""

import csv
import html
import io
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from skin_cancer.app.answer import named
from skin_cancer.app.reading import Opinion
from skin_cancer.model.bundle import Description
from skin_cancer.model.classifier import DISCLAIMER

PROGRAM = metadata.version("skin_cancer")
STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def template(description: Description) -> str:
    """Return a report without what differs from lesion to lesion, which the browser fills in.

    It is an HTML page that needs no other file and asks no host. For `{{time}}`, `{{figures}}`,
    `{{answer}}`, `{{measures}}` and `{{cases}}` stands what the page shows of the lesion.

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
<h1>Skin lesion report</h1>
<p><strong>Not a medical device.</strong> {html.escape(DISCLAIMER)}</p>
<p class="sc-small">{{{{time}}}}. {html.escape(_version(description))}.</p>
<main>
<div class="sc-pair">{{{{figures}}}}</div>
<div class="sc-scale"><span>weak</span><div></div><span>strongest evidence</span></div>
{{{{answer}}}}
{{{{measures}}}}
{{{{cases}}}}
</main>
</body>
</html>
"""


def table(opinions: Iterable[Opinion], description: Description) -> str:
    """Return all lesions as comma separated values, one row a picture, as spreadsheets read them.

    A picture that is unlike the training images gets no diagnosis and no verdict; only an example
    has a confirmed diagnosis.

    Args:
        opinions: what is said of each.
        description: of the bundle that said it.
    """
    file = io.StringIO()
    file.write("\N{ZERO WIDTH NO-BREAK SPACE}")  # by which Excel knows UTF-8
    columns = ["file", "diagnosis", "malignant or precursor", "threshold", "verdict"]
    columns += ["sensitivity aimed at", "prior", "prediction set", "unfamiliarity", "warnings"]
    columns += ["confirmed diagnosis"]
    writer = csv.writer(file)
    writer.writerow([*columns, *description.diagnoses, "model"])
    writer.writerows(_row(opinion, description) for opinion in opinions)
    return file.getvalue()


def _row(opinion, description):
    prediction, verdict = opinion.prediction, opinion.verdict
    strange, unfamiliarity = prediction.unfamiliar, prediction.unfamiliarity
    compared = verdict.suspicious is not None
    return [
        _plain(opinion.reading.name),
        "" if strange else prediction.diagnosis,
        "" if strange else f"{verdict.malignancy:.6f}",
        f"{verdict.threshold:.6f}" if compared else "",
        verdict.words,
        verdict.sensitivity if compared else "",
        prediction.prior_name,
        "" if strange else " ".join(named(prediction)),
        "" if unfamiliarity is None else f"{unfamiliarity:.4f}",
        " ".join(prediction.warnings),
        opinion.reading.confirmed or "",
        *(f"{p:.4f}" for p in prediction.probabilities.values()),
        _version(description),
    ]


def _plain(name):
    """Return a file's name so that no spreadsheet takes it for a formula."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name


def _version(description):
    commit = description.training["provenance"].get("git_commit") or "unknown"
    return f"Model {description.name} (trained at {commit[:10]}), program {PROGRAM}"
