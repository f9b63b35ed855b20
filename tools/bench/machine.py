"""The machine that a report was measured on."""

import platform

from common.backend import runtime

VECTORS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "AVX-512 BF16", "amx_bf16": "AMX"}
SAME = ("cpu", "vectors", "cores", "paddle")  # these facts must be equal in reports that are shown together


def describe():
    """The facts that a report keeps: processor, its vector instructions, cores, system and Python."""
    return {"cpu": runtime.cpu_name(), "vectors": vectors(), "cores": runtime.cores(), "system": platform.platform(),
            "python": platform.python_version()}


def vectors():
    """The names in `VECTORS` that the processor has; none unless the system is Linux."""
    flags = runtime.cpuinfo().split()
    return [name for flag, name in VECTORS.items() if flag in flags]


def line(machine):
    """A machine in one line."""
    cpu = f"{machine['cpu']} ({', '.join(machine['vectors'])})" if machine.get("vectors") else machine["cpu"]
    versions = [f"{name} {machine[name]}" for name in ("python", "paddle", "torch", "fluid") if machine.get(name)]
    return ", ".join([cpu, f"{machine['cores']} cores", machine["system"], *versions])
