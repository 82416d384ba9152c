"""Splits Rust files into code, comments and string literals, so that the checks of names and prose look at the right part."""

import pathlib
import re
from dataclasses import dataclass

TOKEN = re.compile(
    r"""
    (?P<doc>//[/!](?!/)[^\n]*)
  | (?P<comment>//[^\n]*)
  | (?P<block>/\*.*?\*/)
  | (?P<raw>b?r(?P<hashes>\#*)".*?"(?P=hashes))
  | (?P<string>b?"(?:\\.|[^"\\])*")
  | (?P<char>b?'(?:\\(?:x[0-9a-fA-F]{2}|u\{[0-9a-fA-F]+\}|.)|[^'\\])')
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Piece:
    """One comment line or string literal."""

    kind: str  # "doc", "comment" or "string"
    line: int
    text: str


def pieces(source: str) -> list[Piece]:
    """The comments and string literals of a file, in order."""
    found = []
    for match in TOKEN.finditer(source):
        kind = {"doc": "doc", "comment": "comment", "block": "comment", "raw": "string", "string": "string"}.get(
            match.lastgroup if match.lastgroup != "hashes" else "raw"
        )
        if kind:
            found.append(Piece(kind, source.count("\n", 0, match.start()) + 1, match.group()))
    return found


def code_only(source: str) -> str:
    """The file with comments and literals blanked out, line numbers unchanged."""
    return TOKEN.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), source)


def without_tests(source: str) -> str:
    """The file without its `#[cfg(test)]` items."""
    masked = code_only(source)
    while (start := masked.find("#[cfg(test)]")) >= 0:
        end = end_of_item(masked, start)
        masked = masked[:start] + re.sub(r"[^\n]", " ", masked[start:end]) + masked[end:]
        source = source[:start] + re.sub(r"[^\n]", " ", source[start:end]) + source[end:]
    return source


def end_of_item(masked: str, start: int) -> int:
    """Where the item that begins at `start` ends: at `;`, or at the brace that closes its body."""
    depth = 0
    for at in range(start, len(masked)):
        character = masked[at]
        if character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return at + 1
        elif character == ";" and depth == 0:
            return at + 1
    return len(masked)


def rust_files(root: pathlib.Path, folder: str) -> list[pathlib.Path]:
    """All Rust files below a folder, in order of their paths."""
    return sorted((root / folder).rglob("*.rs"))


def is_test_file(path: pathlib.Path) -> bool:
    """Whether a file of `src` holds tests only."""
    return path.stem in ("tests", "fixture") or path.stem.endswith("_tests") or path.parent.name in ("tests", "conformance")
