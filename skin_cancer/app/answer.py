"""What the page and the report say, as HTML."""

import html
import math

from skin_cancer.app.reading import Opinion, Reading, terms
from skin_cancer.diagnoses import BY_CODE
from skin_cancer.model.bundle import Description
from skin_cancer.model.classifier import DISCLAIMER, STRANGE, Prediction
from skin_cancer.model.classifier import percent as plain_percent
from skin_cancer.model.uncertainty import UNFAMILIAR

UNUSUAL = UNFAMILIAR / 2
UNKNOWN = "No answer: unlike the training images"
LIKELY = 0.05  # the least probability of a diagnosis that is named whatever the prediction set
WHAT_TO_DO = (
    "Check that this is a dermatoscopic image of one lesion, in focus and in the centre square; if "
    "not, take it again. If it is, this model cannot judge it. That does not mean harmless."
)
CAUTION = "Not a medical device. No result excludes cancer."
CLOSE, CLOSENESS = "close to the threshold", 1.5  # in odds
SIGNS = {True: "▲", False: "▽", None: ""}
RISK = "probability that it is malignant or precancerous"
TICKS = (0, 0.05, 0.25, 0.5, 1)  # of the scale
ARCHIVE = "https://api.isic-archive.com/images/"


def answer_html(opinion: Opinion) -> str:
    """Return what is said of a lesion as HTML: doubt, verdict, differential, bars, explanation.

    An image that is unlike the training images gets a reason and what to do instead.
    """
    prediction = opinion.prediction
    said = _no_answer() if prediction.unfamiliar else _answer(opinion)
    return f"""
<section class="sc-answer" aria-label="Result">
  <p class="sc-small">{html.escape(opinion.reading.name)}</p>
  {_warnings([words for words in prediction.warnings if words != STRANGE])}
  {said}
  {_confirmed(opinion)}
  {"" if prediction.unfamiliar else _bars(prediction)}
  {_about(opinion)}
</section>"""


def _no_answer():
    return f'<div class="sc-verdict sc-none"><h2>{UNKNOWN}</h2><p>{WHAT_TO_DO}</p></div>'


def _answer(opinion):
    return verdict_html(opinion) + _differential(opinion)


def headline(opinion: Opinion) -> str:
    """Return verdict, number and diagnosis in one line, as plain text."""
    if opinion.prediction.unfamiliar:
        return UNKNOWN
    verdict = opinion.verdict
    return f"{_capital(verdict.words)}, {verdict.percents[0]}. {conclusion(opinion.prediction)}"


def named(prediction: Prediction) -> tuple[str, ...]:
    """Return the ISIC codes that an answer names, the most probable first.

    They are those of its prediction set and, since that does not depend on the prior, those that
    are most probable or not improbable under it.
    """
    chances = prediction.probabilities
    likely = {code for code, chance in chances.items() if round(chance, 2) >= LIKELY}
    codes = {prediction.diagnosis, *prediction.prediction_set} | likely
    return tuple(sorted(codes, key=lambda code: -chances[code]))


def differential(prediction: Prediction) -> dict[str, list[str]]:
    """Return the diagnoses that an answer names, under the words by which it names them.

    Returns:
        `Most likely`, more than one in a tie, and where there are any `Cannot be excluded`, which
        are malignant or precancerous, and `Also possible`, which are benign: ISIC codes, the most
        probable first.
    """
    codes, chances = named(prediction), prediction.probabilities
    first = [code for code in codes if percent(chances[code]) == percent(chances[codes[0]])]
    others = [code for code in codes if code not in first]
    feared = [code for code in others if BY_CODE[code].malignant]
    harmless = [code for code in others if code not in feared]
    groups = {"Most likely": first, "Cannot be excluded": feared, "Also possible": harmless}
    return {words: codes for words, codes in groups.items() if codes}


def conclusion(prediction: Prediction) -> str:
    """Return the differential in one line, as plain text."""
    return ". ".join(f"{words}: {_named(c)}" for words, c in differential(prediction).items())


def _differential(opinion):
    prediction = opinion.prediction
    groups = differential(prediction).items()
    rows = "".join(
        f"<dt>{words}</dt><dd>{', '.join(_chance(prediction, code) for code in codes)}</dd>"
        for words, codes in groups
    )
    first = BY_CODE[prediction.diagnosis]
    told = "</dd>"
    if first.malignant or not opinion.verdict.suspicious:  # "harmless" is no word beside suspicious
        told += f'<dd class="sc-small sc-meaning">{html.escape(first.meaning)}</dd>'
    return f'<dl class="sc-differential">{rows.replace("</dd>", told, 1)}</dl>'


def _chance(prediction, code):
    name, chance = html.escape(BY_CODE[code].name), prediction.probabilities[code]
    return f"{name} <span>{percent(chance)}</span>"


