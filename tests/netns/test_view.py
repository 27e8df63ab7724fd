"""What of the host's mounts makes a mould of the views stale."""

from __future__ import annotations

from netns.view import without_pins

MOUNTS = (
    b"22 1 254:0 / / rw - ext4 /dev/root rw\n",
    b"30 22 254:0 /run/netns /run/netns rw shared:1 - ext4 /dev/root rw\n",
    b"31 30 0:4 net:[4026532000] /run/netns/colony-a rw shared:2 - nsfs nsfs rw\n",
    b"32 22 0:30 / /run/netns-of-others rw - tmpfs tmpfs rw\n",
)


def test_all_but_the_pins_counts() -> None:
    assert without_pins(MOUNTS, "/run/netns") == MOUNTS[0] + MOUNTS[1] + MOUNTS[3]
    assert without_pins(MOUNTS, "/elsewhere") == b"".join(MOUNTS)
