"""What the page and the report say, as HTML."""

import html
import math

from skin_cancer.app.reading import Opinion, Reading
from skin_cancer.data import credits
from skin_cancer.diagnoses import BY_CODE
from skin_cancer.model.bundle import Description
from skin_cancer.model.classifier import DISCLAIMER, Prediction
from skin_cancer.model.classifier import percent as plain_percent
from skin_cancer.model.uncertainty import UNFAMILIAR

UNUSUAL = UNFAMILIAR / 2
UNKNOWN = "Unlike anything the model has learnt"
ARCHIVE = "https://api.isic-archive.com/images/"


def answer_html(opinion: Opinion) -> str:
    """Return reasons for doubt, diagnosis, verdict, bars, meaning and how sure it is as HTML."""
    reading, prediction = opinion.reading, opinion.prediction
    strange = prediction.unfamiliar
    return f"""
<section class="sc-answer{" sc-strange" if strange else ""}" aria-label="Result">
  <p class="sc-small">{html.escape(reading.name)}</p>
  {_warnings(prediction.warnings)}
  <h2>{html.escape(headline(opinion))}</h2>
  {_if_it_is_one(prediction) if strange else verdict_html(opinion)}
  {_confirmed(reading.confirmed)}
  {_bars(prediction)}
  {"" if strange else f"<p>{html.escape(BY_CODE[prediction.diagnosis].meaning)}</p>"}
  {_set(prediction, strange)}
  {_familiarity(prediction.unfamiliarity)}
  <p class="sc-small">Assumed: {html.escape(opinion.prior.source)}
  ({_shares(prediction.prior)}).</p>
  <p class="sc-small">A probability is not certainty: show any lesion that worries you, or that
  changes, to a doctor.</p>
</section>"""


def headline(opinion: Opinion) -> str:
    """Return the answer in one line, as plain text."""
    return UNKNOWN if opinion.prediction.unfamiliar else conclusion(opinion.prediction)


def named(prediction: Prediction) -> tuple[str, ...]:
    """Return the ISIC codes that an answer names: the most probable, then its prediction set.

    The sets do not depend on the prior, the most probable diagnosis does: it may be in none.
    """
    return tuple(dict.fromkeys((prediction.diagnosis, *prediction.prediction_set)))


def conclusion(prediction: Prediction) -> str:
    """Return the most probable diagnosis and what else is in the prediction set, as plain text."""
    first, *others = named(prediction)
    feared = [code for code in others if BY_CODE[code].malignant]
    harmless = [code for code in others if code not in feared]
    words = f"Most likely {BY_CODE[first].name}"
    if feared:
        words += f"; {_named(feared)} cannot be excluded"
    elif harmless:
        words += f"; {_named(harmless)} {'is' if len(harmless) == 1 else 'are'} possible too"
    return words


def verdict_html(opinion: Opinion) -> str:
    """Return the malignancy and how it stands to the threshold as HTML."""
    verdict = opinion.verdict
    malignancy, threshold = map(html.escape, verdict.percents)
    large = f'<p class="sc-large">Malignant or a precursor: <strong>{malignancy}</strong></p>'
    if verdict.suspicious is None:
        return f'{large}<p class="sc-verdict">{html.escape(_capital(verdict.words))}.</p>'
    kind, sign = ("above", "▲") if verdict.suspicious else ("below", "▽")
    more = "" if verdict.suspicious else " It may still be malignant."
    return f"""{large}
  <p class="sc-verdict sc-{kind}"><strong><span aria-hidden="true">{sign}</span>
  {_capital(verdict.words)}</strong> ({threshold}, set to find {percent(verdict.sensitivity)} of
  malignant lesions).{more}</p>
  {_found(opinion.found)}"""


def _found(found):
    if not found:
        return ""
    sensitivity, specificity = (found[name]["value"] for name in ("sensitivity", "specificity"))
    words = (
        f"On {found['images']:,} test images this threshold called {sensitivity:.1%} of the "
        f"malignant lesions and {1 - specificity:.1%} of the benign ones suspicious."
    )
    return f'<p class="sc-small">{words.replace("%", " %")}</p>'


def _capital(words):
    return words[0].upper() + words[1:]


def cases_html(reading: Reading) -> str:
    """Return the most similar confirmed cases as HTML.

    Nothing if the bundle has none, or if the picture is unlike any of them.
    """
    if reading.prediction.doubt is None or reading.prediction.unfamiliar:
        return ""
    return f"""
<table class="sc-cases">
  <caption>Most similar confirmed cases</caption>
  <thead><tr><th scope="col">Diagnosis</th><th scope="col">ISIC Archive</th>
  <th scope="col">Distance</th></tr></thead>
  <tbody>{"".join(_case(case) for case in reading.prediction.similar())}</tbody>
</table>
<p class="sc-small">From the training images. Distance 0: alike in all that the model sees; 1: in
nothing. A link opens the public archive; until then nothing
is fetched from there.</p>"""


