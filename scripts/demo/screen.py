"""What the person at the terminal reads: steps, and conversations in two columns."""

import shutil
import sys
import textwrap
import threading
import unicodedata

LOCK = threading.Lock()
# Two columns need some room; wider ones are hard to read.
WIDTH = min(max(shutil.get_terminal_size((96, 24)).columns, 80), 100) - 2
COLUMN = (WIDTH - 3) // 2


def say(text=""):
    """Prints. A closed terminal must not keep us from stopping in good order, so it isn't an error here."""
    with LOCK:
        try:
            print(text, flush=True)
        except OSError:
            pass


def step(text):
    say(f"\n==> {text}")


def paragraph(text):
    say(textwrap.fill(text, WIDTH + 2, initial_indent="  ", subsequent_indent="  "))


def lines(texts):
    for text in texts:
        say(f"  {text}".rstrip())


def heading(text, left, right):
    """Begins a conversation."""
    say(f"\n  {text}\n")
    row([left], [right])
    say(f"  {'─' * (COLUMN + 1)}┼{'─' * (COLUMN + 1)}")


def row(left, right):
    """What was seen on IRC, and beside it what was seen on Matrix."""
    left, right = _wrap(left), _wrap(right)
    height = max(len(left), len(right))
    for n in range(height):
        a, b = (side[n] if n < len(side) else "" for side in (left, right))
        say(f"  {a}{' ' * (COLUMN - _width(a))} │ {b}".rstrip())


def _wrap(texts):
    """The lines of a column; what continues a message is indented."""
    paragraphs = [f"{'    ' if n else ''}{part}" for text in texts for n, part in enumerate(text.split("\n"))]
    return [line for part in paragraphs for line in textwrap.wrap(part, COLUMN, subsequent_indent="    ")]


def _width(text):
    """How many columns of a terminal a text takes: East Asian letters and most pictures take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)


def setup():
    """Before anything is printed: a terminal that can't show a character gets another one, never an error."""
    sys.stdout.reconfigure(errors="replace")
