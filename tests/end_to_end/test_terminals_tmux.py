"""In a real terminal, played by tmux: vim over a detach, and what the screen looks like."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.attaching import COLONY, PROMPT, running
from tests.end_to_end.colonies import Colony, Shop, eventually, root_only

pytestmark = [
    root_only,
    pytest.mark.skipif(
        not (shutil.which("tmux") and shutil.which("vim")), reason="needs tmux and vim"
    ),
]


class Tmux:
    """A server of its own with one window of a shell."""

    def __init__(self, shop: Shop) -> None:
        self._begin = ["tmux", "-L", f"t-{os.getpid()}-{secrets.token_hex(3)}", "-f", "/dev/null"]
        self._env = shop.environment() | {"PS1": "OUTER> ", "TERM": "xterm-256color"}
        self("new-session", "-d", "-x", "100", "-y", "30", "exec env 'PS1=OUTER> ' bash --norc -i")

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            [*self._begin, *words], env=self._env, capture_output=True, text=True, check=True
        )
        return done.stdout

    def type(self, *keys: str) -> None:
        self("send-keys", *keys)

    def screen(self) -> str:
        return self("capture-pane", "-p")

    def shows(self, text: str) -> None:
        try:
            eventually(lambda: text in self.screen())
        except AssertionError:
            raise AssertionError(f"no {text!r} in:\n{self.screen()}") from None

    def attach(self, colony: Colony) -> None:
        self.type(shlex.join([*COLONY, "attach", colony.name]), "Enter")

    def detach(self) -> None:
        self.type("C-]", "d")
        self.shows("[detached from")

    def close(self) -> None:
        subprocess.run([*self._begin, "kill-server"], capture_output=True, check=False)


@pytest.fixture
def tmux(shop: Shop) -> Iterator[Tmux]:
    one = Tmux(shop)
    try:
        one.shows("OUTER>")
        yield one
    finally:
        one.close()


def test_vim_is_left_and_found_again(shop: Shop, tmux: Tmux) -> None:
    colony, _ = running(shop)
    tmux.type("echo before-$((1+1))", "Enter")
    tmux.attach(colony)
    tmux.shows("Ctrl-] d detaches]\nREADY>")  # for eyes as well
    tmux.shows("\nbefore-2\n")
    tmux.type("vim -u NONE text", "Enter")
    tmux.shows("~\n~")
    tmux.type("i", "one wörld", "Escape")
    tmux.shows("one wörld")
    tmux.detach()
    assert "~\n~" not in tmux.screen()
    tmux.type("clear; stty -a | grep -c ' icanon'", "Enter")
    tmux.shows("1\n")
    tmux("resize-window", "-x", "80", "-y", "20")
    tmux.attach(colony)
    tmux.shows("~\n~")
    tmux.shows("one wörld")
    tmux.type("o", "two", "Escape", ":wq", "Enter")
    written: Path = colony.file.parent / "text"
    eventually(lambda: written.exists() and written.read_text() == "one wörld\ntwo\n")
    tmux.shows(PROMPT.strip())
    tmux.type("stty size", "Enter")
    tmux.shows(" 80\n")  # whether a row is tmux's own differs by its version
    tmux.detach()


def test_a_killed_client_leaves_a_usable_terminal(shop: Shop, tmux: Tmux) -> None:
    colony, _ = running(shop)
    tmux.attach(colony)
    tmux.shows(PROMPT.strip())
    pane = tmux("display-message", "-p", "#{pane_pid}").strip()
    [client] = Path(f"/proc/{pane}/task/{pane}/children").read_text().split()
    tmux.type("vim -u NONE other", "Enter")
    tmux.shows("~\n~")
    os.kill(int(client), 9)
    eventually(lambda: tmux("display-message", "-p", "#{alternate_on}").strip() == "0")
    tmux.type("echo sane-$((1+1))", "Enter")
    tmux.shows("sane-2")
    tmux.attach(colony)
    tmux.shows("~\n~")
    tmux.detach()