def _case(case):
    number = html.escape(case.image_id, quote=True)
    address = f"{ARCHIVE}{number}/"
    return (
        f'<tr><th scope="row">{html.escape(BY_CODE[case.diagnosis].name)}</th><td>'
        f'<a href="{address}" target="_blank" rel="noopener noreferrer">{number}</a></td>'
        f"<td>{1 - case.similarity:.2f}</td></tr>"
    )


def measures_html(reading: Reading) -> str:
    """Return the lesion's measures as an HTML table, or why there are none."""
    if reading.prediction.unfamiliar:
        return '<p class="sc-small">In a picture of an unknown kind no lesion is outlined.</p>'
    found = reading.measures
    if math.isnan(found["asymmetry"]):
        return '<p class="sc-small">No lesion was found, so that none is outlined.</p>'
    rows = {
        "Area": (percent(found["area"]), "of the square"),
        "Asymmetry": (percent(found["asymmetry"]), "of it left uncovered by its mirror image"),
        "Border": (f"{found['border irregularity']:.1f}", "irregularity; 1 is a circle"),
        "Colours": (str(len(reading.colours)), ", ".join(reading.colours)),
    }
    cells = "".join(
        f'<tr><th scope="row">{name}</th><td>{value}</td><td>{html.escape(words)}</td></tr>'
        for name, (value, words) in rows.items()
    )
    return f"""<table class="sc-measures"><caption>The outlined lesion</caption>{cells}</table>"""


def footer_html(description: Description) -> str:
    """Return what the page is not, where pictures go, which model answers and its terms as HTML."""
    datasets = description.training["provenance"]["dataset"]
    terms = credits.joined(datasets.split(", ")).terms
    return f"""
<footer class="sc-small">
  <p><strong>Not a medical device.</strong> {html.escape(DISCLAIMER)}</p>
  <p>Your pictures stay in the memory of the computer that serves this page: nothing is written
  to disk, nothing is sent on, and they are gone when you close the page.</p>
  <p>Model {html.escape(description.name)}: trained on
  {html.escape(datasets)}, {len(description.diagnoses)} diagnoses; it has no answer for any other.
  Its weights are {html.escape(terms)}; the code is under the MIT licence.</p>
</footer>"""


def _warnings(sentences):
    if not sentences:
        return ""
    items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences)
    return f"""<div class="sc-warning" role="alert">
  <p><span aria-hidden="true">⚠</span> Doubtful answer</p><ul>{items}</ul>
</div>"""


def _if_it_is_one(prediction):
    found = BY_CODE[prediction.diagnosis]
    return f"""<p>If it is a dermatoscopic picture of a lesion: {html.escape(found.name)},
  {percent(prediction.probabilities[found.code])} probability.</p>"""


def _confirmed(code):
    if code is None:
        return ""
    name = html.escape(BY_CODE[code].name)
    return f"<p>An example from the ISIC Archive. Confirmed diagnosis: <strong>{name}</strong>.</p>"


def _set(prediction, strange):
    if strange or not prediction.prediction_set:
        return ""  # the sets were measured on familiar pictures
    names = html.escape(_named(named(prediction)))
    return f"""<p class="sc-small">Likely enough to be named: {names}. In at least nine of ten
  lesions the true diagnosis is meant to be among those so named.</p>"""


def _familiarity(unfamiliarity):
    if unfamiliarity is None:
        return ""
    return f"""<div class="sc-familiarity">
  <span class="sc-meter" aria-hidden="true"><span style="width:{unfamiliarity:.1%}"></span></span>
  <span>{_in_words(unfamiliarity)}
  <span class="sc-kind">unfamiliarity {percent(unfamiliarity)}; mark: limit, {percent(UNFAMILIAR)}
  </span></span>
</div>"""


def _in_words(unfamiliarity):
    if unfamiliarity > UNFAMILIAR:
        return "Unlike the pictures the model learnt from"
    if unfamiliarity > UNUSUAL:
        return "Somewhat unusual for this model"
    return "Looks like the pictures the model learnt from"


def _bars(prediction):
    first = prediction.diagnosis
    rows = "".join(_bar(code, p, code == first) for code, p in prediction.probabilities.items())
    return f"""<table class="sc-bars">
    <caption>Probability of each diagnosis</caption>
    {rows}
  </table>"""


def _bar(code, probability, first):
    diagnosis = BY_CODE[code]
    kind = "malignant or a precursor" if diagnosis.malignant else "benign"
    return (
        f"<tr{' class=sc-first' if first else ''}>"
        f'<th scope="row">{html.escape(diagnosis.name)} <span class="sc-kind">{kind}</span></th>'
        f'<td class="sc-track"><div style="width:{probability:.1%};background:{diagnosis.colour}">'
        f"</div></td><td>{percent(probability)}</td></tr>"
    )


def _shares(prior):
    return ", ".join(f"{html.escape(BY_CODE[c].name)} {percent(p)}" for c, p in prior.items())


def _named(codes):
    names = [BY_CODE[code].name for code in codes]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def percent(share: float) -> str:
    """Return a share in words, as HTML: small ones begin with a sign that has to be escaped."""
    return html.escape(plain_percent(share))
