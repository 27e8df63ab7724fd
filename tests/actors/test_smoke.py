from __future__ import annotations
import anyio, pytest
from actors import *
from actors.testing import settle

class Add(Cast["Counter"], frozen=True):
    n: int
class Get(Call["Counter", int], frozen=True):
    pass
class Boom(Call["Counter", None], frozen=True):
    pass
class Counter(Actor):
    def __init__(self, start: int = 0) -> None:
        self.n = start
    @on(Add)
    def add(self, msg: Add) -> None:
        self.n += msg.n
    @on(Get)
    async def get(self, msg: Get) -> int:
        return self.n
    @on(Boom)
    def boom(self, msg: Boom) -> None:
        raise KeyError("x")

async def test_it() -> None:
    async with System() as system:
        log: list[Event] = []
        system.events.listen(log.append)
        top = await system.start(Supervisor.spec([Counter.spec(3), Counter.spec(9).options(id="c2")]))
        a, b = await top.call(WhichChildren())
        assert a.ref is not None
        a.ref.tell(Add(4))
        assert await a.ref.call(Get()) == 7
        with pytest.raises(ActorDown) as e:
            await a.ref.call(Boom())
        print(e.value)
        await settle()
        assert await a.ref.call(Get()) == 3
        assert a.ref.incarnation == 2
        await anyio.sleep(3600)
    for x in log: print(x)
