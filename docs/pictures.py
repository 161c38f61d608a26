"""Draw the README's pictures anew: `python docs/pictures.py` runs the commands in a terminal and keeps what they show.

Each picture is the terminal's last screen as an SVG that needs no font or style sheet from elsewhere.
"""

from __future__ import annotations

import contextlib
import fcntl
import inspect
import os
import re
import shutil
import struct
import subprocess
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

DOCS = Path(__file__).parent
WIDTH = 84
TERMINAL = {"TERM": "xterm-256color", "OMP_NUM_THREADS": "1"}

SWEEP = "optrun sweep configs/quickstart.yaml --grid optimizer.lr=0.03,0.1,0.3,1.0 --seeds 5"

THEME = TerminalTheme(
    background=(22, 27, 34),
    foreground=(230, 237, 243),
    normal=[
        *((72, 79, 88), (255, 123, 114), (63, 185, 80), (210, 153, 34)),
        *((88, 166, 255), (188, 140, 255), (57, 197, 207), (177, 186, 196)),
    ],
    bright=[
        *((110, 118, 129), (255, 161, 152), (86, 211, 100), (227, 179, 65)),
        *((121, 192, 255), (210, 168, 255), (86, 212, 221), (255, 255, 255)),
    ],
)
"""The colours of GitHub's dark theme, on a ground that stands out from both of its themes."""
FRAME = inspect.signature(Console.export_svg).parameters["code_format"].default
SVG = re.sub(r"@font-face \{\{.*?\}\}\s*", "", FRAME, flags=re.DOTALL)
"""rich's own frame for a terminal, without the fonts it would fetch."""
FONT = "font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        shutil.copytree(DOCS.parent / "configs", Path(directory) / "configs")
        draw("train", "optrun train configs/quickstart.yaml", directory)
        draw("show", "optrun show last", directory)
        draw("sweep", SWEEP, directory)
        draw("compare", "optrun compare runs/quickstart", directory)


def draw(name: str, command: str, directory: str) -> None:
    """Run `command` in `directory` and write what the terminal then shows to docs/<name>.svg."""
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True)
        console.print(f"[bold green]$[/] [bold]{command}[/]", highlight=False)
        console.print(Text.from_ansi("\n".join(screen(in_terminal(command, directory)))), highlight=False)
    picture = console.export_svg(title="optrun", theme=THEME, code_format=SVG, unique_id=f"optrun-{name}")
    picture = re.sub(r"font-family: (Fira Code|arial)[^;]*", FONT, picture)
    (DOCS / f"{name}.svg").write_text(picture, encoding="utf-8")


def in_terminal(command: str, directory: str) -> str:
    """All that `command` writes to a terminal of WIDTH columns."""
    screen, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
    with subprocess.Popen(
        command.split(), stdin=terminal, stdout=terminal, stderr=terminal, cwd=directory, env={**os.environ, **TERMINAL}
    ) as process:
        os.close(terminal)
        chunks = []
        with contextlib.suppress(OSError):  # the end of a terminal is an error to its reader
            while chunk := os.read(screen, 65536):
                chunks.append(chunk)
    os.close(screen)
    assert process.returncode == 0, f"{command} failed"
    return b"".join(chunks).decode()


def screen(output: str) -> list[str]:
    """The lines that stay when the cursor has moved up and lines have been erased and written again."""
    lines, row = [""], 0
    for token in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|\n|\r|[^\x1b\n\r]+", output):
        if token == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif re.fullmatch(r"\x1b\[\d*A", token):
            row -= int(token[2:-1] or 1)
        elif token == "\x1b[2K":
            lines[row] = ""
        elif token != "\r" and not token.startswith("\x1b[?"):
            lines[row] += token
    return "\n".join(line.rstrip() for line in lines).strip("\n").split("\n")


if __name__ == "__main__":
    main()
