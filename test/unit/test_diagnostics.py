"""Diagnostics: MLIR's and ours in one stream; expectations in comments; how they are shown."""

import pytest

from rlx.diagnostics import CompileError, Diagnostic, capture, emit, format_location, remark
from rlx.host import ir
from rlx.tools.render import render
from rlx.tools.verify_diagnostics import check, expectations


@pytest.fixture
def context():
    with ir.Context() as context:
        yield context


# -- capture -------------------------------------------------------------------------------------


def test_capture_keeps_the_order_of_both_kinds(context):
    here = ir.Location.file("f.mlir", 1, 2)
    with capture(context) as found:
        emit("warning", here, "first")
        here.emit_error("second")
        remark(here, "third", [(ir.Location.unknown(), "why")])
    assert [(d.severity, d.message) for d in found.entries] == [
        ("warning", "first"),
        ("error", "second"),
        ("remark", "third"),
    ]
    assert [d.message for d in found.errors] == ["second"]
    assert found.entries[0].position == ("f.mlir", 1, 2)
    assert found.entries[2].notes[0].message == "why"
    assert str(found.entries[2]) == "f.mlir:1:2: remark: third\nnote: why"


def test_the_innermost_capture_hears(context):
    here = ir.Location.unknown()
    with capture(context) as outer:
        with capture(context) as inner:
            emit("error", here, "inside")
        emit("error", here, "outside")
    assert [d.message for d in inner.entries] == ["inside"]
    assert [d.message for d in outer.entries] == ["outside"]


def test_outside_of_capture_errors_go_to_the_handlers_of_mlir(context):
    heard = []
    handler = context.attach_diagnostic_handler(lambda d: heard.append(str(d.message)) or True)
    emit("error", ir.Location.unknown(), "loud")
    emit("warning", ir.Location.unknown(), "dropped")
    remark(ir.Location.unknown(), "dropped")
    handler.detach()
    assert heard == ["loud"]


def test_unwanted_remarks_are_dropped(context):
    with capture(context, remarks=False) as found:
        remark(ir.Location.unknown(), "not now")
    assert not found.entries


def test_compile_errors_show_their_diagnostics():
    error = CompileError("it failed", (Diagnostic("error", "a:1:2", "because"),))
    assert str(error) == "it failed\na:1:2: error: because"


def test_locations(context):
    here = ir.Location.file("a b.mlir", 3, 4)
    assert format_location(here) == "a b.mlir:3:4"
    assert format_location(ir.Location.unknown()) == ""
    assert format_location(ir.Location.name("layer 1", here)) == '"layer 1"("a b.mlir":3:4)'
    assert format_location(ir.Location.name("layer 1")) == "layer 1"


# -- expectations --------------------------------------------------------------------------------


def reported(line, message, severity="error", notes=()):
    position = ("-", line, 1) if line else None
    return Diagnostic(severity, "", message, tuple(notes), position)


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("x // expected-error {{bad}}", 1),
        ("x // expected-error{{bad}}", 1),
        ("// expected-error @+1 {{bad}}", 2),
        ("// expected-error@+12{{bad}}", 13),
        ("\n\n// expected-error @-2 {{bad}}", 1),
        ("// expected-error @below {{bad}}\n// expected-note @below 0 {{y}}\nx", 3),
        ("x\n// expected-note @above 0 {{y}}\n// expected-error @above {{bad}}", 1),
        ("// expected-error @unknown {{bad}}", None),
        ("// expected-error-re @+1 {{b{{[a-c]}}d}}", 2),
        ("// expected-error @+1 {{very bad}} expected-note @+1 0 {{x}}", 2),
    ],
)
def test_what_is_expected_where(source, line):
    message = "a very bad thing"
    assert not check(expectations(source), [reported(line, message)])
    assert check(expectations(source), [])
    assert check(expectations(source), [reported((line or 0) + 1, message)])
    assert check(expectations(source), [reported(line, "good")])
    assert check(expectations(source), [reported(line, message, "warning")])
    assert check(expectations(source), [reported(line, message)] * 2)


