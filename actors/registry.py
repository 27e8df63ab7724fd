"""Registries: living actors found by a key, one for each or many, each with a value.

    class Add(Cast["Room"], frozen=True):
        who: str

    class Room(Actor):
        def __init__(self, rooms: Registry[str, "Room", int], name: str) -> None:
            self.rooms, self.name = rooms, name

        def start(self) -> None:
            self.rooms.register(self.ctx.ref, self.name, 0)

        @on(Add)
        def add(self, msg: Add) -> None:
            self.rooms.update(self.ctx.ref, self.name, lambda guests: guests + 1)

    async with System() as system:
        rooms: Registry[str, Room, int] = Registry(system)
        room = await system.start(Room.spec(rooms, "blue"))
        rooms.one("blue").tell(Add("ann"))
        await settle()
        assert rooms.lookup("blue") == (Entry(room, 1),)
        system.kill(room)
        await room.stopped()
        assert rooms.find("blue") is None

An entry belongs to one life of an actor, and ends with it: in the same step as the death, before
anybody hears of that. So whoever learns that an actor has died finds its key free (R12), which a
registry that learns of deaths by message cannot promise. A restarted actor registers again.

Everything here is a plain call: nothing waits, and nobody sees a change half done.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final, Generic, Literal, TypeVar, get_args

import msgspec

from actors.actor import Actor
from actors.cell import Cell
from actors.errors import ActorDown, ActorError
from actors.messages import Cast
from actors.reasons import NoProc
from actors.ref import Ref, slot_of
from actors.system import System

K = TypeVar("K", bound=Hashable)
A = TypeVar("A", bound=Actor)
V = TypeVar("V")

Keys = Literal["unique", "duplicate"]
"""Whether a key stands for one actor at most, or for any number."""


class KeyTaken(ActorError):
    """The key already stands for a living actor: for another one, or for this very one."""

    def __init__(self, key: object, holder: str) -> None:
        self.key = key
        self.holder = holder
        super().__init__(f"the key {key!r} is taken by {holder}")


class Entry(msgspec.Struct, Generic[A, V], frozen=True):
    """An actor under a key, and its value there."""

    ref: Ref[A]
    value: V


class Registered(Cast[Any], frozen=True):
    """To a registry's listeners: an actor has registered."""

    key: Any
    ref: Ref[Any]
    value: Any


class Unregistered(Cast[Any], frozen=True):
    """To a registry's listeners: an entry is gone, because its actor died or took it back."""

    key: Any
    ref: Ref[Any]


class Registry(Generic[K, A, V]):
    """Keys of living actors. Belongs to one system, and lives as long as that does.

    keys
        "unique" (default): one actor for a key. "duplicate": any number, in order of registration.
    """

    def __init__(self, system: System, keys: Keys = "unique") -> None:
        if keys not in get_args(Keys):
            raise ValueError(f"keys must be one of {get_args(Keys)}, got: {keys!r}")
        self.keys: Final = keys
        self._system = system
        self._entries: dict[K, dict[Cell, Entry[A, V]]] = {}
        self._held: dict[Cell, dict[K, None]] = {}
        self._listeners: dict[Ref[Any], None] = {}
        system.releases.append(self._release)

    def __repr__(self) -> str:
        return f"<Registry of {len(self)} entries under {len(self._entries)} {self.keys} keys>"

    def __len__(self) -> int:
        """How many entries there are."""
        return sum(map(len, self._entries.values()))

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    # -- what an actor does for itself -----------------------------------------------------------

    def register(self, ref: Ref[A], key: K, value: V) -> None:
        """Enters the present life of an actor under a key.

        Raises `KeyTaken` if the key is unique and taken, or if the actor is there already;
        `ActorDown` if it is not alive.
        """
        cell = _alive(ref)
        holders = self._entries.get(key, {})
        holder = cell if cell in holders else next(iter(holders), None)
        if holder is not None and (holder is cell or self.keys == "unique"):
            raise KeyTaken(key, holder.path)
        self._entries.setdefault(key, {})[cell] = Entry(ref, value)
        self._held.setdefault(cell, {})[key] = None
        self._tell(Registered(key, ref, value))

    def unregister(self, ref: Ref[A], key: K) -> bool:
        """Takes an entry back; false if there was none."""
        cell = slot_of(ref).cell
        if cell is None or key not in self._held.get(cell, {}):
            return False
        self._remove(cell, key)
        return True

    def update(self, ref: Ref[A], key: K, change: Callable[[V], V]) -> V:
        """Replaces an actor's value by what `change` makes of it, and returns that.

        Raises `LookupError` if it is not registered under the key.
        """
        cell = slot_of(ref).cell
        old = self._entries.get(key, {}).get(cell) if cell is not None else None
        if cell is None or old is None:
            raise LookupError(f"{ref.path} is not registered under {key!r}")
        new = self._entries[key][cell] = Entry(ref, change(old.value))
        return new.value

    # -- what everybody does -----------------------------------------------------------------------

    def lookup(self, key: K) -> tuple[Entry[A, V], ...]:
        """The entries under a key."""
        return tuple(self._entries.get(key, {}).values())

    def find(self, key: K) -> Ref[A] | None:
        """The actor under a key, the first of several; None if there is none."""
        return next((entry.ref for entry in self.lookup(key)), None)

    def one(self, key: K) -> Ref[A]:
        """As `find`, for those who need it. Raises `ActorDown` if there is none."""
        ref = self.find(key)
        if ref is None:
            raise ActorDown(repr(key), NoProc())
        return ref

    def keys_of(self, ref: Ref[A]) -> tuple[K, ...]:
        """The keys of an actor."""
        cell = slot_of(ref).cell
        return () if cell is None else tuple(self._held.get(cell, ()))

    def select(self, wanted: Callable[[K, V], bool]) -> tuple[tuple[K, Entry[A, V]], ...]:
        """All entries whose key and value fit."""
        return tuple(
            (key, entry)
            for key, holders in self._entries.items()
            for entry in holders.values()
            if wanted(key, entry.value)
        )

    def listen(self, ref: Ref[Any]) -> None:
        """Tells an actor of every change from now on: `Registered`, `Unregistered`.

        Raises `TypeError` if it has no handler for these. Ends with the actor.
        """
        handlers = slot_of(ref).handlers
        for kind in (Registered, Unregistered):
            if kind not in handlers:
                raise TypeError(f"{ref.path} cannot listen: it has no handler for {kind.__name__}")
        self._listeners[ref] = None

    # -- the end of an entry -----------------------------------------------------------------------

    def _release(self, cell: Cell) -> None:
        """A cell is dying; nobody knows yet."""
        for key in tuple(self._held.get(cell, ())):
            self._remove(cell, key)

    def _remove(self, cell: Cell, key: K) -> None:
        held = self._held[cell]
        del held[key]
        if not held:
            del self._held[cell]
        holders = self._entries[key]
        entry = holders.pop(cell)
        if not holders:
            del self._entries[key]
        self._tell(Unregistered(key, entry.ref))

    def _tell(self, message: Registered | Unregistered) -> None:
        for listener in tuple(self._listeners):
            if listener.alive:
                listener.tell(message)
            else:
                del self._listeners[listener]


def _alive(ref: Ref[Any]) -> Cell:
    cell = slot_of(ref).cell
    if cell is None or cell.down is not None:
        raise ActorDown(ref.path, slot_of(ref).down or NoProc())
    return cell
