"""A run that starts from a package: from which one, and whether its head goes on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from hubft.base import digest
from hubft.base.files import MANIFEST
from hubft.hookspecs import Base
from hubft.job import PACKAGE, Head, Job
from hubft.publish import hub
from hubft.publish import manifest as manifests
from hubft.publish.manifest import Manifest
from hubft.tasks.task import Task


@dataclass(frozen=True)
class Parent:
    """The package that a run starts from."""

    folder: Path
    """Where it lies: of the package itself."""
    manifest: Manifest
    reference: str
    """Which no later push and no other working folder changes the meaning of."""
    hub: str = ""
    """owner/name, where it came from the Hub."""

    def base(self) -> Base:
        """Return what a package says that is made from this one."""
        base = self.manifest.base
        revision = self.folder.name if self.hub else digest.of_file(self.folder / MANIFEST)
        below = (base.reference, *base.below)
        hub = self.hub or base.hub
        return Base(self.reference, revision, base.license, hub=hub, below=below, config=base.config)

    def settled(self, job: Job) -> Job:
        """Return a job on this package with what it leaves to the package: which bytes these are, the size, and what
        a head is put on."""
        own = self.manifest.job
        pool = own.head.pool if job.head.pool == "auto" else job.head.pool
        head = replace(job.head, pool=pool)
        return replace(job, reference=self.reference, size=job.size or own.size, head=head)

    def continued(self, job: Job, task: Task) -> Job | None:
        """Return the job with the package's own head, where that goes on: the same outputs in the same order.

        None where the head is a new one: for other classes, or with layers that were asked for and are not the old.
        """
        head, its = self.manifest.job.head, self.manifest.task
        asked, plain = replace(job.head, outputs=head.outputs), Head(outputs=head.outputs, pool=head.pool)
        if (task.kind, task.names) != (its.kind, its.names) or asked not in (head, plain):
            return None
        return replace(job, head=head)


def of(job: Job) -> Parent | None:
    """Return the package that a job starts from, its manifest read; None where that is a pretrained model."""
    return named(job.name) if job.family == PACKAGE else None


def orders(job: Job) -> list[tuple[str, ...]]:
    """Return the names of the outputs of the packages that a job builds on, in their order."""
    return [named(name).manifest.task.names for name in job.packages]


def named(name: str) -> Parent:
    """Return the package of that name, a folder or owner/name[@revision], its manifest read.

    :raises PackageError: there is none, or it is no package.
    """
    local = hub.local(name)
    folder = local or hub.fetch(name)
    manifest = manifests.read(folder / MANIFEST)
    if local:
        return Parent(folder, manifest, f"{PACKAGE}:{Path(name).expanduser().resolve()}")
    repository = name.partition("@")[0]
    return Parent(folder, manifest, f"{PACKAGE}:{repository}@{folder.name}", repository)
