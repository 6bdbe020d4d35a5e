"""What a Snakefile must not ask for, read off its text before it is run."""

from __future__ import annotations

import ast
import io
import logging
import tokenize
from collections.abc import Iterator
from pathlib import Path

from esap_fits.reading import PayloadError

log = logging.getLogger(__name__)
REFUSED = {
    "wrapper": "it would be fetched from the network",
    "meta_wrapper": "it would be fetched from the network",
    "storage": "data come as inputs of the job, and go as its outputs",
    "workdir": "a workflow runs in the job's directory",
}
IGNORED = ("conda", "container", "containerized", "singularity", "envmodules")
LOCAL = ("include", "configfile", "script", "notebook", "snakefile", "pepfile", "pepschema")


def problems_of(path: Path) -> list[str]:
    """Name everything that cannot work in a job; PayloadError when it is no text that can be read."""
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PayloadError(f"cannot read {path}: {error}") from error
    problems: list[str] = []
    for line, directive, texts in directives(content):
        where = f"{path.name}, line {line}: {directive}"
        if directive in REFUSED:
            problems.append(f"{where}: not allowed here: {REFUSED[directive]}")
        elif directive in IGNORED:
            log.warning("%s is not followed: programs are those of the job's environment", where)
        elif directive in LOCAL:
            problems += [
                f"{where} {text!r}: allowed is a path within the job's directory"
                for text in texts
                if _is_elsewhere(text)
            ]
    return problems


def _is_elsewhere(path: str) -> bool:
    return path.startswith(("/", "~")) or ".." in Path(path).parts or "://" in path


def directives(content: str) -> Iterator[tuple[int, str, list[str]]]:
    """Give the line, the name and the texts of each directive (`name: ...` at the beginning of a line).

    What Python's tokenizer cannot read is left to Snakemake, whose message says more.
    """
    tokens: list[tokenize.TokenInfo] = []
    try:
        tokens.extend(tokenize.generate_tokens(io.StringIO(content).readline))
    except (tokenize.TokenError, SyntaxError):
        log.info("the Snakefile cannot be read to its end")
    found: tuple[int, str, list[str]] | None = None
    blank = (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT)
    begins = True
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if begins and token.type == tokenize.NAME and following is not None and following.string == ":":
            if found:
                yield found
            found = (token.start[0], token.string, [])
        elif token.type == tokenize.STRING and found:
            found[2].append(_text(token.string))
        begins = token.type in blank
    if found:
        yield found


def _text(literal: str) -> str:
    try:
        return str(ast.literal_eval(literal))
    except (ValueError, SyntaxError):  # with values in braces, which nobody knows yet
        return literal.lstrip("rbfRBF").strip("'\"")
