"""A description of the machine that the figures were measured on."""

import os
import platform
from pathlib import Path

import psutil

from proof.bench.meters.counters import CounterReader
from proof.stack import Mesh

DURABILITY = ("fsync", "synchronous_commit", "full_page_writes")


def facts(
    mesh: Mesh, counters: CounterReader, window_seconds: float, rounds: int
) -> dict[str, str]:
    """The facts by name, in the order of their display."""
    settings = counters.settings("server_version", *DURABILITY)
    versions = sorted({of["server_version"] for of in settings.values()})
    instances = [process["role"] for process in mesh.read()["processes"]]
    return {
        "machine": f"{psutil.cpu_count()} cores, {_processor()}, {_memory_gib():.0f} GiB, "
        f"{platform.system()} {platform.release()}",
        "load average before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "Python": platform.python_version(),
        "PostgreSQL": f"{', '.join(versions)}; "
        + "; ".join(
            f"{database}: " + ", ".join(f"{name} {of[name]}" for name in DURABILITY)
            for database, of in settings.items()
        ),
        "data on": _filesystem(mesh.layout.folder),
        "mesh": ", ".join(f"{instances.count(role)} {role}" for role in dict.fromkeys(instances)),
        "each figure": f"median of {rounds} windows of {window_seconds:g} s (reads and ghz: half "
        "as long), lowest to highest in brackets",
    }


def _memory_gib() -> float:
    return float(psutil.virtual_memory().total / 2**30)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def _filesystem(folder: Path) -> str:
    """The file system's type and device, because a flush to memory would be free."""
    mounts = [
        mount
        for mount in psutil.disk_partitions(all=True)
        if folder.is_relative_to(mount.mountpoint)
    ]
    if not mounts:
        return "an unknown file system"
    mount = max(mounts, key=lambda mount: len(mount.mountpoint))
    return f"{mount.fstype} ({mount.device})"