def verdict_html(opinion: Opinion) -> str:
    """Return the verdict, the number and both on a scale as HTML."""
    verdict = opinion.verdict
    number, threshold = map(html.escape, verdict.percents)
    if not number:
        return f'<div class="sc-verdict sc-none"><h2>{_capital(verdict.words)}</h2></div>'
    aim = percent(verdict.sensitivity)
    told = f"""<p class="sc-small">Threshold {threshold}, set so that {aim} of malignant lesions lie
  above it ({aim} sensitivity).</p>"""
    return f"""<div class="sc-verdict sc-{_kind(opinion)}">
  <h2><span aria-hidden="true">{SIGNS[verdict.suspicious]}</span> {_capital(verdict.words)}</h2>
  <p><strong>{number}</strong> {RISK}</p>
  {_reserved(opinion)}
  {_scale(verdict)}
  {told if threshold else ""}
</div>"""


def _kind(opinion):
    """Return the look of a verdict: reassuring only where nothing speaks against it."""
    if opinion.verdict.suspicious:
        return "above"
    return "none" if opinion.verdict.suspicious is None or _reservations(opinion) else "below"


def _reserved(opinion):
    suspicious, reasons = opinion.verdict.suspicious, _reservations(opinion)
    if suspicious:
        return "<p>Suspicious, but close to the threshold.</p>" if CLOSE in reasons else ""
    if suspicious is None or not reasons:
        return ""
    return f"<p>Not an all-clear: {html.escape(', '.join(reasons))}.</p>"


def _reservations(opinion):
    """Return why a verdict below the threshold does not reassure, in words."""
    prediction = opinion.prediction
    feared = [code for code in named(prediction) if BY_CODE[code].malignant]
    reasons = [CLOSE] if _is_close(opinion.verdict) else []
    if feared:
        reasons.append(f"{_named(feared)} cannot be excluded")
    if (prediction.unfamiliarity or 0) > UNUSUAL:
        reasons.append("the image is somewhat unlike the training images")
    if prediction.warnings:
        reasons.append("there are reasons for doubt")
    return reasons


def _is_close(verdict):
    if verdict.threshold is None:
        return False
    odds = [share / max(1 - share, 1e-9) for share in (verdict.malignancy, verdict.threshold)]
    return max(odds) < CLOSENESS * min(odds)


def _scale(verdict):
    """Return a scale from 0% to 100%, its lower end stretched: thresholds are small."""
    number, threshold = verdict.percents
    told = f"{number} on a scale from 0% to 100%" + (f"; threshold {threshold}" * bool(threshold))
    label = mark = ""
    if threshold:
        place = _along(verdict.threshold)
        inside = f"clamp(2.2rem, {place}, 100% - 2.2rem)"
        label = f'<span style="left:{inside}">threshold</span>'
        mark = f'<i style="left:{place}"></i>'
    ticks = "".join(f'<span style="left:{_along(t)}">{t:.0%}</span>' for t in TICKS)
    return f"""<div class="sc-risk" role="img" aria-label="{html.escape(told)}">
    <div class="sc-ticks sc-mark">{label}</div>
    <div class="sc-rail">{mark}<b style="left:{_along(verdict.malignancy)}"></b></div>
    <div class="sc-ticks">{ticks}</div>
  </div>"""


def _along(share):
    return f"{math.sqrt(share):.1%}"


def _capital(words):
    return words[0].upper() + words[1:]


def cases_html(reading: Reading) -> str:
    """Return the most similar confirmed cases as HTML.

    Nothing if the bundle has none, or if the image is unlike any of them.
    """
    if reading.prediction.doubt is None or reading.prediction.unfamiliar:
        return ""
    return f"""
<table class="sc-cases">
  <caption>Similar confirmed cases</caption>
  <thead><tr><th scope="col">Diagnosis</th><th scope="col">Image</th>
  <th scope="col">Distance</th></tr></thead>
  <tbody>{"".join(_case(case) for case in reading.prediction.similar())}</tbody>
</table>
<p class="sc-small">From the training images. Distance 0 means alike in all that the model sees, 1
in nothing. A link opens the public archive; nothing is fetched from there before.</p>"""


def _case(case):
    number = html.escape(case.image_id, quote=True)
    link = f'<a href="{ARCHIVE}{number}/" target="_blank" rel="noopener noreferrer">{number}</a>'
    return (
        f'<tr><th scope="row">{html.escape(BY_CODE[case.diagnosis].name)}</th>'
        f"<td>{link if number.startswith('ISIC_') else number}</td>"
        f"<td>{1 - case.similarity:.2f}</td></tr>"
    )


def measures_html(reading: Reading) -> str:
    """Return the lesion's measures as an HTML table, or why there are none."""
    if reading.prediction.unfamiliar:
        return '<p class="sc-small">Images unlike the training images get no outline.</p>'
    found = reading.measures
    if math.isnan(found["asymmetry"]):
        return '<p class="sc-small">No lesion was found, so none is outlined.</p>'
    rows = {
        "Area": (percent(found["area"]), "of the square"),
        "Asymmetry": (percent(found["asymmetry"]), "not covered by its mirror image"),
        "Border": (f"{found['border irregularity']:.1f}", "irregularity; a circle has 1"),
        "Colours": (str(len(reading.colours)), ", ".join(reading.colours)),
    }
    cells = "".join(
        f'<tr><th scope="row">{name}</th><td>{value}</td><td>{html.escape(words)}</td></tr>'
        for name, (value, words) in rows.items()
    )
    return f"""<table class="sc-measures"><caption>The outlined lesion</caption>{cells}</table>"""


