"""Checks what CORSIKA 7 and its toy write: `esap-corsika validate | validate-summary`.

Standard library only, Python >= 3.6, as worker nodes have it. Prints the report of docs/runner.md. A file is
records of Fortran: length, 21 sub-blocks of 273 float32 (312 when thinned), length again. Word numbers here
count from 1, as in CORSIKA's user guide.
"""

import argparse
import gzip
import io
import json
import math
import re
import struct
import zlib
from array import array
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

Json = Dict[str, Any]
Words = Tuple[float, ...]
Block = Tuple[str, Words]  # tag, empty for particles and padding, and the words
VERSION = "0.2.0"
VALID, INVALID, UNREADABLE = 0, 1, 2
VERDICTS = {VALID: "valid", INVALID: "invalid", UNREADABLE: "unreadable"}
BLOCKS = 21
RECORDS = {BLOCKS * 273 * 4: "plain", BLOCKS * 312 * 4: "thinned"}
# The words of each sub-block that are looked at.
KEPT = {"RUNH": (2, 17, 18), "EVTH": (2, 3, 4, 11, 44), "LONG": (), "EVTE": (2, 6), "RUNE": (2, 3)}
TAGS = tuple(tag.encode("ascii") for tag in KEPT)
FOLLOWS = {  # which sub-blocks may follow which
    "start": {"RUNH"},
    "RUNH": {"EVTH", "RUNE"},
    "EVTH": {"", "LONG", "EVTE"},
    "": {"", "LONG", "EVTE"},
    "LONG": {"LONG", "EVTE"},
    "EVTE": {"EVTH", "RUNE"},
    "RUNE": set(),
}
SLACK = 1e-4  # relative: words have 24 bits
SMALLEST_DEG = 1.0  # angles are not looked at more closely than SLACK of this
LOG_END = "END OF RUN"
LOG_EVENTS = re.compile(r"NUMBER OF GENERATED EVENTS\s*=\s*(\d+)")


class UnreadableError(Exception):
    """The file is not what it is said to be."""


class Report:
    """All checks of one file, in the order they were made."""

    def __init__(self, file: str, kind: str) -> None:
        self.file = file
        self.kind = kind
        self.checks: List[Json] = []
        self.summary: Json = {}

    def add(
        self, name: str, passed: bool, value: Any, allowed: Any, message: str, target: str = "FILE"
    ) -> bool:
        """Note a check; `message` is kept only when it failed. Gives `passed`."""
        self.checks.append(
            {
                "name": name,
                "target": target,
                "passed": bool(passed),
                "value": value if isinstance(value, (int, float)) else str(value),
                "allowed": str(allowed),
                "message": "" if passed else message,
            }
        )
        return bool(passed)

    @property
    def exit_code(self) -> int:
        """Give 0, 1 or 2: valid, invalid, unreadable."""
        failed = [c["name"] for c in self.checks if not c["passed"]]
        return UNREADABLE if "file.readable" in failed else INVALID if failed else VALID

    def document(self) -> Json:
        """Give the report as JSON."""
        return {
            "schema": 1,
            "file": self.file,
            "format": self.kind,
            "verdict": VERDICTS[self.exit_code],
            "checks": self.checks,
            "summary": self.summary,
        }


# --- run cards --------------------------------------------------------------------------------------


def read_card(path: Path) -> Dict[str, List[List[str]]]:
    """Read a run card: each keyword with the words of each of its lines; UnreadableError without EXIT."""
    card: Dict[str, List[List[str]]] = {}
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UnreadableError(f"the run card cannot be read: {error}") from error
    for line in text.splitlines():
        words = line.split()
        if words and words[0] == "EXIT":
            return card
        if words and not words[0].startswith("*"):
            card.setdefault(words[0], []).append(words[1:])
    raise UnreadableError("the run card has no EXIT")


def numbers(card: Dict[str, List[List[str]]], key: str, count: int) -> Optional[List[float]]:
    """Give the numbers of a keyword, None when the card does not have it."""
    if key not in card:
        return None
    try:
        return [float(w) for w in card[key][0][:count]]
    except ValueError as error:
        raise UnreadableError(f"{key} of the run card: {error}") from error


# --- particle files ---------------------------------------------------------------------------------


def open_file(path: Path) -> io.BufferedIOBase:
    """Open a file that may be compressed."""
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(str(path)) if packed else path.open("rb")


def read_blocks(stream: io.BufferedIOBase) -> Iterator[Block]:
    """Take a file apart, record by record; ValueError where it is not made of whole records."""
    at = 0
    for head in iter(lambda: stream.read(4), b""):
        size = int.from_bytes(head, "little")
        if size not in RECORDS:
            raise ValueError(f"byte {at}: no record begins here")
        raw = stream.read(size + 4)
        if len(raw) < size + 4:
            raise ValueError(f"byte {at}: the last record is cut off")
        if raw[size:] != head:
            raise ValueError(f"byte {at}: begin and end of the record differ")
        step = size // BLOCKS
        for k in range(0, size, step):
            tag = raw[k : k + 4]
            skip = 4 if tag in TAGS else 0
            words = struct.unpack_from(f"<{(step - skip) // 4}f", raw, k + skip)
            yield (tag.decode("ascii"), (0.0, *words)) if skip else ("", words)
        at += size + 8


