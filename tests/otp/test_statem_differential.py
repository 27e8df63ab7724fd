"""Our engine against the gen_statem of the Erlang on this machine; on CI always the same seed."""

from __future__ import annotations

import pytest

from actors.statem import Engine
from tests.otp.differential import NoErlang, seed_of_a_test
from tests.otp.statem_differential import differences, machines, simulate


def test_random_machines_make_the_same_calls_in_erlang_and_here() -> None:
    seed = seed_of_a_test()
    print(f"repeat with: python -m tests.otp.statem_differential --seed {seed}")
    try:
        found = list(differences(seed, 1500))
    except NoErlang as missing:
        pytest.skip(str(missing))
    assert not found, f"seed {seed}: {len(found)} differ; {min(found, key=len)}"


def test_a_machine_that_does_not_retry_what_was_postponed_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handled = Engine.handled

    def forgetful(engine, event, wishes):  # type: ignore[no-untyped-def]
        wishes.postpone = False
        return handled(engine, event, wishes)

    sound = [simulate(machine) for machine in machines(1, 20)]
    monkeypatch.setattr(Engine, "handled", forgetful)
    assert sound != [simulate(machine) for machine in machines(1, 20)]
