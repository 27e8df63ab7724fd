"""Linux networking for colonies: namespaces, addresses, packet rules, and processes inside.

    import anyio
    from netns import Instance, Network, NetworkThread, spawn

    async def main() -> None:
        with Instance.claim("/run/colony") as instance:
            async with NetworkThread() as thread:
                network = await Network.open(thread, instance)
                space = await network.create("my-app")      # 2 ms; `ip netns list` shows it
                async with await spawn(thread, ["ip", "-brief", "address"], namespace=space) as ip:
                    await ip.wait()
                await network.destroy(space)
                await network.close()

    anyio.run(main)                                         # as root

Everything that has to happen in a namespace happens on one permanent thread; nothing forks, no
`ip`, `nft` or `nsenter` is run. What is made bears its instance's id in the kernel itself, so that
what an instance leaves when it is killed can be found and removed (`reap`), and nobody else's.

`actors` holds the actors that own these things. Pure: `names`, `pool`, `ruleset`, `files`.
"""

from netns.capability import Capability, probe
from netns.errors import (
    NameTaken,
    NetlinkError,
    NetnsError,
    PacketFilterError,
    SpawnError,
    StepFailed,
    ThreadClosed,
)
from netns.instance import Instance
from netns.namespace import Namespace
from netns.network import Network
from netns.process import ExitStatus, Process, spawn
from netns.thread import NetworkThread

__all__ = [
    "Capability",
    "ExitStatus",
    "Instance",
    "NameTaken",
    "Namespace",
    "NetlinkError",
    "NetnsError",
    "Network",
    "NetworkThread",
    "PacketFilterError",
    "Process",
    "SpawnError",
    "StepFailed",
    "ThreadClosed",
    "probe",
    "spawn",
]
