"""`-verify-diagnostics`: what was reported against the `expected-...` comments of the input.

    %0 = "rlx.narrow"(%x) : ...  // expected-error {{requires attribute 'axis'}}
    // expected-error-re @+1 {{got tensor<{{.*}}xf32>}}
    // expected-remark @below 2 {{not fused}}

The designators are those of mlir-opt: ``@+n``, ``@-n``, ``@above``, ``@below``, ``@unknown``, and a
count (``2``, ``1+``, ``*``) before the text.
"""

import re
from dataclasses import dataclass

from rlx.diagnostics import Diagnostic

__all__ = ["Expectation", "check", "expectations"]

_EXPECTED = re.compile(
    r"expected-(?P<kind>error|warning|note|remark)(?P<regex>-re)?\s*"
    r"(?P<place>@(?:\+\d+|-\d+|above|below|unknown))?\s*"
    r"(?P<count>\d+\+?|\*)?\s*"
    r"\{\{(?P<text>.*)\}\}"
)


@dataclass
class Expectation:
    """One `expected-...` comment.

    Attributes:
        line: the line meant, or None for an unknown location.
        at: the line and column of the comment itself, for messages.
        least, most: how often it must be met; ``most`` None means any number.
    """

    kind: str
    line: int | None
    at: tuple[int, int]
    text: str
    pattern: re.Pattern[str] | None
    least: int = 1
    most: int | None = 1
    met: int = 0

    def matches(self, kind: str, line: int | None, message: str) -> bool:
        if (
            kind != self.kind
            or line != self.line
            or (self.most is not None and self.met >= self.most)
        ):
            return False
        return bool(self.pattern.search(message)) if self.pattern else self.text in message


def expectations(source: str, first_line: int = 1) -> list[Expectation]:
    """The expectations in ``source``, whose first line has number ``first_line``."""
    found: list[Expectation] = []
    lines = source.split("\n")
    pending: list[Expectation] = []  # `@above`/`@below` skip lines that hold only expectations
    last = None
    for number, line in enumerate(lines, first_line):
        match = _EXPECTED.search(line)
        if match is None:
            for earlier in pending:
                earlier.line = number
            pending = []
            last = number
            continue
        count = match["count"] or "1"
        least = 0 if count == "*" else int(count.rstrip("+"))
        expected = Expectation(
            match["kind"],
            number,
            (number, match.start() + 1),
            match["text"],
            _regex(match["text"]) if match["regex"] else None,
            least,
            None if count == "*" or count.endswith("+") else least,
        )
        place = match["place"] or ""
        if place == "@unknown":
            expected.line = None
        elif place == "@above":
            expected.line = last or first_line
        elif place == "@below":
            pending.append(expected)
        elif place:
            expected.line = number + int(place[1:])
        found.append(expected)
        if line[: match.start()].strip(" \t/"):
            last = number
    return found


def _regex(text: str) -> re.Pattern[str]:
    """``{{...}}`` inside is a regular expression, the rest is literal."""
    parts = re.split(r"\{\{(.*?)\}\}", text)
    return re.compile(
        "".join(re.escape(p) if i % 2 == 0 else f"(?:{p})" for i, p in enumerate(parts))
    )


def check(
    expected: list[Expectation], reported: list[Diagnostic], only_expected: bool = False
) -> list[tuple[tuple[int, int] | None, str]]:
    """The mismatches, as (line and column, message).

    Args:
        expected: what the comments say.
        reported: what was reported; notes count as diagnostics of their own.
        only_expected: tolerate what is reported beyond the comments.
    """
    wrong: list[tuple[tuple[int, int] | None, str]] = []
    flat = [item for entry in reported for item in (entry, *entry.notes)]
    for item in flat:
        place = item.position[1:] if item.position else None
        line = place[0] if place else None
        for candidate in expected:
            if candidate.matches(item.severity, line, item.message):
                candidate.met += 1
                break
        else:
            if not only_expected:
                wrong.append((place, f"unexpected {item.severity}: {item.message}"))
    for candidate in expected:
        if candidate.met < candidate.least:
            wrong.append(
                (candidate.at, f'expected {candidate.kind} "{candidate.text}" was not produced')
            )
    return wrong
