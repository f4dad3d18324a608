"""The examples in docstrings say what happens."""

import doctest
from importlib import import_module

import pytest
from conftest import ROOT

WITH_EXAMPLES = [
    path for path in sorted((ROOT / "skin_cancer").rglob("*.py")) if ">>> " in path.read_text()
]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.stem)
def test_examples(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    result = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted
    assert not result.failed
