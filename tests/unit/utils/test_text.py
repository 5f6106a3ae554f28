"""Shortening, joining and formatting of text."""

from __future__ import annotations

import pytest

from taskq.utils import encoding, text
from taskq.utils.term import colored, imgcat


def test_shortening():
    assert text.abbr("hello world", 8) == "hello..."
    assert text.abbr("hello", 3, ellipsis=False) == "hel"
    assert text.abbr(None, 3) == "???"
    assert text.abbrtask("proj.app.tasks.add", 10) == "proj[.]add"
    assert text.abbrtask("add", 10) == "add"
    assert text.truncate("hello big world", 12) == "hello big..."
    assert text.truncate("short") == "short"


def test_lines():
    assert text.dedent("    a\n    b") == "a\nb"
    assert text.indent("a\nb", 2) == "  a\n  b"
    assert text.join(["a", "", "b"]) == "a\nb"
    assert text.ensure_newlines("a\n") == "a\n\n"
    assert text.fill_paragraphs("aaa bbb ccc\nddd", 7) == "aaa bbb\nccc\nddd"
    assert text.str_to_list("a,b") == ["a", "b"]
    assert text.str_to_list(["a"]) == ["a"]


def test_words():
    assert (text.pluralize(1, "cow"), text.pluralize(2, "cow")) == ("cow", "cows")
    assert (text.match_case("a", "XY"), text.match_case("A", "xy")) == ("A", "a")
    assert text.remove_repeating("tasks.", "tasks.a tasks.b") == "tasks.a b"
    assert text.remove_repeating_from_task("m.add", "m.add m.sub") == "m.add sub"


def test_pretty():
    assert text.pretty({"a": 1}) == "\n 'a': 1}"
    assert text.pretty("x") == "'x'"
    assert text.pretty((1,)) == "\n    (1,)"


def test_simple_format():
    assert text.simple_format("%h-%n%%", {"h": "host", "n": lambda: "name"}) == "host-name%"
    assert text.simple_format("", {}) == ""
    with pytest.raises(ValueError, match="%z"):
        text.simple_format("%z", {})


def test_WhateverIO():
    buffer = text.WhateverIO(b"a")
    buffer.write(b"b")
    buffer.write("c")
    assert buffer.getvalue() == "bc"


class Test_colored:
    def test_nested(self):
        c = colored(enabled=True)
        assert str(c.red("a")) == "\033[1;31ma\033[0m"
        nested = str(c.red("a ", c.blue("b"), " c"))
        assert nested == "\033[1;31ma \033[1;34mb\033[0m\033[1;31m c\033[0m"

    def test_disabled(self):
        c = colored(enabled=False)
        assert str(c.red("a ", c.bold("b"))) == "a b"
        assert repr(colored(enabled=True).red("x")) == "'x'"

    def test_concatenation(self):
        assert colored(enabled=True).green("a") + "b" == "\033[1;32ma\033[0mb"

    @pytest.mark.parametrize(
        "name",
        [
            "black",
            "red",
            "green",
            "yellow",
            "blue",
            "magenta",
            "cyan",
            "white",
            "bold",
            "underline",
            "blink",
            "reverse",
            "bright",
            "ired",
            "igreen",
            "iyellow",
            "iblue",
            "imagenta",
            "icyan",
            "iwhite",
            "reset",
        ],
    )
    def test_every_color(self, name):
        shown = str(getattr(colored(enabled=True), name)("x"))
        assert shown.startswith("\033[")
        assert shown.endswith("x\033[0m")


def test_imgcat(tmp_path):
    (tmp_path / "i").write_bytes(b"foo")
    assert "Zm9v" in imgcat(str(tmp_path / "i"))


def test_encoding():
    class Broken:
        def __repr__(self):
            raise ValueError

    assert encoding.bytes_to_str(b"a\xff") == "a\ufffd"
    assert encoding.str_to_bytes("é") == "é".encode()
    assert encoding.safe_str(b"a") == "a"
    assert encoding.safe_str("\ud800")
    assert "Unrepresentable" in encoding.safe_str(Broken())
    assert encoding.ensure_bytes(3) == b"3"