class Content:
    """What is kept of a particle file, as far as it can be read; UnreadableError when it cannot at all."""

    def __init__(self, path: Path) -> None:
        self.broken = ""  # why reading ended early
        self.disorder = ""  # the first sub-block that stands where it may not
        self.infinite = 0
        self.bytes = 0  # of the file, unpacked
        self.found: Dict[str, int] = dict.fromkeys(KEPT, 0)
        self.kept = {(tag, word): array("d") for tag, words in KEPT.items() for word in words}
        self.before = "start"
        try:
            with open_file(path) as stream:
                try:
                    for number, (tag, words) in enumerate(read_blocks(stream)):
                        self.take(number, tag, words)
                except ValueError as error:
                    self.broken = str(error)
                while stream.read(1 << 20):  # a broken file may be badly packed as well
                    pass
                self.bytes = stream.tell()
        except (OSError, EOFError, zlib.error) as error:
            raise UnreadableError(f"cannot be read: {error}") from error
        if self.before == "start" and not self.disorder:
            raise UnreadableError(f"its {self.bytes} bytes do not begin with a record of CORSIKA")
        self.ended = self.before == "RUNE"

    def take(self, number: int, tag: str, words: Words) -> None:
        """Look at one sub-block."""
        if not math.isfinite(sum(words)):
            self.infinite += sum(1 for w in words if not math.isfinite(w))
        if self.before == "RUNE" and not tag and not any(words):
            return  # the last record is filled up
        if tag not in FOLLOWS[self.before]:
            names = (tag or "particles", self.before if self.before else "particles")
            self.disorder = self.disorder or "sub-block {}: {} after {}".format(number, *names)
        self.before = tag
        if tag:
            self.found[tag] += 1
            for word in KEPT[tag]:
                self.kept[tag, word].append(words[word - 1])

    def words(self, tag: str, word: int) -> "array[float]":
        """Give one word of every sub-block of a kind."""
        return self.kept[tag, word]


def validate(path: Path, card_path: Optional[Path], log: Optional[Path]) -> Report:
    """Check a particle file, with its run card and log where they are given."""
    report = Report(path.name, "corsika7")
    try:
        content, card = Content(path), read_card(card_path) if card_path else {}
        report.add("file.readable", True, "read", "a particle file of CORSIKA", "")
        check_structure(report, content)
        if not content.infinite:
            check_content(report, content, card)
    except UnreadableError as error:
        report.add("file.readable", False, str(error), "a particle file of CORSIKA", str(error))
        return report
    if log:
        check_log(report, log, content.found["EVTH"])
    energies = content.words("EVTH", 4)
    report.summary = {
        "bytes": content.bytes,
        "run": content.words("RUNH", 2)[0] if content.found["RUNH"] and not content.infinite else None,
        "showers": len(energies),
        "energy_gev": [min(energies), max(energies)] if energies and not content.infinite else [],
        "muons": 0 if content.infinite else sum(content.words("EVTE", 6)),
    }
    return report


def check_structure(report: Report, content: Content) -> None:
    """Check records, the order of sub-blocks, and that every number is one."""
    report.add(
        "corsika.records", not content.broken, content.broken or "whole", "whole records", content.broken
    )
    report.add(
        "corsika.order",
        content.ended and not content.disorder,
        content.disorder or "ends with RUNE" if content.ended else "ends without RUNE",
        "RUNH, (EVTH, particles, EVTE)..., RUNE",
        content.disorder or "the file ends before RUNE",
    )
    report.add("corsika.finite", not content.infinite, content.infinite, 0, "there are numbers that are none")


def check_content(report: Report, content: Content, card: Dict[str, List[List[str]]]) -> None:
    """Check what the headers say, against each other and against the run card."""
    runs = {*content.words("RUNH", 2), *content.words("EVTH", 44), *content.words("RUNE", 2)}
    wanted = numbers(card, "RUNNR", 1) or sorted(runs)[:1]
    text = ", ".join(f"{r:.0f}" for r in sorted(runs))
    allowed = f"{wanted[0]:.0f}" if wanted else "one"
    report.add("corsika.run", runs == set(wanted), text, allowed, f"run numbers are {text or 'missing'}")

    counts = {content.found["EVTH"], content.found["EVTE"], *map(int, content.words("RUNE", 3))}
    counts |= {int(n) for n in numbers(card, "NSHOW", 1) or ()}
    value = "{} begin, {} end, RUNE has {}".format(
        content.found["EVTH"], content.found["EVTE"], list(content.words("RUNE", 3))
    )
    allowed = "{:.0f} showers".format((numbers(card, "NSHOW", 1) or [content.found["EVTH"]])[0])
    report.add("corsika.events", len(counts) == 1, value, allowed, "showers: " + value)

    begun, ended = list(content.words("EVTH", 2)), list(content.words("EVTE", 2))
    first = (numbers(card, "EVTNR", 1) or begun[:1] or [1])[0]
    expected = [first + n for n in range(len(begun))]
    report.add(
        "corsika.numbers", begun == expected and ended == begun, len(begun), f"from {first:.0f} in sequence",
        "shower numbers are out of sequence",
    )  # fmt: skip
    check_ranges(report, content, card)


