"""What an import brings with it, and which way imports point."""

import pydoc
import sys

import pytest

import ragmask as rm
from tests.interpreters import ROOT, run_python

OPTIONAL = {
    *("cupy", "datasets", "duckdb", "fsspec", "jax", "keras", "matplotlib", "numba", "onnxruntime"),
    *(
        "pandas",
        "polars",
        "pyspark",
        "ray",
        "rich",
        "safetensors",
        "scipy",
        "tensorflow",
        "torch",
        "typer",
    ),
}


def loaded_by(code):
    """The optional packages that `code` leaves in sys.modules."""
    code += "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    return set(run_python(code).split()) & OPTIONAL


@pytest.mark.parametrize(
    "code",
    [
        "import ragmask",
        "import ragmask as rm; rm.__version__; dir(rm); rm.RagmaskError; rm.get_num_threads()",
        "import ragmask.interop",
        "import ragmask as rm; rm.Ragged; rm.Padded; rm.pad_sequences",
        "import ragmask as rm; repr((rm.Ragged.from_rows([[1], [2, 3]]) + 1)[::-1].truncate(1))",
        "import ragmask as rm; rm.Ragged.from_arrow(rm.Ragged.from_rows([[1], [2, 3]]).to_arrow())",
    ],
)
def test_no_optional_package_is_loaded(code):
    assert loaded_by(code) == set()


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("datasets", "datasets"),
        ("jax", "jax"),
        ("ray", "ray"),
        ("spark", "pyspark"),
        ("torch", "torch"),
    ],
)
def test_without_its_library_a_module_names_the_extra(name, library):
    code = f"""
import sys
import ragmask as rm

sys.modules["{library}"] = None
try:
    import ragmask.interop.{name}
except rm.MissingExtraError as error:
    print(error)
"""
    assert run_python(code).endswith(f'which is not installed: pip install "ragmask[{name}]"')


def test_importing_ragmask_loads_none_of_its_modules():
    code = "import sys, ragmask; print(*[n for n in sys.modules if n.startswith('ragmask.')])"
    assert run_python(code) == ""


def test_padding_loads_numba_alone():
    code = "import ragmask as rm; rm.Ragged.from_rows([[1], [2, 3]]).to_padded()"
    # which loads scipy where there is one, and the extensions of whoever has some, as awkward has
    assert loaded_by(code) == loaded_by("import numba; numba.njit(lambda: None)()")


def test_every_public_name_is_there():
    for name in [*rm._HOME, "__version__"]:
        assert getattr(rm, name) is not None
        assert name in dir(rm)
        assert name in rm.__doc__.replace(",", " ").replace(";", " ").split() or name[0] == "_"


def test_help_is_a_page():
    text = pydoc.render_doc(rm, renderer=pydoc.plaintext)
    assert rm.__doc__.splitlines()[-1] in text
    assert len(text.splitlines()) < 100


def test_a_library_is_an_attribute_of_interop():
    code = """
import sys
import ragmask as rm

sys.modules["duckdb"] = None
try:
    rm.interop.duckdb
except rm.MissingExtraError as error:
    print(error)
"""
    assert "ragmask[duckdb]" in run_python(code)
    with pytest.raises(AttributeError, match="has no attribute 'tensorflow'"):
        _ = rm.interop.tensorflow


ROOMS = {"data", "interop", "kernels", "layers"}


@pytest.mark.parametrize("name", sorted(rm._HOME.keys() - ROOMS))
def test_a_public_name_says_where_it_lives(name):
    value = getattr(rm, name)
    assert value.__module__.startswith(rm._HOME[name])
    assert value.__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'ragmask' has no attribute 'nonsense'"):
        _ = rm.nonsense


def test_imports_point_one_way():
    code = """
import sys
from importlinter.cli import lint_imports

sys.exit(lint_imports(config_filename=sys.argv[1], no_cache=True))
"""
    assert "0 broken" in run_python(code, ROOT / "pyproject.toml")


def test_the_kernels_import_numpy_and_numba_only():
    known = {"numpy", "numba", "ragmask", *sys.stdlib_module_names}
    code = "import sys; before = {*sys.modules}; import numpy, numba; known = {*sys.modules}\n"
    code += "import ragmask.kernels.cpu; print(*{n for n in sys.modules} - known)"
    loaded = {name.partition(".")[0] for name in run_python(code).split()}
    assert loaded <= known
