"""Prototxt files to messages, with a position and an expectation in every syntax error.

protobuf's parser does the work; in front of it stand the checks that it lacks: the size, and the brackets, because the
parser recurses without a limit.
"""

import difflib
import os
import re

from ..errors import FormatError
from ..files import read_bytes
from .schema import Message, text_message, text_pool

MAX_BYTES = 4 * 1024 * 1024  # ten times the longest net known; protobuf reads about a megabyte in a second
MAX_DEPTH = 64

# Comments and strings hide brackets. A quote that no whole string begins with stands alone.
_TOKEN = re.compile(r"""\#[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|["'{}<>\[\]]""")
_CLOSES = {"{": "}", "<": ">", "[": "]"}


def read_prototxt(path: str | os.PathLike[str], message: str = "NetParameter") -> Message:
    """The message in the prototxt file ``path``."""
    raw = read_bytes(path, "a prototxt file", MAX_BYTES)
    if b"\0" in raw:
        raise FormatError(f"{path} is not a text file; a prototxt describes the net in words (weights go separately)")
    # Only names must be UTF-8; comments in old files often are not.
    return parse_prototxt(raw.decode("utf-8-sig", errors="replace"), os.fspath(path), message)


def parse_prototxt(text: str, source: str, message: str = "NetParameter") -> Message:
    """The message that ``text`` spells out; ``source`` is named in errors."""
    from google.protobuf import text_format

    unclosed = _check_brackets(text, source)
    result = text_message(message)()
    try:
        text_format.Parse(text, result, descriptor_pool=text_pool())
    except text_format.ParseError as error:
        line, column = error.GetLine() or 1, error.GetColumn() or 1
        raise FormatError(f"{source}:{line}:{column}: {_explain(str(error), text, line, unclosed)}") from None
    missing = result.FindInitializationErrors()
    if missing:
        raise FormatError(f"{source}: required but absent: {', '.join(missing)}")
    return result


def _check_brackets(text: str, source: str) -> str:
    """Refuse broken strings and deep nesting; return where the innermost block that is never closed opens, or ''."""
    open_: list[tuple[str, int]] = []
    for match in _TOKEN.finditer(text):
        token, at = match.group(), match.start()
        if token in ('"', "'"):
            raise FormatError(
                f"{source}:{_position(text, at)}: expected another {token} before the end of the line, "
                "to close the string"
            )
        if token in _CLOSES:
            open_.append((token, at))
            if len(open_) > MAX_DEPTH:
                raise FormatError(f"{source}:{_position(text, at)}: blocks nest deeper than {MAX_DEPTH}")
        elif open_ and token == _CLOSES[open_[-1][0]]:
            open_.pop()
    return f"'{open_[-1][0]}' of {_position(text, open_[-1][1])}" if open_ else ""


def _position(text: str, at: int) -> str:
    """``line:column``, both counted from 1."""
    return f"{text.count(chr(10), 0, at) + 1}:{at - text.rfind(chr(10), 0, at)}"


def _explain(error: str, text: str, line: int, unclosed: str) -> str:
    """protobuf's message without its position and its copy of the line, and with the names that were meant."""
    error = re.sub(r"^\d+:\d+ : ", "", error)
    lines = text.split("\n")
    quoted = f"'{lines[line - 1]}': " if line <= len(lines) else ""
    error = error.removeprefix(quoted).removeprefix("'': ")
    if unclosed and re.match(r'Expected "[}>\]]"', error):
        return f"expected the end of the block that the {unclosed} opens, found the end of the file"
    unknown = re.search(r'Message type "caffe\.([\w.]+)" has no field named "([^"]*)"', error)
    if unknown:
        message, field = unknown.groups()
        fields = [f.name for f in text_pool().FindMessageTypeByName(f"caffe.{message}").fields]
        hint = f"; or the {unclosed} is not closed" if unclosed else ""
        return f"{message} has no field '{field[:60]}'{_near(field, fields)}{hint}"
    twice = re.search(r'Message type "caffe\.([\w.]+)" should not have multiple "([^"]*)"', error)
    if twice:
        return f"field '{twice[2]}' of {twice[1]} is given twice; expected once"
    value = re.search(r'Enum type "caffe\.([\w.]+)" has no value (?:named|with number) (\S+?)\.?$', error)
    if value:
        names = [v.name for v in text_pool().FindEnumTypeByName(f"caffe.{value[1]}").values]
        return f"expected one of {', '.join(names)}; found {value[2][:60]}"
    number = re.match(r"Couldn't parse (integer|float): (.*)", error, re.DOTALL)
    if number:
        return f"expected {'an integer' if number[1] == 'integer' else 'a number'}, found '{number[2][:60]}'"
    return error if len(error) <= 300 else error[:300] + " ..."


def _near(word: str, words: list[str]) -> str:
    """`` (did you mean 'x'?)`` where something is close, else what there is to choose from."""
    close = difflib.get_close_matches(word, words, 1)
    if close:
        return f" (did you mean '{close[0]}'?)"
    return f"; expected one of {', '.join(words)}" if len(words) <= 20 else ""
