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

BY_CODE = {diagnosis.code: diagnosis for diagnosis in ISIC_2019}
BY_HAM_CODE = {diagnosis.ham_code: diagnosis for diagnosis in ISIC_2019 if diagnosis.ham_code}

_SAME: dict[str, tuple[str, ...]] = {diagnosis.code: (diagnosis.code,) for diagnosis in ISIC_2018}
_OF_HAM: dict[str, tuple[str, ...]] = {
    code: (diagnosis.code,) for code, diagnosis in BY_HAM_CODE.items()
}

# Each archive's words, and which of our codes they may mean, the likeliest first: ISIC 2019 counts
# Bowen's disease as SCC, HAM10000 and MILK10k as AKIEC. What means none is none of ours.
TAXONOMY: dict[str, dict[str, tuple[str, ...]]] = {
    "HAM10000": _OF_HAM,
    "ISIC 2018": {**_SAME, **_OF_HAM},
    "ISIC 2019": {**_SAME, "AK": ("AKIEC",), "SCC": ("SCC", "AKIEC")},
    "MILK10k": {**_SAME, "SCCKA": ("SCC",), "INF": (), "BEN_OTH": (), "MAL_OTH": ()},
}


def told_apart(archive: str) -> set[str]:
    """Return the codes that the labels of an archive tell apart.

    HAM10000 and ISIC 2018 know no invasive squamous cell carcinoma, nor do drawings.

    >>> sorted(told_apart("MILK10k") - told_apart("HAM10000"))
    ['SCC']
    """
    words = TAXONOMY.get(archive, _OF_HAM)
    return {code for meant in words.values() for code in meant}
