"""The diagnoses of the ISIC challenges: the one place for their order, names and colours.

ISIC 2018 has seven. ISIC 2019 adds squamous cell carcinoma; what it calls AK is AKIEC here.
AKIEC holds Bowen's disease, which is squamous cell carcinoma in situ; SCC is invasive.

    >>> BY_CODE["BCC"].name, BY_CODE["BCC"].malignant
    ('basal cell carcinoma', True)
    >>> BY_HAM_CODE["nv"].code
    'NV'
    >>> [diagnosis.code for diagnosis in ISIC_2018]
    ['MEL', 'NV', 'BCC', 'AKIEC', 'BKL', 'DF', 'VASC']
    >>> TAXONOMY["ISIC 2019"]["SCC"]
    ('SCC', 'AKIEC')
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Diagnosis:
    """One diagnosis of the ISIC 2018 and 2019 challenges.

    Attributes:
        code: ISIC code, such as `MEL`.
        name: full name in lower case, as it stands within a sentence.
        ham_code: value of the column `dx` in HAM10000, or None if it has no such lesion.
        malignant: whether the lesion is a cancer or, as AKIEC, can grow into one.
        colour: hexadecimal RGB; for the seven of ISIC 2018 the colour-blind-safe palette of
            Okabe & Ito (2008), with grey in place of its yellow and black.
        meaning: one plain sentence.
    """

    code: str
    name: str
    ham_code: str | None
    malignant: bool
    colour: str
    meaning: str


ISIC_2019 = (
    Diagnosis(
        "MEL",
        "melanoma",
        "mel",
        True,
        "#D55E00",
        "A cancer of the pigment cells that can spread early; found early, surgery usually cures "
        "it.",
    ),
    Diagnosis(
        "NV",
        "melanocytic nevus",
        "nv",
        False,
        "#0072B2",
        "A common mole: a growth of pigment cells, usually harmless.",
    ),
    Diagnosis(
        "BCC",
        "basal cell carcinoma",
        "bcc",
        True,
        "#CC79A7",
        "The most frequent skin cancer; it grows slowly and hardly ever spreads, but destroys "
        "the tissue around it if left alone.",
    ),
    Diagnosis(
        "AKIEC",
        "actinic keratosis / intraepithelial carcinoma",
        "akiec",
        True,
        "#E69F00",
        "Sun-damaged skin cells that can grow into a squamous cell carcinoma (actinic "
        "keratosis), or already are one that has not left the outermost layer of the skin "
        "(Bowen's disease: squamous cell carcinoma in situ).",
    ),
    Diagnosis(
        "BKL",
        "benign keratosis",
        "bkl",
        False,
        "#009E73",
        "A harmless change of the outer skin: seborrhoeic keratosis, solar lentigo or "
        "lichen-planus-like keratosis.",
    ),
    Diagnosis(
        "DF",
        "dermatofibroma",
        "df",
        False,
        "#7F7F7F",
        "A harmless firm knot of connective tissue, often after an insect bite or small wound.",
    ),
    Diagnosis(
        "VASC",
        "vascular lesion",
        "vasc",
        False,
        "#56B4E9",
        "A harmless change of blood vessels: angioma, angiokeratoma, pyogenic granuloma or a "
        "bleeding into the skin.",
    ),
    Diagnosis(
        "SCC",
        "squamous cell carcinoma",
        None,
        True,
        "#882255",
        "A cancer of the outer skin; it grows into the depth and can spread.",
    ),
)
ISIC_2018 = ISIC_2019[:7]

_OWN_COLOURS = ("#332288", "#117733", "#44AA99", "#DDCC77", "#AA4499")  # Tol (2021), muted
_SPELLINGS = {"rrhoe": "rrhe", "haem": "hem", "naev": "nev", "nevi": "nevus", "oses": "osis"}

BY_CODE = {diagnosis.code: diagnosis for diagnosis in ISIC_2019}
BY_HAM_CODE = {diagnosis.ham_code: diagnosis for diagnosis in ISIC_2019 if diagnosis.ham_code}

_SAME: dict[str, tuple[str, ...]] = {diagnosis.code: (diagnosis.code,) for diagnosis in ISIC_2018}
_OF_HAM: dict[str, tuple[str, ...]] = {
    code: (diagnosis.code,) for code, diagnosis in BY_HAM_CODE.items()
}
# What people, and the ISIC Archive at any of its levels, call our diagnoses; compared by `plain`.
_NAMES = {
    "MEL": (
        *("melanoma", "malignant melanoma", "melanoma in situ", "melanoma invasive"),
        *("melanoma, NOS", "melanoma metastasis"),
        "malignant melanocytic proliferations (melanoma)",
    ),
    "NV": (
        *("nevus", "melanocytic nevus", "mole", "blue nevus", "dysplastic nevus"),
        "benign melanocytic proliferations",
    ),
    "BCC": ("basal cell carcinoma", "basal cell cancer"),
    "AKIEC": (
        *("actinic keratosis", "solar keratosis", "solar or actinic keratosis", "AK"),
        *("intraepithelial carcinoma", "Bowen's disease", "squamous cell carcinoma in situ"),
        *("squamous cell carcinoma in situ, Bowens disease", "actinic keratosis / Bowen's disease"),
        "actinic keratosis / intraepithelial carcinoma",
    ),
    "BKL": (
        *("benign keratosis", "benign keratosis-like lesion", "pigmented benign keratosis"),
        *("seborrheic keratosis", "solar lentigo", "ink-spot lentigo"),
        *("lichenoid keratosis", "lichen planus like keratosis", "SK"),
    ),
    "DF": ("dermatofibroma",),
    "VASC": (
        *("vascular lesion", "vascular", "hemangioma", "angioma", "cherry angioma"),
        *("angiokeratoma", "pyogenic granuloma"),
        "benign soft tissue proliferations - vascular",
    ),
    "SCC": (
        *("SCC", "squamous cell carcinoma", "squamous cell carcinoma, invasive"),
        *("invasive squamous cell carcinoma", "keratoacanthoma"),
    ),
}
_OWN: dict[str, tuple[str, ...]] = {
    **_SAME,
    **{name: (code,) for code, names in _NAMES.items() for name in names},
    "unknown": (),
    "other": (),
}
# What an export of the ISIC Archive knows beside: a benign lesion of no further name is no nevus.
_NONE = (
    *("benign", "malignant", "indeterminate", "AIMP", "lentigo NOS", "lentigo simplex", "scar"),
    *("atypical melanocytic proliferation", "cafe-au-lait macule", "verruca", "acrochordon"),
    *("angiofibroma or fibrous papule", "adnexal tumor", "neurofibroma"),
)
_EXPORT: dict[str, tuple[str, ...]] = {
    **_OWN,
    "squamous cell carcinoma": ("SCC", "AKIEC"),
    "squamous cell carcinoma, NOS": ("SCC", "AKIEC"),
    **dict.fromkeys(_NONE, ()),
}

# Each archive's words, and which of our codes they may mean, the likeliest first: ISIC 2019 counts
# Bowen's disease as SCC, HAM10000 and MILK10k as AKIEC. What means none is none of ours.
TAXONOMY: dict[str, dict[str, tuple[str, ...]]] = {
    "HAM10000": _OF_HAM,
    "ISIC 2018": {**_SAME, **_OF_HAM},
    "ISIC 2019": {**_SAME, "AK": ("AKIEC",), "SCC": ("SCC", "AKIEC")},
    "MILK10k": {**_SAME, "SCCKA": ("SCC",), "INF": (), "BEN_OTH": (), "MAL_OTH": ()},
    "ISIC Archive": _EXPORT,
    "PAD-UFES-20": {
        "MEL": ("MEL",),
        "NEV": ("NV",),
        "BCC": ("BCC",),
        "ACK": ("AKIEC",),
        "SEK": ("BKL",),
        "SCC": ("SCC", "AKIEC"),
        "BOD": ("AKIEC",),
    },
    "own images": _OWN,
}


# Images of these may show diagnoses of a user's own as well.
OPEN = ("ISIC Archive", "PAD-UFES-20", "own images")


def own(names: str, malignant: str) -> tuple[Diagnosis, ...]:
    """Return diagnoses of a user's own; those that are ours already are left out.

    Args:
        names: of all, with commas between; each is its own code. `word=name` is another word for a
            diagnosis, as of `synonyms`.
        malignant: names of the malignant ones among them, with commas between.

    Raises:
        ValueError: a malignant one is not among the names.

    >>> [(each.code, each.malignant) for each in own("melanoma,wart,verruca=wart", "")]
    [('wart', False)]
    """
    given = [name.rpartition("=")[2] for name in _listed(names)]
    given, cancers = list(dict.fromkeys(given)), _listed(malignant)
    if not set(cancers) <= set(given):
        raise ValueError(f"malignant={malignant!r}: name some of diagnoses={names!r}.")
    ours = {plain(word) for word in _OWN}
    new = [name for name in given if plain(name) not in ours]
    return tuple(
        Diagnosis(name, name, None, name in cancers, _OWN_COLOURS[place % len(_OWN_COLOURS)], "")
        for place, name in enumerate(new)
    )


def synonyms(names: str) -> dict[str, tuple[str, ...]]:
    """Return a user's words for diagnoses, to the codes that they mean.

    >>> synonyms("Seb K=benign keratosis,wart,verruca=wart")
    {'Seb K': ('BKL',), 'wart': ('wart',), 'verruca': ('wart',)}
    """
    ours = {plain(word): meant for word, meant in _OWN.items()}
    pairs = [(name.partition("=")[0].strip(), name.rpartition("=")[2]) for name in _listed(names)]
    return {word: ours.get(plain(meant), (meant.strip(),)) for word, meant in pairs}


def add(diagnoses: Iterable[Diagnosis]) -> None:
    """Make diagnoses of a user's own known in `BY_CODE`, after ours.

    Raises:
        ValueError: one is known as malignant and as benign.
    """
    for each in diagnoses:
        if BY_CODE.setdefault(each.code, each).malignant != each.malignant:
            raise ValueError(f"{each.name} is malignant in one model here and benign in another.")


def _listed(text):
    return [name.strip() for name in text.split(",") if name.strip()]


def plain(word: str) -> str:
    """Return a word without case, marks, plural and British spelling, to compare it by.

    >>> plain("Seborrhoeic_Keratoses") == plain("seborrheic keratosis")
    True
    """
    letters = re.sub(r"[^a-z0-9]+", " ", word.casefold().replace("'s ", "s ")).strip()
    for spelt, other in _SPELLINGS.items():
        letters = letters.replace(spelt, other)
    return letters.removesuffix("s")


def told_apart(archive: str) -> set[str]:
    """Return the codes that the labels of an archive tell apart.

    HAM10000 and ISIC 2018 know no invasive squamous cell carcinoma, nor do drawings. What a user
    has added is told apart in images of the user's own.

    >>> sorted(told_apart("MILK10k") - told_apart("HAM10000"))
    ['SCC']
    """
    words = TAXONOMY.get(archive, _OF_HAM)
    told = {code for meant in words.values() for code in meant}
    return told | (BY_CODE.keys() - set(_NAMES)) if archive in OPEN else told
