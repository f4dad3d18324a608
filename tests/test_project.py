"""The project's own promises: pins, documents and figures agree with each other."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from skin_cancer.model import bundle, card

PIN = re.compile(r"^([a-z0-9_.-]+==[^ \\\n]+)", re.MULTILINE | re.IGNORECASE)


def pins(name):
    """The pins of a lock and of those that it builds on."""
    text = (ROOT / "locks" / name).read_text()
    below = re.findall(r"^-r (\S+)$", text, re.MULTILINE)
    return set(PIN.findall(text)).union(*map(pins, below))


def versions(pinned):
    """The versions of each package, where one differs by Python or system."""
    found = {}
    for pin in pinned:
        name, version = pin.split("==")
        found.setdefault(name, set()).add(version)
    return found


def test_locks_come_from_one_resolution():
    assert pins("app.txt") < pins("batch.txt") < pins("notebooks.txt") < pins("test.txt")
    assert pins("batch.txt") < pins("cloud.txt")
    assert pins("environment.txt") == pins("notebooks.txt")
    together = versions(pins("test.txt"))
    for name, found in versions(pins("cloud.txt")).items():
        assert found <= together.get(name, found)


def test_app_lock_holds_no_heavy_library():
    names = {pin.split("==")[0] for pin in pins("app.txt")}
    assert not names & {"tensorflow", "keras", "pandas", "scikit-learn", "matplotlib"}


LOCKS = {path.name for path in (ROOT / "locks").glob("*.txt")} - {"environment.txt"}


@pytest.mark.parametrize("name", sorted(LOCKS))
def test_every_pin_has_hashes_and_no_lock_names_a_host(name):
    text = (ROOT / "locks" / name).read_text()
    assert len(re.findall(r"^\S+==.*\\\n    --hash=sha256:", text, re.MULTILINE)) == len(
        PIN.findall(text)
    )
    assert "://" not in text


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {"app": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
OWN = canonicalize_name(PROJECT["name"])


def needed(extra):
    """The name of each package that an extra needs here, directly or not, to what is asked of it.

    What packages ask for themselves is read from those that are installed.
    """
    found, waiting = {}, [Requirement(line) for line in EXTRAS["app"] + EXTRAS[extra]]
    seen = set()
    while waiting:
        asked = waiting.pop()
        name = canonicalize_name(asked.name)
        if str(asked) in seen:
            continue
        seen.add(str(asked))
        if name == OWN:
            waiting += [Requirement(line) for each in asked.extras for line in EXTRAS[each]]
            continue
        found.setdefault(name, SpecifierSet())
        found[name] &= asked.specifier
        for line in importlib.metadata.requires(name) or ():
            other = Requirement(line)
            if any(holds(other, each) for each in asked.extras | {""}):
                waiting.append(other)
    return found


def holds(requirement, extra=""):
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def pinned_here(name):
    """The version of each package that a lock pins for this Python and system."""
    lines = [Requirement(line) for line in lines_of(name)]
    return {
        canonicalize_name(each.name): str(each.specifier).removeprefix("==")
        for each in lines
        if holds(each)
    }


def lines_of(name):
    text = (ROOT / "locks" / name).read_text()
    below = re.findall(r"^-r (\S+)$", text, re.MULTILINE)
    own = re.findall(r"^([^\s#-][^\\\n]*)", text, re.MULTILINE)
    return own + [line for each in below for line in lines_of(each)]


@pytest.mark.parametrize("extra", [name for name in EXTRAS if name != "cloud"])
def test_a_lock_pins_what_the_project_needs_and_nothing_else(extra):
    asked, pinned = needed(extra), pinned_here(f"{extra}.txt")
    assert pinned.keys() == asked.keys()
    for name, version in pinned.items():
        assert asked[name].contains(version, prereleases=True), name
        assert importlib.metadata.version(name) == version, name


def test_the_locks_are_those_of_the_extras():
    assert {name.removesuffix(".txt") for name in LOCKS} == set(EXTRAS)
    named = {canonicalize_name(Requirement(line).name) for line in EXTRAS["cloud"]} - {OWN}
    assert named <= pinned_here("cloud.txt").keys()


def test_the_environment_is_of_a_python_that_the_project_takes():
    text = (ROOT / "environment.yml").read_text()
    [version] = re.findall(r"- python=(\S+)$", text, re.MULTILINE)
    assert f"{version}.0" in SpecifierSet(PROJECT["requires-python"])
    assert re.findall(r"^      - (.*)$", text, re.MULTILINE) == [
        "-r locks/environment.txt",
        "--editable .",
    ]


def test_what_is_installed_is_checked_by_its_hash():
    text = (ROOT / "Makefile").read_text()
    installs = re.findall(r"\$\(PIP\) install (.*)", text)
    assert installs == [
        "--require-hashes --requirement $<",
        "--no-deps --no-build-isolation --editable .",
    ]


@pytest.mark.parametrize("folder", [bundle.DEFAULT_BUNDLE, bundle.MEASURED_BUNDLE])
def test_card_of_a_bundle_is_the_one_its_description_gives(folder):
    assert (folder / bundle.CARD).read_text() == card.model_card(bundle.read(folder))


def test_readme_states_the_measured_figures():
    readme = (ROOT / "README.md").read_text()
    found = bundle.read(bundle.DEFAULT_BUNDLE).metrics
    for archive in ("HAM10000", "ISIC 2019", "MILK10k"):
        for value in found[f"{archive}, holdout"]["measures"].values():
            assert card.interval(value) in readme


def test_the_shipped_bundle_goes_on_from_the_measured_one():
    ours, theirs = (bundle.read(f) for f in (bundle.DEFAULT_BUNDLE, bundle.MEASURED_BUNDLE))
    held_out = [description.training["recipe"]["holdout"] for description in (ours, theirs)]
    assert held_out == ["included", "apart"]
    assert ours.training["starts"] == [theirs.training]
    assert {measured["network"] for measured in ours.metrics.values()} == {theirs.name}


def test_readme_names_every_module_and_no_other():
    readme = (ROOT / "README.md").read_text()
    picture = readme.split("```text")[1].split("```")[0]
    named = set(re.findall(r"\b(\w+\.py)\b", picture))
    there = {path.name for path in (ROOT / "skin_cancer").rglob("*.py")} - {
        "__init__.py",
        "__main__.py",
    }
    assert named == there


def test_versions_agree():
    assert f"\nversion: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text()


def test_notebook_is_a_few_thin_cells():
    cells = json.loads((ROOT / "app.ipynb").read_text())["cells"]
    assert len(cells) <= 4
    assert all(len(cell["source"]) <= 10 for cell in cells)


def test_a_machine_that_only_trains_needs_neither_jupyter_nor_downloads():
    absent = (
        "pooch",
        "requests",
        "matplotlib",
        "seaborn",
        "papermill",
        "ai_edge_litert",
        "IPython",
    )
    code = f"import sys; sys.modules.update(dict.fromkeys({absent}));"
    code += "import skin_cancer.training.train"
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
