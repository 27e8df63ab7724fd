"""Linux networking for colonies."""

from netns.capability import Capability, probe
from netns.instance import Instance
from netns.namespace import Namespace
from netns.process import ExitStatus, Process, spawn
from netns.thread import NetworkThread

__all__ = [
    "Capability",
    "ExitStatus",
    "Instance",
    "Namespace",
    "NetworkThread",
    "Process",
    "probe",
    "spawn",
]
