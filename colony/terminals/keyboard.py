"""How a program has asked a terminal to tell keys: pure.

Two ways are about, and programs as common as vim, neovim and fish use them:

    CSI > flags u, CSI < count u, CSI = flags ; how u     kitty's: a stack for each of both screens
    CSI > 4 ; level m                                     xterm's modifyOtherKeys

A terminal that is left so sends Ctrl-C as `CSI 27;5;99~`, which no shell understands; one that
comes later and has not been asked sends what the program does not expect. So it is followed, undone
when somebody leaves, and done again for who comes.
"""

from __future__ import annotations

from typing import Final

DEEPEST: Final = 32
"""Flags that are kept for one screen; the oldest give way."""

PLAIN: Final = b"\x1b[=0;1u\x1b[>4m"
"""Keys are told as ever on the screen that is shown."""

UNPILED: Final = b"\x1b[<%du" % DEEPEST
"""Nothing that was pushed on that screen is left."""


class Keyboard:
    """What holds on the main screen and on the alternate one."""

    __slots__ = ("level", "stacks", "used")

    def __init__(self) -> None:
        self.level = 0
        """xterm's modifyOtherKeys."""
        self.stacks: tuple[list[int], list[int]] = ([0], [0])
        """The flags of the main screen and of the alternate one: those that hold are last, the
        first are those of nobody's asking."""
        self.used = False
        """Whether either way was ever used: who knows neither is told of neither."""

    def __repr__(self) -> str:
        return f"<Keyboard {self.stacks} {self.level}>"

    def copy(self) -> Keyboard:
        """One that goes on by itself."""
        other = Keyboard()
        other.level, other.used = self.level, self.used
        other.stacks = (list(self.stacks[0]), list(self.stacks[1]))
        return other

    @property
    def state(self) -> tuple[object, ...]:
        """What two are compared by."""
        return self.level, self.stacks

    def xterm(self, level: int) -> None:
        """`CSI > 4 ; level m`"""
        self.level, self.used = level, True

    def kitty(self, how: bytes, numbers: bytes, alternate: bool) -> None:
        """`CSI how numbers u`"""
        stack = self.stacks[alternate]
        first, _, second = numbers.partition(b";")
        self.used = True
        if how == b">":
            stack.append(int(first or 0))
            del stack[:-DEEPEST]
        elif how == b"<":
            del stack[max(0, len(stack) - int(first or 1)) :]
            if not stack:
                stack.append(0)
        else:
            stack[-1] = _changed(stack[-1], int(first or 0), second)

    def left_alternate(self) -> None:
        """The alternate screen was left: it begins anew the next time."""
        self.stacks[1][:] = [0]

    def leave(self, alternate: bool) -> bytes:
        """Undoes what holds on that screen."""
        stack = self.stacks[alternate]
        popped = b"\x1b[<%du" % (len(stack) - 1) if len(stack) > 1 else b""
        return popped + (b"\x1b[=0;1u" if stack[0] else b"")

    def prelude(self, alternate: bool) -> bytes:
        """Does what holds on that screen, where it was not used."""
        first, *pushed = self.stacks[alternate]
        begun = b"\x1b[=%d;1u" % first if first or (self.used and alternate) else b""
        return begun + b"".join(b"\x1b[>%du" % flags for flags in pushed)

    def level_prelude(self) -> bytes:
        """Does what holds on both, where it was not used."""
        return b"\x1b[>4;%dm" % self.level if self.level else b""


def _changed(flags: int, given: int, how: bytes) -> int:
    if how == b"2":
        return flags | given
    return flags & ~given if how == b"3" else given