def check_ranges(report: Report, content: Content, card: Dict[str, List[List[str]]]) -> None:
    """Check primaries, energies and angles against the card, or else against the run header."""
    primary = numbers(card, "PRMPAR", 1)
    if primary:
        odd = sorted(set(content.words("EVTH", 3)) - set(primary))
        report.add("corsika.primary", not odd, odd or primary[0], primary[0], f"primaries are {odd}")
    header = (
        [content.words("RUNH", word)[0] for word in (17, 18)] if content.found["RUNH"] else [0.0, math.inf]
    )
    ranges = [("corsika.energy", 4, numbers(card, "ERANGE", 2) or header, 1.0, 0.0)]
    cone = (numbers(card, "VIEWCONE", 2) or [0.0, 0.0])[1]
    theta = numbers(card, "THETAP", 2)
    if theta:
        widened = [max(0.0, theta[0] - cone), theta[1] + cone]
        ranges.append(("corsika.zenith", 11, widened, math.radians(1), SMALLEST_DEG))
    for name, word, (low, high), unit, smallest in ranges:
        values = content.words("EVTH", word)
        least, most = low - SLACK * max(low, smallest), high + SLACK * max(high, smallest)
        outside = [v / unit for v in values if not least <= v / unit <= most]
        shown = f"{min(values) / unit:g}..{max(values) / unit:g}" if values else "none"
        message = f"{len(outside)} showers are outside, e.g. {outside[0]:g}" if outside else ""
        report.add(name, not outside, shown, f"{low:g}..{high:g}", message)


def check_log(report: Report, path: Path, showers: int) -> None:
    """Check the two lines by which a complete run is known."""
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8", "replace")
    except (OSError, EOFError, zlib.error) as error:
        report.add("log.end", False, str(error), LOG_END, f"the log cannot be read: {error}", "LOG")
        return
    report.add("log.end", LOG_END in text, LOG_END in text, LOG_END, f"the log has no {LOG_END}", "LOG")
    found = [int(n) for n in LOG_EVENTS.findall(text)]
    message = f"the log counts {found} showers, the file {showers}"
    report.add("log.events", found == [showers], str(found), showers, message, "LOG")


# --- the summary of a production --------------------------------------------------------------------


def validate_summary(path: Path, runs: int, showers: int) -> Report:
    """Check that a summary (esap-fits summarise-showers) is of all the runs, and of all showers."""
    report = Report(path.name, "esap-showers")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        seen = [int(one["showers"]) for one in document["runs"]]
        refused = [str(one["file"]) for one in document["refused"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        report.add("file.readable", False, str(error), "a summary of runs", f"cannot be read: {error!r}")
        return report
    report.add("file.readable", True, "read", "a summary of runs", "")
    report.add("summary.refused", not refused, len(refused), 0, "unreadable: {}".format(", ".join(refused)))
    report.add("summary.runs", len(seen) == runs, len(seen), runs, f"{len(seen)} of {runs} runs are in it")
    report.add(
        "summary.showers", sum(seen) == showers, sum(seen), showers, f"{sum(seen)} showers of {showers}"
    )
    report.summary = {"runs": len(seen), "showers": sum(seen)}
    return report


def parse(arguments: Optional[List[str]]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="esap-corsika", description=__doc__)
    parser.add_argument("--version", action="version", version="esap-corsika " + VERSION)
    commands = parser.add_subparsers(dest="command")
    commands.required = True
    check = commands.add_parser("validate", help="check a particle file; JSON on stdout")
    check.add_argument("file", type=Path)
    check.add_argument("--card", type=Path, help="the run card it was made from")
    check.add_argument("--log", type=Path, help="the log that goes with it")
    summary = commands.add_parser("validate-summary", help="check a summary of runs; JSON on stdout")
    summary.add_argument("file", type=Path)
    summary.add_argument("--runs", type=int, required=True)
    summary.add_argument("--showers", type=int, required=True)
    return parser.parse_args(arguments)


def main(arguments: Optional[List[str]] = None) -> int:
    """Run one subcommand; the exit code is the verdict."""
    options = parse(arguments)
    if options.command == "validate":
        report = validate(options.file, options.card, options.log)
    else:
        report = validate_summary(options.file, options.runs, options.showers)
    print(json.dumps(report.document(), indent=1))
    return report.exit_code
