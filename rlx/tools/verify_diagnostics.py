"""`-verify-diagnostics`: what was reported against the `expected-...` comments of the input.

    %0 = "rlx.narrow"(%x) : ...  // expected-error {{requires attribute 'axis'}}
    // expected-error-re @+1 {{got tensor<{{.*}}xf32>}}
    // expected-remark @below 2 {{not fused}}

The designators are those of mlir-opt: ``@+n``, ``@-n``, ``@above``, ``@below``, ``@unknown``; and a
count (``2``, ``1+``, ``*``) may stand before the text.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from rlx.diagnostics import Diagnostic

__all__ = ["Expectation", "check", "expectations"]

_EXPECTED = re.compile(
    r"expected-(?P<kind>error|warning|note|remark)(?P<regex>-re)?\s*"
    r"(?P<place>@(?:\+\d+|-\d+|above|below|unknown))?\s*"
    r"(?P<count>\d+\+?|\*)?\s*"
    r"\{\{(?P<text>.*?)\}\}\s*(?=$|//|expected-)"
)

Place = tuple[int, int] | None


@dataclass
class Expectation:
    """One `expected-...` comment.

    Attributes:
        kind: the severity.
        line: the line meant, or None for an unknown location.
        at: line and column of the comment itself, for messages.
        text: the text, for messages.
        pattern: what the message must contain.
        least, most: how often it must be met; ``most`` None means any number.
        met: how often it was.
    """

    kind: str
    line: int | None
    at: tuple[int, int]
    text: str
    pattern: re.Pattern[str]
    least: int = 1
    most: int | None = 1
    met: int = 0

    def fits(self, line: int | None, message: str) -> bool:
        open_ = self.most is None or self.met < self.most
        return open_ and line == self.line and self.pattern.search(message) is not None


def expectations(source: str, first_line: int = 1) -> list[Expectation]:
    """The expectations in ``source``, whose first line has number ``first_line``.

    ``@above`` and ``@below`` mean the nearest line that holds no expectation.

    Raises:
        re.error: an expected-...-re has a bad pattern.
    """
    found: list[Expectation] = []
    below: list[Expectation] = []
    above = first_line
    for number, line in enumerate(source.split("\n"), first_line):
        matches = list(_EXPECTED.finditer(line))
        if not matches:
            for earlier in below:
                earlier.line = number
            below = []
            above = number
        for match in matches:
            expected = _expectation(match, number)
            place = match["place"]
            if place == "@unknown":
                expected.line = None
            elif place == "@above":
                expected.line = above
            elif place == "@below":
                below.append(expected)
            elif place:
                expected.line = number + int(place[1:])
            found.append(expected)
    return found


def _expectation(match: re.Match[str], line: int) -> Expectation:
    count = match["count"] or "1"
    least = 0 if count == "*" else int(count.rstrip("+"))
    parts = re.split(r"\{\{(.*?)\}\}", match["text"]) if match["regex"] else [match["text"]]
    pattern = "".join(f"(?:{p})" if i % 2 else re.escape(p) for i, p in enumerate(parts))
    return Expectation(
        match["kind"],
        line,
        (line, match.start() + 1),
        match["text"],
        re.compile(pattern),
        least,
        None if count[-1] in "+*" else least,
    )


def check(
    expected: list[Expectation], reported: Iterable[Diagnostic], only_expected: bool = False
) -> list[tuple[Place, str]]:
    """The mismatches, as (line and column, message).

    Args:
        expected: what the comments say.
        reported: what was reported; notes count as diagnostics of their own.
        only_expected: tolerate what is reported beyond the comments.
    """
    wrong: list[tuple[Place, str]] = []
    for item in (one for entry in reported for one in (entry, *entry.notes)):
        place = item.position[1:] if item.position else None
        line = place[0] if place else None
        fitting = [one for one in expected if one.fits(line, item.message)]
        same = [one for one in fitting if one.kind == item.severity]
        if same:
            same[0].met += 1
        elif fitting and not only_expected:
            message = f"'{item.severity}' diagnostic emitted when expecting a '{fitting[0].kind}'"
            wrong.append((fitting[0].at, f"{message}: {item.message}"))
        elif not only_expected:
            wrong.append((place, f"unexpected {item.severity}: {item.message}"))
    for one in expected:
        if one.met < one.least:
            times = f", only {one.met} of {one.least} times" if one.met else ""
            wrong.append((one.at, f'expected {one.kind} "{one.text}" was not produced{times}'))
    return wrong
