"""What is said of the published datasets: citation, licence, instruments, people, limits."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

HAM10000_DOI = "doi:10.7910/DVN/DBW86T"


@dataclass(frozen=True)
class Source:
    """What a dataset means for a model that learnt from it, in sentences of the model card.

    Attributes:
        origin: what it is, with its citation.
        licence: its own, which weights that were trained on it have too.
        terms: what that licence allows, in three words.
        uses: what the model may be used for.
        users: who may use it.
        instrument: with what the pictures were taken.
        people: whose pictures they are, and on what terms.
        ids: what the ids of its images and lesions are.
        limits: of a model that learnt from it.
    """

    origin: str
    licence: str
    terms: str
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
NON_COMMERCIAL = "for non-commercial use only"
USERS = "Doctors who know dermatoscopy; researchers, teachers and students of image analysis."
HAM10000 = Source(
    origin="HAM10000 (Tschandl, Rosendahl, Kittler 2018, doi:10.1038/sdata.2018.161)",
    licence=f"CC BY-NC 4.0 (HAM10000, {HAM10000_DOI})",
    terms=NON_COMMERCIAL,
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
BY_NAME = {
    "HAM10000": HAM10000,
    "ISIC 2018": HAM10000,
    "ISIC 2019": Source(
        origin="ISIC 2019 (HAM10000, BCN20000 and MSK; challenge.isic-archive.com)",
        licence="CC BY-NC 4.0 (ISIC 2019)",
        terms=NON_COMMERCIAL,
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
        licence="CC BY-NC (MILK10k)",
        terms=NON_COMMERCIAL,
        uses=USES,
        users=USERS,
        instrument="MILK10k comes from five centres and does not say which image from which.",
        people="The data came from patients of five centres, and is published under CC BY-NC. "
        "Few images show dark skin.",
        ids="public ids of ISIC and MILK10k",
        limits="MILK10k is mostly confirmed by histology and half of it is basal cell carcinoma: "
        "what a doctor sees in a day is other.",
    ),
    "ISIC Archive": Source(
        origin="an export of the ISIC Archive (isic-archive.com)",
        licence="of each image its own, CC0, CC BY or CC BY-NC (ISIC Archive)",
        terms=NON_COMMERCIAL,
        uses=USES,
        users=USERS,
        instrument="The ISIC Archive joins collections of many cameras and clinics.",
        people="The data came from patients of many clinics; the ISIC Archive names the terms of "
        "each image.",
        ids="public ids of ISIC",
        limits="What the export holds decides what the model knows; on other cameras, other "
        "clinics and other skin expect less.",
    ),
    "PAD-UFES-20": Source(
        origin="PAD-UFES-20 (Pacheco et al. 2020, doi:10.17632/zr7vgbcyr2.1)",
        licence="CC BY 4.0 (PAD-UFES-20)",
        terms="free for any use with attribution",
        uses="Research and teaching on photographs of skin lesions.",
        users=USERS,
        instrument="PAD-UFES-20 holds photographs by smartphone, without a dermatoscope.",
        people="The data came from patients in Espírito Santo, Brazil, and is published under "
        "CC BY 4.0.",
        ids="public ids of PAD-UFES-20",
        limits="Photographs by smartphone are not dermatoscopic images: a model of the ones is not "
        "to be used on the others.",
    ),
    "own images": Source(
        origin="images of one's own",
        licence="that of the images, which this program does not know (own images)",
        terms="on the terms of the images that it was trained on",
        uses=USES,
        users=USERS,
        instrument="What the images were taken with is not recorded.",
        people="Whose images they are, and on what terms, only those know who trained the model.",
        ids="ids of one's own",
        limits="On other cameras, other clinics and other skin than those of its training images "
        "expect less.",
    ),
    "synthetic sample": Source(
        origin="the synthetic sample, drawings made by this project",
        licence="MIT (the synthetic sample)",
        terms="free for any use",
        uses="Teaching, and tests of this project's code; nothing else.",
        users="Teachers, students and developers.",
        instrument="None: the pictures are drawn.",
        people="The data are drawings. No patient is behind them.",
        ids="ids of drawings",
        limits="It was trained on drawings and knows nothing of real lesions: good for teaching "
        "and for tests, and for nothing else.",
    ),
}


def joined(names: Iterable[str]) -> Source:
    """Return what several datasets together mean for a model, each sentence once.

    Args:
        names: of `BY_NAME`.
    """
    sources = [dataclasses.asdict(BY_NAME[name]) for name in names]
    between = {"origin": "; ", "licence": "; ", "terms": "; ", "ids": " and "}
    return Source(
        **{
            key: between.get(key, " ").join(dict.fromkeys(source[key] for source in sources))
            for key in sources[0]
        }
    )
