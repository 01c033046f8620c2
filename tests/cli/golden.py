"""The recorded help of every command; `python -m tests.cli.golden` records it anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from ringfence.cli.main import complete_app

HELP_FILE = Path(__file__).parent / "golden_help.txt"
WIDTH = 90


def _walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, command
    if hasattr(command, "list_commands"):
        context = typer.Context(command, info_name=" ".join(words))
        for name in command.list_commands(context):
            yield from _walk(command.get_command(context, name), (*words, name))


def _root() -> Any:
    return typer.main.get_command(complete_app())


def leaves() -> list[tuple[str, ...]]:
    """Return the words of every command that does something."""
    return [words for words, command in _walk(_root(), ()) if not hasattr(command, "list_commands")]


def recorded_help() -> str:
    """Return the help of every command as it is recorded."""
    texts = []
    for words, command in _walk(_root(), ("ringfence",)):
        context = typer.Context(
            command, info_name=" ".join(words), terminal_width=WIDTH, max_content_width=WIDTH
        )
        lines = (line.rstrip() for line in command.get_help(context).strip().splitlines())
        texts.append("\n".join(lines))
    return f"\n{'-' * WIDTH}\n".join(texts) + "\n"


if __name__ == "__main__":
    HELP_FILE.write_text(recorded_help())
