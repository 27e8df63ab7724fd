"""docs/cli.md says what there is."""

from __future__ import annotations

import re
from pathlib import Path

from colony.cli import COMMANDS
from colony.exits import MEANINGS

TEXT = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()


def test_every_command_is_named_once_in_the_table() -> None:
    table = TEXT.partition("|---|---|\n")[2].partition("\n\n")[0]
    named = [word for row in table.splitlines() for word in row.split("|")[1].split(", ")]
    assert sorted(name.strip(" `") for name in named) == sorted(COMMANDS)


def test_every_exit_status_is_there_in_the_words_of_the_help() -> None:
    table = TEXT.partition("## Exit status")[2].partition("|---|---|\n")[2].partition("\n\n")[0]
    rows = [row.strip("|").split("|") for row in table.splitlines()]
    numbers = [int(number) for row in rows for number in re.findall(r"\d+", row[0])]
    assert numbers == [int(code) for code in MEANINGS]
    said = {row[0].strip(): row[1].strip().replace("`", "") for row in rows if "," not in row[0]}
    assert said == {str(int(code)): words for code, words in MEANINGS.items() if code < 129}
