"""What forbids a user namespace is named, with what to do about it. (A real one is entered in
`tests/end_to_end/test_rootless`.)"""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from netns import rootless
from netns.rootless import Answer, Forbidden, why_not
from tests.netns.support import open_descriptors

REFUSED = Answer("enter", errno=errno.EPERM)
ASK = "ask whoever runs this machine or container, or run Colony as root"
MAXIMUM = "/proc/sys/user/max_user_namespaces"
DEBIAN = "/proc/sys/kernel/unprivileged_userns_clone"
UBUNTU = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"


@pytest.mark.parametrize(
    ("answer", "settings", "words"),
    [
        (Answer(), {MAXIMUM: "0"}, "None"),
        (
            REFUSED,
            {MAXIMUM: "0"},
            "this machine allows no user namespaces (user.max_user_namespaces is 0); "
            "sudo sysctl user.max_user_namespaces=15000",
        ),
        (
            REFUSED,
            {MAXIMUM: "9", DEBIAN: "0"},
            "only root may make user namespaces here (kernel.unprivileged_userns_clone is 0); "
            "sudo sysctl kernel.unprivileged_userns_clone=1",
        ),
        (
            REFUSED,
            {MAXIMUM: "9", DEBIAN: "1", UBUNTU: "1"},
            "AppArmor lets only programs that it knows make user namespaces "
            "(kernel.apparmor_restrict_unprivileged_userns is 1); give /usr/bin/py a profile with "
            "`userns,` (docs/networking.md has it), or sudo sysctl "
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (
            REFUSED,
            {MAXIMUM: "9"},
            f"this process cannot make a user namespace: Operation not permitted; {ASK}",
        ),
        (
            Answer("enter", reason="the kernel does not answer"),
            {},
            f"this process cannot make a user namespace: the kernel does not answer; {ASK}",
        ),
        (Answer("attempt", reason="no veth here", remedy="get one"), {}, "no veth here; get one"),
    ],
)
def test_why_not(answer: Answer, settings: dict[str, str], words: str) -> None:
    assert str(why_not(answer, lambda path: settings.get(path, ""), "/usr/bin/py")) == words


def test_one_with_threads_is_told_so() -> None:
    over = threading.Event()
    other = threading.Thread(target=over.wait)
    other.start()
    try:
        with pytest.raises(Forbidden) as refused:
            rootless.enter()
    finally:
        over.set()
        other.join()
    assert "threads already, and one alone can enter a user namespace" in str(refused.value)
    assert rootless.refusal() == str(refused.value)


def test_a_probe_leaves_nothing() -> None:
    before = open_descriptors()
    assert rootless.probe() is None
    assert open_descriptors() <= before


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM], ids=["setgroups", "uid_map"])
def test_ubuntus_refusal_is_known_by_its_setting_however_it_shows(
    tmp_path: Path, number: int
) -> None:
    """Ubuntu 23.10 refuses the namespace itself; from 24.04 on it is made, with no right in it, so
    that the first file that is written there says no: setgroups by EACCES, uid_map by EPERM."""

    def set_to(path: str, text: str) -> None:
        file = Path(f"{tmp_path}{path}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def read(path: str) -> str:
        file = Path(f"{tmp_path}{path}")
        return file.read_text().strip() if file.exists() else ""

    refused = Answer("enter", errno=number)
    set_to(MAXIMUM, "127234\n")
    set_to(UBUNTU, "1\n")
    told = why_not(refused, read, "/home/me/.venv/bin/python3.12")
    assert told is not None
    assert told.reason.startswith("AppArmor lets only programs that it knows")
    assert told.remedy.startswith("give /home/me/.venv/bin/python3.12 a profile with `userns,`")
    set_to(UBUNTU, "0\n")  # then it is not that
    told = why_not(refused, read, "/usr/bin/py")
    assert told is not None
    assert told.remedy == ASK
