"""Colors, other text attributes and inline images on terminals.

Used by the banner, the log formatter and the command line.
"""

from __future__ import annotations

import os
import sys
from functools import reduce
from typing import Any

__all__ = ("colored",)

BLACK, RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN, WHITE = range(8)
OP_SEQ = "\033[%dm"
RESET_SEQ = "\033[0m"
COLOR_SEQ = "\033[1;%dm"

IS_WINDOWS = sys.platform == "win32"

ITERM_PROFILE = os.environ.get("ITERM_PROFILE")
TERM = os.environ.get("TERM")
TERM_IS_SCREEN = bool(TERM and TERM.startswith("screen"))

# tmux and screen pass an escape sequence on to the terminal only if it is wrapped in theirs.
_IMG_PRE = "\033Ptmux;\033\033]" if TERM_IS_SCREEN else "\033]"
_IMG_POST = "\a\033\\" if TERM_IS_SCREEN else "\a"


def fg(s: int) -> str:
    """Return the escape sequence of foreground color number ``s``."""
    return COLOR_SEQ % s


class colored:
    """Text with colors, which may be nested: ``c.red("hello ", c.blue("world"))``.

    Parameters:
        s: the parts, texts or other colored texts.
        enabled: keyword; False returns the plain text (default: True, but not on Windows).
    """

    def __init__(self, *s: object, **kwargs: Any) -> None:
        self.s: tuple[object, ...] = s
        self.enabled: bool = not IS_WINDOWS and kwargs.get("enabled", True)
        self.op: str = kwargs.get("op", "")
        self.names: dict[str, Any] = {
            "black": self.black,
            "red": self.red,
            "green": self.green,
            "yellow": self.yellow,
            "blue": self.blue,
            "magenta": self.magenta,
            "cyan": self.cyan,
            "white": self.white,
        }

    def _add(self, a: object, b: object) -> str:
        return f"{a}{b}"

    def _fold_no_color(self, a: Any, b: Any) -> str:
        return _plain(a) + _plain(b)

    def no_color(self) -> str:
        """Return the text without any color."""
        return reduce(self._fold_no_color, self.s, "")

    def embed(self) -> str:
        """Return the text with its color, without the end that switches colors off."""
        embedded = (part.embed() if isinstance(part, colored) else part for part in self.s)
        return self.op + reduce(self._add, embedded, "")

    def __str__(self) -> str:
        if not self.enabled:
            return self.no_color()
        parts = []
        for part in self.s:
            # The end of a nested color ends ours too: switch it on again.
            parts.append(f"{part}{self.op}" if isinstance(part, colored) else str(part))
        text = self.op + "".join(parts)
        return text if text.endswith(RESET_SEQ) else text + RESET_SEQ

    def node(self, s: tuple[object, ...], op: str) -> colored:
        """Return texts ``s`` with escape sequence ``op``."""
        return self.__class__(*s, enabled=self.enabled, op=op)

    def black(self, *s: object) -> colored:
        """Return the text in black."""
        return self.node(s, fg(30 + BLACK))

    def red(self, *s: object) -> colored:
        """Return the text in red."""
        return self.node(s, fg(30 + RED))

    def green(self, *s: object) -> colored:
        """Return the text in green."""
        return self.node(s, fg(30 + GREEN))

    def yellow(self, *s: object) -> colored:
        """Return the text in yellow."""
        return self.node(s, fg(30 + YELLOW))

    def blue(self, *s: object) -> colored:
        """Return the text in blue."""
        return self.node(s, fg(30 + BLUE))

    def magenta(self, *s: object) -> colored:
        """Return the text in magenta."""
        return self.node(s, fg(30 + MAGENTA))

    def cyan(self, *s: object) -> colored:
        """Return the text in cyan."""
        return self.node(s, fg(30 + CYAN))

    def white(self, *s: object) -> colored:
        """Return the text in white."""
        return self.node(s, fg(30 + WHITE))

    def __repr__(self) -> str:
        return repr(self.no_color())

    def bold(self, *s: object) -> colored:
        """Return the text in bold."""
        return self.node(s, OP_SEQ % 1)

    def underline(self, *s: object) -> colored:
        """Return the text underlined."""
        return self.node(s, OP_SEQ % 4)

    def blink(self, *s: object) -> colored:
        """Return the text blinking."""
        return self.node(s, OP_SEQ % 5)

    def reverse(self, *s: object) -> colored:
        """Return the text with foreground and background exchanged."""
        return self.node(s, OP_SEQ % 7)

    def bright(self, *s: object) -> colored:
        """Return the text concealed or bright, as the terminal understands attribute 8."""
        return self.node(s, OP_SEQ % 8)

    def ired(self, *s: object) -> colored:
        """Return the text on red."""
        return self.node(s, fg(40 + RED))

    def igreen(self, *s: object) -> colored:
        """Return the text on green."""
        return self.node(s, fg(40 + GREEN))

    def iyellow(self, *s: object) -> colored:
        """Return the text on yellow."""
        return self.node(s, fg(40 + YELLOW))

    def iblue(self, *s: object) -> colored:
        """Return the text on blue."""
        return self.node(s, fg(40 + BLUE))

    def imagenta(self, *s: object) -> colored:
        """Return the text on magenta."""
        return self.node(s, fg(40 + MAGENTA))

    def icyan(self, *s: object) -> colored:
        """Return the text on cyan."""
        return self.node(s, fg(40 + CYAN))

    def iwhite(self, *s: object) -> colored:
        """Return the text on white."""
        return self.node(s, fg(40 + WHITE))

    def reset(self, *s: object) -> colored:
        """Return the text after switching colors off."""
        return self.node(s or ("",), RESET_SEQ)

    def __add__(self, other: object) -> str:
        return str(self) + str(other)


def _plain(part: Any) -> str:
    return part.no_color() if isinstance(part, colored) else str(part)


def supports_images() -> bool:
    """Return True if the terminal can show images (iTerm2)."""
    try:
        return sys.stdin.isatty() and bool(ITERM_PROFILE)
    except AttributeError:
        return False  # There may be no stdin at all.


def _read_as_base64(path: str) -> str:
    from base64 import b64encode

    with open(path, mode="rb") as file:
        return b64encode(file.read()).decode("ascii")


def imgcat(path: str, inline: int = 1, preserve_aspect_ratio: int = 0, **kwargs: Any) -> str:
    """Return what shows the image at ``path`` on a terminal that can.

    Parameters:
        path: the image file.
        inline: 1 shows the image, 0 downloads it.
        preserve_aspect_ratio: 0 stretches the image to the size given.
    """
    return (
        f"\n{_IMG_PRE}1337;File=inline={inline};preserveAspectRatio={preserve_aspect_ratio}:"
        f"{_read_as_base64(path)}{_IMG_POST}"
    )