def test_lines_are_counted_from_the_first():
    (expected,) = expectations("// expected-error @+1 {{x}}\n", 10)
    assert expected.line == 11 and expected.at == (10, 4)


@pytest.mark.parametrize(
    ("count", "good", "bad"),
    [
        ("", [1], [0, 2]),
        ("2", [2], [1, 3]),
        ("0", [0], [1]),
        ("1+", [1, 5], [0]),
        ("*", [0, 3], []),
    ],
)
def test_counts(count, good, bad):
    source = f"x // expected-warning {count} {{{{hot}}}}"
    for times in good:
        assert not check(expectations(source), [reported(1, "hot", "warning")] * times)
    for times in bad:
        assert check(expectations(source), [reported(1, "hot", "warning")] * times)


def test_notes_count_as_diagnostics():
    source = "x // expected-error {{bad}}\ny // expected-note {{here}}"
    entry = reported(1, "bad", notes=[reported(2, "here", "note")])
    assert not check(expectations(source), [entry])
    assert len(check(expectations("x // expected-error {{bad}}"), [entry])) == 1


def test_the_text_is_literal_unless_it_says_otherwise():
    assert check(expectations("x // expected-error {{b.d}}"), [reported(1, "bad")])
    assert not check(expectations("x // expected-error {{b.d (x)}}"), [reported(1, "b.d (x)")])


def test_only_expected_tolerates_the_rest():
    expected = expectations("x // expected-error {{bad}}")
    assert not check(expected, [reported(1, "bad"), reported(4, "other")], only_expected=True)
    assert check(expectations("x // expected-error {{bad}}"), [reported(1, "no")], True)


def test_messages_of_mismatches():
    wrong = check(
        expectations("x // expected-remark {{hot}}\ny // expected-error 3 {{cold}}"),
        [reported(1, "hot"), reported(2, "cold"), reported(None, "lost", "warning")],
    )
    assert [message for _, message in wrong] == [
        "'error' diagnostic emitted when expecting a 'remark': hot",
        "unexpected warning: lost",
        'expected remark "hot" was not produced',
        'expected error "cold" was not produced, only 1 of 3 times',
    ]
    assert [place for place, _ in wrong] == [(1, 6), None, (1, 6), (2, 6)]


# -- rendering -----------------------------------------------------------------------------------


def test_rendering_shows_the_line_and_a_caret():
    entry = Diagnostic("error", "", "bad", (), ("-", 2, 5))  # columns count bytes
    text = render(entry, "in.mlir", b"one\n\tt\xc3\xa9wo\r\n")
    assert text == "in.mlir:2:5: error: bad\n\ttéwo\n\t  ^\n"


def test_rendering_shows_notes():
    note = Diagnostic("note", "", "here", (), ("-", 1, 1))
    entry = Diagnostic("error", "", "bad", (note,), ("-", 2, 1))
    assert render(entry, "f", b"a\nb") == "f:2:1: error: bad\nb\n^\nf:1:1: note: here\na\n^\n"


def test_rendering_without_a_place():
    assert render(Diagnostic("error", "", "bad"), "f", b"") == "<unknown>:0: error: bad\n"
    assert render(Diagnostic("error", "layer 1", "bad"), "f", b"") == "layer 1: error: bad\n"
    named = Diagnostic("error", '"layer 1"("g":1:2)', "bad", (), ("g", 1, 2))
    assert render(named, "f", b"") == 'g:1:2: error: bad\nnote: in "layer 1"\n'
    other = Diagnostic("error", "", "bad", (), ("other.py", 1, 1))
    assert render(other, "f", b"text") == "other.py:1:1: error: bad\n"


@pytest.mark.parametrize("position", [("-", 0, 0), ("-", 9, 9), ("-", 1, 0), ("-", 1, 999)])
def test_rendering_survives_odd_places(position):
    text = render(Diagnostic("error", "", "bad", (), position), "f", b"x\xff\n")
    assert text.startswith(f"f:{position[1]}:{position[2]}: error: bad\n")
