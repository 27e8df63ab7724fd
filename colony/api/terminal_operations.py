"""What the routes about terminals do; a part of `operations.Operations`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from actors import ActorDown
from colony.api import terminal_types as tt
from colony.api.problems import ApiError, conflict, unknown
from colony.terminals import opening
from colony.terminals.screen import NoEmulator
from colony.terminals.service import ServiceTerminal
from colony.terminals.session import Describe, Type
from colony.terminals.sizes import Size

if TYPE_CHECKING:
    from colony.api.operations import Ask
    from colony.running import RunningColony


class TerminalOperations:
    """One method for each route, as in `Operations`."""

    def living(self, ask: Ask) -> RunningColony:
        raise NotImplementedError

    async def list_terminals(self, ask: Ask) -> tuple[tt.Terminal, ...]:
        found = await opening.describe(self.living(ask))
        return tuple(msgspec.convert(each, tt.Terminal, from_attributes=True) for each in found)

    async def create_terminal(self, ask: Ask) -> tt.Terminal:
        body: tt.CreateTerminal = ask.body
        try:
            _, ref = await opening.start(
                self.living(ask),
                argv=body.argv or None,
                env=body.env,
                cwd=body.cwd,
                size=Size(body.rows, body.columns),
            )
            found = await ref.call(Describe())
        except opening.NotStarted as error:
            raise ApiError("failed", str(error)) from None
        except ActorDown as down:
            raise ApiError("failed", f"its program has ended at once: {down.reason}") from None
        return msgspec.convert(found, tt.Terminal, from_attributes=True)

    async def end_terminal(self, ask: Ask) -> tt.TerminalEnded:
        colony, name = self.living(ask), ask.names["terminal"]
        try:
            if isinstance(await opening.found(colony, name), ServiceTerminal):
                words = f"{name} is a service, which ends otherwise than a terminal"
                raise conflict(words, f"stop it: colony stop {colony.name}/{name}")
            await opening.end(colony, name)
        except opening.NoSession as error:
            raise no_session(colony, error) from None
        return tt.TerminalEnded(colony.name, name)

    async def terminal_screen(self, ask: Ask) -> tt.TerminalScreen:
        colony = self.living(ask)
        try:
            screen = await opening.screen(colony, ask.names["terminal"])
        except opening.NoSession as error:
            raise no_session(colony, error) from None
        except NoEmulator as error:
            raise ApiError("failed", str(error)) from None
        return msgspec.convert(screen, tt.TerminalScreen, from_attributes=True)

    async def type_terminal(self, ask: Ask) -> tt.Terminal:
        colony, name = self.living(ask), ask.names["terminal"]
        try:
            which = await opening.found(colony, name)
            if isinstance(which, ServiceTerminal):
                await which.write(ask.body.text.encode())
                every = await opening.describe(colony)
                found = next(each for each in every if each.service == name)
            else:
                await which.call(Type(ask.body.text.encode()))
                found = await which.call(Describe())
        except opening.NoSession as error:
            raise no_session(colony, error) from None
        except ActorDown:
            raise no_session(colony, opening.NoSession(name, ())) from None
        return msgspec.convert(found, tt.Terminal, from_attributes=True)


def no_session(colony: RunningColony, error: opening.NoSession) -> ApiError:
    """The problem of a terminal that is not there."""
    if isinstance(error, opening.NoTerminal):
        return conflict(str(error), error.help)
    return unknown(f"terminal in colony {colony.name} called", error.name, error.known)
