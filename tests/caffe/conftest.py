"""What the tests of translations share: layers read from a few lines of a prototxt."""

import textwrap

import pytest

from fullmocha.caffe.load import describe


@pytest.fixture
def read(tmp_path):
    """Our layers for a prototxt given as text."""

    def made(*texts, phase="test"):
        file = tmp_path / "net.prototxt"
        file.write_text(textwrap.dedent("\n".join(texts)))
        return describe(file, phase).layers

    return made


@pytest.fixture
def one(read):
    """Our layer for a type and the rest of its text."""

    def made(kind, rest="", phase="test", wiring='bottom: "a" top: "b"'):
        (layer,) = read(f'layer {{ name: "l" type: "{kind}" {wiring} {rest} }}', phase=phase)
        return layer

    return made


@pytest.fixture
def plain():
    """A layer without what the names of parameters are when nobody shares them."""
    return lambda layer: layer.copy(param_names=()) if hasattr(layer, "param_names") else layer
