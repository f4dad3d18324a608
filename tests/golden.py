"""The shipped bundle's answers to drawn lesions: python tests/golden.py writes them anew."""

import json
from pathlib import Path

from skin_cancer import Classifier
from skin_cancer.data import sample
from skin_cancer.diagnoses import ISIC_2018
from skin_cancer.model import bundle

PATH = Path(__file__).parent / "expected" / "golden.json"
SEED = 11


def pictures():
    """One drawing of each diagnosis: uint8 RGB (450, 600, 3) by its ISIC code."""
    codes = [diagnosis.code for diagnosis in ISIC_2018]
    return {code: sample.draw(code, SEED, artefacts=()).image for code in codes}


def answers(graph):
    """By the drawn diagnosis: each probability, and the unfamiliarity."""
    classifier = Classifier.load(graph=graph)
    found = {}
    for code, picture in pictures().items():
        prediction = classifier.predict(picture, prior="balanced")
        found[code] = {**prediction.probabilities, "unfamiliarity": prediction.unfamiliarity}
    return found


if __name__ == "__main__":
    told = {graph: answers(graph) for graph in bundle.GRAPHS}
    PATH.write_text(json.dumps(told, indent=1) + "\n")
