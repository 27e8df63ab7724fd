"""Partitions: one kind of actor several times over, and a key that always leads to the same one.

    class Put(Cast["Store"], frozen=True):
        key: str

    class Size(Call["Store", int], frozen=True):
        pass

    class Store(Actor):
        def __init__(self) -> None:
            self.keys: set[str] = set()

        @on(Put)
        def put(self, msg: Put) -> None:
            self.keys.add(msg.key)

        @on(Size)
        def size(self, msg: Size) -> int:
            return len(self.keys)

    async with System() as system:
        top = await system.start(PartitionSupervisor.spec(Store.spec(), partitions=4))
        stores: Router[Store] = await Router.of(top)
        for n in range(100):
            stores["key", n].tell(Put(str(n)))
        assert sum([await store.call(Size()) for store in stores]) == 100

In Elixir's terms `PartitionSupervisor`. For actors that are a bottleneck because they wait: each
partition handles one message at a time, all of them together as many as there are.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from actors.actor import Actor
from actors.errors import rejected
from actors.messages import Call, on
from actors.ref import Ref
from actors.spec import ChildSpec
from actors.strict import trial
from actors.supervision import Strategy, check_is_spec
from actors.supervisor import Supervisor

A = TypeVar("A", bound=Actor)


class Places(Call["PartitionSupervisor", tuple[Ref[Any], ...]], frozen=True):
    """The refs of all partitions, in order, those that are down right now included."""


class PartitionSupervisor(Supervisor):
    """A supervisor of `partitions` children that are alike; their ids are "0", "1" and so on.

    child
        The spec of all of them; or a function from the partition's number to its spec, which is
        asked for each life of the supervisor, and once more by `PartitionSupervisor.spec`.
    partitions
        How many, from 1 up.
    strategy, intensity, period
        As a supervisor's.
    """

    @trial
    def __init__(
        self,
        child: ChildSpec[Any] | Callable[[int], ChildSpec[Any]],
        *,
        partitions: int,
        strategy: Strategy = "one_for_one",
        intensity: int = 1,
        period: float = 5.0,
    ) -> None:
        if not isinstance(partitions, int) or isinstance(partitions, bool) or partitions < 1:
            raise rejected(
                "invalid_partitions", "partitions", partitions, "a whole number from 1 up"
            )
        if isinstance(child, type) or not callable(child):
            check_is_spec(child)
        made = [child if isinstance(child, ChildSpec) else child(n) for n in range(partitions)]
        for spec in made:
            check_is_spec(spec)
        specs = [spec.options(id=str(n)) for n, spec in enumerate(made)]
        super().__init__(specs, strategy=strategy, intensity=intensity, period=period)

    @on(Places)
    def _places(self, _msg: Places) -> tuple[Ref[Any], ...]:
        found = [self.ctx.system.at(f"{self.ctx.path}/{id}") for id in self.state.children]
        return tuple(ref for ref in found if ref is not None)


class Router(Generic[A]):
    """The partitions of a supervisor: `router[key]` is the one that a key leads to.

    Whole numbers lead to the partition of that number, round and round; all other keys to one that
    depends on their `repr`, and so is the same in every run. Refs survive restarts, and so does the
    router.
    """

    def __init__(self, refs: tuple[Ref[A], ...]) -> None:
        self._refs = refs

    @classmethod
    async def of(cls, partitions: Ref[PartitionSupervisor]) -> Router[A]:
        """The router of a running supervisor. Raises `ActorDown` if it is not alive."""
        return cls(await partitions.call(Places()))

    def __repr__(self) -> str:
        return f"<Router of {len(self)} partitions>"

    def __len__(self) -> int:
        return len(self._refs)

    def __iter__(self) -> Iterator[Ref[A]]:
        return iter(self._refs)

    def __getitem__(self, key: object) -> Ref[A]:
        number = key if isinstance(key, int) else zlib.crc32(repr(key).encode())
        return self._refs[number % len(self._refs)]
