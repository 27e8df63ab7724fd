"""`{port}` and `${VAR}` in a real run: what the process gets, and what is said of one not set."""

from __future__ import annotations

from tests.end_to_end.colonies import EMBEDDED, PORT, Shop, answers, host, program, root_only

pytestmark = root_only


def test_what_the_process_gets(shop: Shop) -> None:
    echo = ["sh", "-c", 'echo "$0 $GREETING $PATH_MORE"; exec sleep 600', "${WHO}-{service}"]
    colony = shop.colony(
        {
            "say": {
                "command": echo,
                "env": {"GREETING": "${BASE}, ${NOBODY:-you}", "PATH_MORE": "${MORE}:/here"},
            },
            "web": {"command": [*program("page", "{port}"), "${WHO}"], "port": PORT},
        },
        **{"colony.env": {"BASE": "hello from {colony}"}},
    )
    run = shop.run(colony, options=EMBEDDED, env={"WHO": "me", "MORE": "/there"})
    run.expect(rf"say +\| me-say hello from {colony.name}, you /there:/here")
    answers(run.http_port, host(colony), "me ")
    assert run.stop() == 130


def test_a_variable_that_is_not_set(shop: Shop) -> None:
    colony = shop.colony({"web": {"command": "true", "env": {"URL": "${COLONY_TEST_NOWHERE}/x"}}})
    run = shop.run(colony, options=EMBEDDED)
    run.expect_error("URL needs the variable COLONY_TEST_NOWHERE, which is not set")
    assert run.wait() == 1
