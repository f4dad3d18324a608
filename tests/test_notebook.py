import pytest

from skin_cancer import ParameterError, notebook

DECLARED = {"data": str, "rate": float, "fold": int | None, "save": bool}
VALUES = {"data": "sample", "rate": 0.1, "fold": 0, "save": False}


def namespace(cell="", **values):
    return {"__annotations__": DECLARED, **VALUES, **values, "In": ["", "x = 1", cell], "x": 1}


def test_declared_parameters_and_nothing_else():
    assert notebook.parameters(namespace()) == VALUES
    given = notebook.parameters(
        namespace("# Parameters\nfold = None\nrate = 1\n", fold=None, rate=1)
    )
    assert given == {**VALUES, "fold": None, "rate": 1}


def test_without_jupyter_there_are_no_injected_names():
    assert notebook.parameters({"__annotations__": {"a": int}, "a": 1}) == {"a": 1}


def test_unknown_parameters_are_named_together():
    with pytest.raises(ParameterError, match=r"epoch is unknown; lr is unknown.*There are data,"):
        notebook.parameters(namespace("# Parameters\nlr = 0.1\nepoch = 3\n", lr=0.1, epoch=3))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("rate", "1e-3", "rate='1e-3' is not of type float"),
        ("save", "true", "save='true' is not of type bool"),
        ("fold", True, "fold=True is not of type int or None"),
        ("fold", 1.5, "fold=1.5 is not of type int or None"),
        ("data", 3.5, r"data=3\.5 is not of type str"),
        ("rate", -1.0, r"rate=-1\.0 is less than 0"),
    ],
)
def test_values_of_the_wrong_type_are_named(name, value, words):
    with pytest.raises(ParameterError, match=words):
        notebook.parameters(namespace(**{name: value}), rate=0)


def test_a_number_given_for_a_text_becomes_text():
    given = namespace("# Parameters\ndata = 0\n", data=0)
    assert notebook.parameters(given)["data"] == given["data"] == "0"


def test_a_list_given_for_a_text_becomes_text():
    assert notebook.parameters(namespace(data=["one", "other"]))["data"] == "one,other"


def test_start_goes_to_the_project_and_prints_versions(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    notebook.start("numpy")
    assert (notebook.ROOT / "pyproject.toml").samefile("pyproject.toml")
    assert "numpy 2." in capsys.readouterr().out
