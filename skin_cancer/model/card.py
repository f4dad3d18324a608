"""The model card: `README.md` of a bundle, written from its description.

The words stand in `card.md.j2`, and those on one measurement in `measures.md.j2`. The sections are
those of Mitchell et al. 2019, "Model cards for model reporting", section 4.
"""

import math
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from skin_cancer import priors
from skin_cancer.data import credits
from skin_cancer.diagnoses import BY_CODE
from skin_cancer.model.bundle import Description

WIDTH = 100
KEPT = ("|", "#", "```", "![")  # how a block begins whose lines stay as they are


@dataclass(frozen=True)
class Run:
    """A training that led to the network.

    Attributes:
        recipe, provenance, history: as in `bundle.Description.training`.
        starts: number of networks whose weights it went on from.
        one_of_several: the run after it went on from other networks too.
    """

    recipe: dict
    provenance: dict
    history: list[dict]
    starts: int
    one_of_several: bool

    @property
    def minutes(self) -> float:
        """How long it took."""
        return sum(row["seconds"] for row in self.history) / 60

    @property
    def versions(self) -> str:
        """The libraries that it used."""
        return ", ".join(f"{name} {number}" for name, number in self.provenance["versions"].items())


def model_card(description: Description) -> str:
    """Return the card as Markdown."""
    training = description.training
    provenance, history = training["provenance"], training["history"]
    datasets = provenance.get("dataset", "HAM10000").split(", ")
    runs = list(_runs(training))
    card = _rendered(
        "card.md.j2",
        bundle=description,
        diagnoses=BY_CODE,
        default_prior=priors.DEFAULT,
        datasets=datasets,
        source=credits.joined(datasets),
        recipe=training["recipe"],
        first_recipe=next(run.recipe for run in runs if not run.starts),
        provenance=provenance,
        runs=runs,
        history=history,
        validated=any("validation_balanced_accuracy" in row for row in history),
        rarest=min(description.prior, key=lambda code: description.prior[code]),
    )
    return card + "\n"


def result(title: str, measured: dict) -> str:
    """Return measures as Markdown.

    Args:
        title: names the data.
        measured: as `evaluation.evaluate` returns it.
    """
    return _rendered("measures.md.j2", title=title, measured=measured)


def interval(value: dict) -> str:
    """Return a `value` and its interval `low` to `high` as text."""
    return f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"


def cell(value: object) -> str:
    """Return a cell of a bundle's table, as `bundle.Description` describes them, as text."""
    if isinstance(value, dict):
        return interval(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) <= 1 else f"{value:.1f}"
    return str(value)


def _runs(training: dict, one_of_several: bool = False) -> Iterator[Run]:
    """Yield a training and those that it went on from, the last one first."""
    starts = training.get("starts", [])
    yield Run(
        training["recipe"],
        training["provenance"],
        training["history"],
        len(starts),
        one_of_several,
    )
    for start in starts:
        yield from _runs(start, one_of_several=len(starts) > 1)


def _by_command(measured: dict) -> dict[str, dict]:
    """Return each command to the `tables` and `figures` that it made."""
    kinds = ("tables", "figures")
    made = [(kind, *item) for kind in kinds for item in measured.get(kind, {}).items()]
    found: dict[str, dict] = {item["command"]: {kind: {} for kind in kinds} for _, _, item in made}
    for kind, name, item in made:
        found[item["command"]][kind][name] = item
    return found


def _markdown(table: dict) -> str:
    rows = [[cell(value) for value in row] for row in table["rows"]]
    lines = [table["columns"], ["---"] * len(table["columns"]), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _options(recipe: dict) -> str:
    return ", ".join(
        f"{key.replace('_', ' ')} {'none' if value in ('', None) else value}"
        for key, value in recipe.items()
    )


def _decimals(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _rendered(template: str, **values: object) -> str:
    """Fill a template in; its paragraphs are wrapped, and one empty line is between blocks."""
    blocks = re.split(r"\n{2,}", _TEMPLATES.get_template(template).render(values).strip())
    return "\n\n".join(_wrapped(block) for block in blocks)


def _wrapped(block: str) -> str:
    """Wrap a paragraph or a list; code in backticks stays on one line, to be copied."""
    if block.startswith(KEPT):
        return block
    items = re.split(r"\n(?=- )", block)
    return "\n".join(_filled(item, "  " if item.startswith("- ") else "") for item in items)


def _filled(text: str, indent: str) -> str:
    solid = re.sub(r"`[^`]*`", lambda code: code[0].replace(" ", "\N{NO-BREAK SPACE}"), text)
    filled = textwrap.fill(
        re.sub(r"[ \n]+", " ", solid),
        WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return filled.replace("\N{NO-BREAK SPACE}", " ")


_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters.update(
    cell=cell,
    interval=interval,
    by_command=_by_command,
    markdown=_markdown,
    options=_options,
    decimals=_decimals,
    percent=lambda share, digits=1: f"{100 * share:.{digits}f} %",
    thousands=lambda number: f"{number:,}",
)
