"""What a repository says that it needs, read from pyproject.toml, setup.cfg and requirements files."""

import platform

import pytest

from rllm_assets.data.issues import Install
from rllm_assets.data.projects import ProjectError, metadata_files, project_of, requirements_of

PYPROJECT = """\
[project]
name = "Calc.Tools"
version = "3.2"
requires-python = ">=3.9"
dependencies = ["attrs >= 22", "tomli; python_version < '3.11'"]

[project.optional-dependencies]
test = ["hypothesis"]
all = ["calc-tools[test]", "rich"]

[project.scripts]
calc = "calc.cli:main"

[project.entry-points."calc.plugins"]
money = "calc.money"

[dependency-groups]
dev = ["ruff", {include-group = "lint"}]
lint = ["mypy", {include-group = "dev"}]
"""
SETUP = """\
[metadata]
name = calc
version = 1.0

[options]
python_requires = >=3.8
install_requires =
    attrs
    # a comment
    six>=1.9

[options.extras_require]
test = pytest-mock
"""


def needs(tree: dict[str, str], **options: object) -> tuple[str, ...]:
    return requirements_of(tree, Install.model_validate(options))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"packages": ["numpy<2", "numpy < 2"]}, ("numpy<2",)),
        ({"project": True}, ("attrs>=22", 'tomli; python_version < "3.11"')),
        ({"extras": ["test"]}, ("hypothesis",)),
        ({"extras": ["all"]}, ("hypothesis", "rich")),
        ({"extras": ["dev"]}, ("mypy", "ruff")),
    ],
)
def test_what_is_asked_for(options, expected):
    assert needs({"pyproject.toml": PYPROJECT}, **options) == expected


def test_setup_cfg_where_pyproject_has_no_project():
    tree = {"pyproject.toml": "[build-system]\nrequires = []\n", "setup.cfg": SETUP}
    assert needs(tree, project=True, extras=["test"]) == ("attrs", "pytest-mock", "six>=1.9")
    assert needs({"setup.py": "import nothing\n"}, project=True) == ()


def test_requirements_files():
    tree = {
        "requirements/dev.txt": "-r base.txt\n-e .\n.[test]\nmock==5.1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n",
        "requirements/base.txt": "# what it needs\nsix  # always\n\n-r dev.txt\n",
    }
    with pytest.raises(ProjectError, match=r"^requirements/base.txt:4: '-r dev.txt' goes round in a circle$"):
        needs(tree, files=["requirements/dev.txt"])
    tree["requirements/base.txt"] = "# what it needs\nsix  # always\n"
    assert needs(tree, files=["requirements/dev.txt"]) == ("mock==5.1.0", "six")


@pytest.mark.parametrize(
    ("tree", "options", "message"),
    [
        ({}, {"files": ["dev.txt"]}, "dev.txt: no such file in the tree"),
        ({}, {"extras": ["test"]}, "it declares no extra or dependency group 'test'; there is none"),
        ({"dev.txt": "--index-url https://evil.example\n"}, {"files": ["dev.txt"]}, "dev.txt:1: '--index-url"),
        ({"dev.txt": "x @ https://evil.example/x.whl\n"}, {"files": ["dev.txt"]}, "dev.txt:1: .* names an address"),
        ({"dev.txt": "git+https://evil.example/x\n"}, {"files": ["dev.txt"]}, "dev.txt:1: .* is no requirement"),
        ({"dev.txt": "six --global-option=x\n"}, {"files": ["dev.txt"]}, "dev.txt:1: .* is no requirement"),
        ({"pyproject.toml": "[project\n"}, {"project": True}, "pyproject.toml: Expected ']'"),
        (
            {"pyproject.toml": '[project]\nname = "x"\nrequires-python = ">=4"\n'},
            {"project": True},
            f"it is for Python >=4, and this is {platform.python_version()}",
        ),
        (
            {"pyproject.toml": '[project]\nname = "x"\ndependencies = ["y @ file:///etc"]\n'},
            {"project": True},
            "'y @ file:///etc' names an address; only what the package index has is installed",
        ),
    ],
)
def test_what_cannot_be_taken_is_named(tree, options, message):
    with pytest.raises(ProjectError, match=message):
        needs(tree, **options)


def test_the_metadata_that_an_installation_would_have_written():
    assert metadata_files({"pyproject.toml": PYPROJECT}) == {
        "Calc_Tools-3.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: Calc.Tools\nVersion: 3.2\n",
        "Calc_Tools-3.2.dist-info/entry_points.txt": "[console_scripts]\ncalc = calc.cli:main\n\n"
        "[calc.plugins]\nmoney = calc.money\n",
    }
    assert metadata_files({"setup.cfg": SETUP}).keys() == {
        "calc-1.0.dist-info/METADATA",
        "calc-1.0.dist-info/entry_points.txt",
    }
    unknown = '[project]\nname = "calc"\ndynamic = ["version"]\n'
    assert metadata_files({"pyproject.toml": unknown}).keys() == {
        "calc-0.dist-info/METADATA",
        "calc-0.dist-info/entry_points.txt",
    }


@pytest.mark.parametrize("name", ["../x", "a/b", "", "a\\nb", "x y"])
def test_a_name_that_is_none_writes_nothing(name):
    assert metadata_files({"pyproject.toml": f'[project]\nname = "{name}"\nversion = "1"\n'}) == {}


def test_a_tree_that_says_nothing():
    assert project_of({}).dependencies == ()
    assert metadata_files({}) == {}
