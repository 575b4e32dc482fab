"""Prototxt syntax: what must be accepted, and where each error is said to be."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullmocha.caffe.text import MAX_BYTES, parse_prototxt, read_prototxt
from fullmocha.errors import FormatError, FullMochaError


def test_the_whole_grammar():
    net = parse_prototxt(
        """# a comment with { an open bracket and a "quote
        name: 'single' "and double" " \\"joined\\" \\x41\\101"
        layer: { name: "a"; type: "x", loss_weight: [1., .5, 1e-3, 0.5f, inf, -2] }
        layer < name: "b" propagate_down: True propagate_down: f propagate_down: 1 >
        layer { input_param { shape: [{ dim: 0x1F dim: 017 }, { dim: -3 }] } }  # }
        state { phase: 0 }
        """,
        "text",
    )
    assert net.name == 'singleand double "joined" AA'
    a, b, c = net.layer
    assert list(a.loss_weight) == pytest.approx([1, 0.5, 1e-3, 0.5, float("inf"), -2], rel=1e-7)
    assert list(b.propagate_down) == [True, False, True]
    assert [list(s.dim) for s in c.input_param.shape] == [[31, 15], [-3]]
    assert net.state.phase == 0


# text, position, and a part of the message that says what was expected
ERRORS = [
    ('name: "a"\nlayer {\n  nam: "x" }', "3:3", "did you mean 'name'"),
    ("clip: 1", "1:1", "expected one of name, input"),
    ('layer {\n  name: "x"\n', "2:9", "the '{' of 1:7 opens, found the end of the file"),
    ('layer { name: "x"\nlayer { }', "2:1", "the '{' of 1:7 is not closed"),
    ('layer { name: "x" name: "y" }', "1:25", "given twice"),
    ("layer { type: 5 }", "1:15", "Expected string"),
    ("layer { convolution_param { kernel_size: 3.5 } }", "1:42", "expected an integer, found '3.5'"),
    ("layer { loss_weight: abc }", "1:22", "expected a number, found 'abc'"),
    ("layer { pooling_param { pool: MUX } }", "1:31", "expected one of MAX, AVE, STOCHASTIC; found MUX"),
    ('layer {\n\n  name: "x }\n}', "3:9", 'expected another "'),
    ("layer { propagate_down: yes }", "1:25", 'Expected "true" or "false"'),
    ("}", "1:1", "Expected identifier"),
    ('layer { name "x" }', "1:14", 'Expected ":"'),
    ("layer: 3", "1:8", 'Expected "{"'),
    ("input_dim: 99999999999", "1:12", "out of range"),
    ("input_dim: " + "9" * 5000, "1:12", "expected an integer"),
    ("layer [ }", "1:9", 'Expected "{"'),
]


@pytest.mark.parametrize(("text", "position", "expected"), ERRORS, ids=[e[2][:20] for e in ERRORS])
def test_a_syntax_error_says_file_line_column_and_what_was_expected(text, position, expected):
    with pytest.raises(FormatError) as error:
        parse_prototxt(text, "some/net.prototxt")
    message = str(error.value)
    assert message.startswith(f"some/net.prototxt:{position}: ") and expected in message
    assert len(message) < 400 and "\n" not in message


def test_a_required_field_that_is_absent_is_named():
    with pytest.raises(FormatError, match=r"net: required but absent: layer\[0\].clip_param.max"):
        parse_prototxt("layer { clip_param { min: 1 } }", "net")


@pytest.mark.parametrize("depth", [65, 1000, 200_000])
def test_deep_nesting_is_refused_before_the_parser_recurses(depth):
    with pytest.raises(FormatError, match="f:1:390: blocks nest deeper than 64"):
        parse_prototxt("layer{" * depth, "f")


def test_brackets_in_comments_and_strings_do_not_nest():
    assert parse_prototxt("# " + "{" * 100 + '\nname: "' + "[" * 100 + '"', "f").name == "[" * 100


def test_files_that_are_no_prototxt(tmp_path):
    with pytest.raises(FormatError, match=r"absent\.prototxt does not exist"):
        read_prototxt(tmp_path / "absent.prototxt")
    with pytest.raises(FormatError, match="is a folder"):
        read_prototxt(tmp_path)
    binary = tmp_path / "weights.caffemodel"
    binary.write_bytes(b"\n\x05LeNet\xa2\x06\x00\x00")
    with pytest.raises(FormatError, match="is not a text file"):
        read_prototxt(binary)
    large = tmp_path / "large.prototxt"
    with open(large, "wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(FormatError, match=f"at most {MAX_BYTES}"):
        read_prototxt(large)


def test_marks_and_foreign_comments_do_not_matter(tmp_path):
    file = tmp_path / "net.prototxt"
    file.write_bytes(b'\xef\xbb\xbfname: "n"  # \xb4\xf3\xd0\xa1 in another encoding\r\n')
    assert read_prototxt(file).name == "n"


WORDS = [
    "layer",
    "name",
    "{",
    "}",
    "[",
    "]",
    "<",
    ">",
    ":",
    ",",
    ";",
    '"',
    "'",
    "\\",
    "#",
    "\n",
    " ",
    "1",
    "-",
    ".5",
    "e9",
]
WORDS += [
    "input_dim",
    "convolution_param",
    "kernel_size",
    "shape",
    "dim",
    "TRAIN",
    "true",
    "\u2028",
    "\ud800",
    "0x",
    "/",
]


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.lists(st.sampled_from(WORDS), max_size=30).map("".join), st.text(max_size=60)))
def test_any_text_parses_or_is_a_format_error(text):
    try:
        parse_prototxt(text, "f")
    except FullMochaError as error:
        assert isinstance(error, FormatError) and str(error).startswith("f:")
