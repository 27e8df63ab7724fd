"""Provisioning: from a repository to a workspace in which a colony's services can run.

    source ─ copy ─ jj ─ colony.toml ─ runtimes ─ dependencies ─ setup ─ database

    work = Work(name, workspace, Journal(home), os.environ)
    async with provisioning(work, all_stages(Source(url), ask), report):
        …                     # an error here, too, takes everything back
    work.added                # what the services get: PATH, VIRTUAL_ENV, COLONY_DATABASE

Every step is in a journal with its undo before it begins. A failure takes back what was done, the
last first; a crash is taken back by the next start (`recover`).
"""

from colony.provision.database import DATABASE
from colony.provision.dependencies import dependency_stages
from colony.provision.hooks import Ask, allow, hook_stage, refuse
from colony.provision.journal import Busy, Journal
from colony.provision.pipeline import (
    Progress,
    ProvisionFailed,
    provisioning,
    recover,
)
from colony.provision.runtimes import runtime_stages
from colony.provision.source import Source, name_of, source_stages
from colony.provision.work import Action, Skip, Stage, StepFailed, Work

__all__ = [
    "Action",
    "Ask",
    "Busy",
    "Journal",
    "Progress",
    "ProvisionFailed",
    "Skip",
    "Source",
    "Stage",
    "StepFailed",
    "Work",
    "all_stages",
    "allow",
    "name_of",
    "provisioning",
    "recover",
    "refuse",
    "workspace_stages",
]


def workspace_stages(ask: Ask = refuse) -> tuple[Stage, ...]:
    """What a workspace that is there needs."""
    return (*runtime_stages(), *dependency_stages(), hook_stage(ask), DATABASE)


def all_stages(source: Source, ask: Ask = refuse) -> tuple[Stage, ...]:
    """From a repository to a workspace that is ready."""
    return (*source_stages(source), *workspace_stages(ask))