def footer_html(description: Description) -> str:
    """Return what the page is not, where images go, which model answers and its terms as HTML."""
    datasets = description.training["provenance"]["dataset"]
    return f"""
<footer class="sc-small">
  <p>{html.escape(DISCLAIMER)} Show any lesion that worries you, or that changes, to a doctor.</p>
  <p>Your images stay in the memory of the computer that serves this page. Nothing is written to
  disk or sent on, and all of it is gone when you close the page.</p>
  <p>Model {html.escape(description.name)}: trained on {html.escape(datasets)}. It knows
  {len(description.diagnoses)} diagnoses and has no answer for any other. Its weights are
  {html.escape(terms(description))}; the code is under the MIT licence.</p>
</footer>"""


def _warnings(sentences):
    if not sentences:
        return ""
    items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences)
    return f"""<div class="sc-warning">
  <p><span aria-hidden="true">⚠</span> Reasons for doubt</p><ul>{items}</ul>
</div>"""


def _confirmed(opinion):
    code, prediction = opinion.reading.confirmed, opinion.prediction
    if code is None:
        return ""
    judged = "the model is right" if code == prediction.diagnosis else "the model is wrong"
    return f"""<p class="sc-confirmed">Confirmed diagnosis of this example:
  <strong>{html.escape(BY_CODE[code].name)}</strong>
  {"" if prediction.unfamiliar else f"({judged})"}</p>"""


def _about(opinion):
    """Return what is behind the numbers, folded until asked for."""
    parts = {
        "Sensitivity": _sensitivity(opinion),
        "Prevalence": f"Assumed: {html.escape(opinion.prior.source)}: "
        f"{_shares(opinion.prediction.prior)}.",
        "Prediction set": _set(opinion.prediction),
        "Familiarity": _familiarity(opinion.prediction.unfamiliarity),
        "Weights": f"The model's weights are {html.escape(opinion.terms)}.",
    }
    items = "".join(f"<dt>{name}</dt><dd>{words}</dd>" for name, words in parts.items() if words)
    return f"""<details class="sc-about"><summary>About this answer</summary>
  <dl>{items}</dl></details>"""


def _sensitivity(opinion):
    verdict, found = opinion.verdict, opinion.found
    if verdict.suspicious is None:
        return ""
    aim = f"The threshold is set to find {percent(verdict.sensitivity)} of malignant lesions."
    return aim + (_found(found) if found else "")


def _found(found):
    """Return a table of what a threshold found on each set of test images."""
    rows = "".join(
        f"""<tr><th scope="row">{html.escape(measured["title"].split(",")[0])}</th>
  <td>{measured["images"]:,}</td><td>{_interval(measured["sensitivity"])}</td>
  <td>{_interval(measured["specificity"])}</td></tr>"""
        for measured in found
    )
    return f""" What it did on test images, with 95% intervals:
  <table class="sc-cases"><thead><tr><th scope="col">Archive</th><th scope="col">Images</th>
  <th scope="col">Malignant above it</th><th scope="col">Benign below it</th></tr></thead>
  <tbody>{rows}</tbody></table>"""


def _interval(measured):
    value, low, high = (f"{100 * measured[name]:.1f}" for name in ("value", "low", "high"))
    return f"{value}% <span class='sc-kind'>{low} to {high}%</span>"


def _set(prediction):
    if prediction.unfamiliar or not prediction.prediction_set:
        return ""  # the sets were measured on familiar images
    names = html.escape(_named(prediction.prediction_set))
    return f"{_capital(names)}. For nine of ten lesions such a set holds the true diagnosis."


def _familiarity(unfamiliarity):
    if unfamiliarity is None:
        return ""
    return f"""{_in_words(unfamiliarity)}
  <span class="sc-meter" aria-hidden="true"><span style="width:{unfamiliarity:.1%}"></span></span>
  <span class="sc-kind">Unfamiliarity {percent(unfamiliarity)}; above {percent(UNFAMILIAR)} there is
  no answer.</span>"""


def _in_words(unfamiliarity):
    if unfamiliarity > UNFAMILIAR:
        return "Unlike the training images."
    if unfamiliarity > UNUSUAL:
        return "Somewhat unlike the training images."
    return "Like the training images."


def _bars(prediction):
    first = prediction.diagnosis
    rows = "".join(_bar(code, p, code == first) for code, p in prediction.probabilities.items())
    return f"""<table class="sc-bars">
    <caption>Probability of each diagnosis</caption>
    {rows}
  </table>"""


def _bar(code, probability, first):
    diagnosis = BY_CODE[code]
    kind = "malignant or precancerous" if diagnosis.malignant else "benign"
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
