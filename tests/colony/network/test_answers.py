"""What a name means, by one answer after the other."""

from __future__ import annotations

from ipaddress import IPv4Address

from colony.network.answers import KEPT, Answers

FIRST, SECOND = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")


def test_answers_that_take_turns_are_gathered() -> None:
    answers = Answers()
    assert answers.take({"db": [FIRST]}, 0.0)
    assert answers.take({"db": [SECOND]}, 30.0)
    assert answers.addresses == {"db": (FIRST, SECOND)}
    assert not answers.take({"db": [FIRST]}, 60.0)


def test_an_address_that_is_not_heard_any_more_goes_after_a_while() -> None:
    answers = Answers()
    answers.take({"db": [FIRST]}, 0.0)
    assert answers.take({"db": [SECOND]}, KEPT)
    assert answers.take({"db": [SECOND]}, KEPT + 1)
    assert answers.addresses == {"db": (SECOND,)}


def test_a_name_without_an_answer_keeps_what_it_had() -> None:
    answers = Answers()
    assert answers.take({"db": [], "web": [FIRST]}, 0.0)
    assert ("db" in answers, "other" in answers) == (True, False)
    assert not answers.take({"db": [], "web": []}, 10 * KEPT)
    assert answers.addresses == {"db": (), "web": (FIRST,)}
