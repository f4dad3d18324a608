"""What a visitor takes along: a report of one lesion, a table of all."""

import base64
import csv
import html
import io
from collections.abc import Iterable
from datetime import datetime
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np

from skin_cancer.app.answer import answer_html, cases_html, measures_html, named
from skin_cancer.app.reading import Opinion, jpeg
from skin_cancer.bundle import Description
from skin_cancer.classifier import DISCLAIMER
from skin_cancer.diagnoses import BY_CODE

STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def overlay(square: np.ndarray, heatmap: np.ndarray, opacity: float) -> np.ndarray:
    """Lay a heatmap over a picture: the stronger the evidence, the more colour.

    Args:
        square: uint8 RGB (size, size, 3).
        heatmap: float32 (h, w) in [0, 1], resized to the picture.
        opacity: of the strongest evidence, 0 to 1.

    Returns:
        uint8 RGB (size, size, 3).
    """
    size = square.shape[1], square.shape[0]
    heat = np.clip(cv2.resize(heatmap, size, interpolation=cv2.INTER_CUBIC), 0, 1)
    colour = palette()[(heat * 255).astype(np.uint8)]
    weight = (opacity * heat)[..., None]
    return (square * (1 - weight) + colour * weight).round().astype(np.uint8)


def palette() -> np.ndarray:
    """Return the colours of evidence from none to the strongest: uint8 RGB (256, 3)."""
    return cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_VIRIDIS)[0, :, ::-1]


def report(opinion: Opinion, description: Description, now: datetime) -> str:
    """Return one lesion's report: an HTML page that needs no other file and asks no host.

    Its pictures are encoded anew from pixels, so that nothing else of the file is in them.

    Args:
        opinion: what is said of the lesion.
        description: of the bundle that said it.
        now: the time to be stated, with its time zone.
    """
    reading = opinion.reading
    lines = "".join(_polygon(points) for points in reading.outlines)
    outline = f'<svg viewBox="0 0 1 1" aria-hidden="true">{lines}</svg>'
    figures = [_figure(reading.picture, "The square that was read", outline)]
    for code in named(opinion.prediction):
        heat = overlay(reading.square, reading.prediction.heatmaps[code], 0.6)
        figures.append(_figure(jpeg(heat), f"What speaks for {BY_CODE[code].name}", outline))
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
<p class="sc-small">{now:%d %B %Y, %H:%M %Z}. {html.escape(_version(description))}.</p>
<main>
<div class="sc-pair">{"".join(figures)}</div>
<div class="sc-scale"><span>weak</span><div></div><span>strongest evidence</span></div>
{answer_html(opinion)}
{measures_html(reading)}
{cases_html(reading)}
</main>
</body>
</html>
"""


def table(opinions: Iterable[Opinion], description: Description) -> str:
    """Return all lesions as comma separated values, one row a picture, as spreadsheets read them.

    A picture that is unlike the training images gets no diagnosis and no verdict.

    Args:
        opinions: what is said of each.
        description: of the bundle that said it.
    """
    file = io.StringIO()
    file.write("\N{ZERO WIDTH NO-BREAK SPACE}")  # by which Excel knows UTF-8
    columns = ["file", "diagnosis", "malignant or precursor", "threshold", "verdict"]
    columns += ["sensitivity aimed at", "prior", "prediction set", "unfamiliarity", "warnings"]
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
        *(f"{p:.4f}" for p in prediction.probabilities.values()),
        _version(description),
    ]


def _plain(name):
    """Return a file's name so that no spreadsheet takes it for a formula."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name


def _version(description):
    commit = description.training["provenance"].get("git_commit") or "unknown"
    program = metadata.version("skin_cancer")
    return f"Model {description.name} (trained at {commit[:10]}), program {program}"


def _figure(content, caption, outline):
    address = "data:image/jpeg;base64," + base64.b64encode(content).decode()
    caption = html.escape(caption)
    return (
        f'<figure><div class="sc-sheet"><img alt="{caption}" src="{address}">{outline}</div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _polygon(points):
    return f'<polygon points="{" ".join(f"{x},{y}" for x, y in points)}"/>'
