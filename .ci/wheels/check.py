"""Whether the modules in a wheel load on the oldest system that its tag names. Any architecture, read with readelf.

    python .ci/wheels/check.py WHEEL...

auditwheel passes a module whose symbols no library provides; this does not.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from link_stubs import CAPS  # the newest versions of manylinux_2_28

MACHINES = {"x86_64": "X86-64", "aarch64": "AArch64"}
LIBRARIES = {"libc", "libm", "libgcc_s", "libstdc++", "libpthread", "ld-linux-x86-64", "ld-linux-aarch64"}
TAG = re.compile(r"manylinux_(\d+)_(\d+)_(x86_64|aarch64)")


def read(*arguments: str | Path) -> str:
    return subprocess.run(["readelf", "-W", *arguments], capture_output=True, text=True, check=True).stdout


def faults_of(
    module: Path, glibc: tuple[int, ...], machine: str
) -> tuple[list[str], dict[str, tuple[int, ...]]]:
    faults: list[str] = []
    newest: dict[str, tuple[int, ...]] = {}
    caps = {**CAPS, "GLIBC": glibc}
    if MACHINES[machine] not in read("-h", module):
        faults.append(f"is not for {machine}")
    libraries = re.findall(r"\(NEEDED\).*\[(.+?)\]", read("-d", module))
    faults += [f"needs {one}" for one in libraries if one.split(".so")[0] not in LIBRARIES]
    exported = []
    for line in read("--dyn-syms", module).splitlines():
        fields = line.split()
        if len(fields) < 8 or not fields[0][:-1].isdigit():
            continue
        binding, place, symbol = fields[4], fields[6], fields[7]
        name, _, label = symbol.partition("@")
        if binding == "LOCAL":
            continue
        if place != "UND":
            exported.append(name)
        elif label:
            family, _, number = label.strip("@").partition("_")
            version = tuple(map(int, number.split(".")))
            newest[family] = max(version, newest.get(family, ()))
            if version > caps.get(family, ()):
                faults.append(f"{symbol} is newer than the tag allows")
        elif binding != "WEAK" and not re.match("_?Py", name):
            faults.append(f"{name} has no provider")
    if exported != [f"PyInit_{module.name.split('.')[0]}"]:
        faults.append(f"exports {len(exported)} names: {', '.join(exported[:3])}")
    return faults, newest


def main() -> int:
    bad = 0
    for wheel in map(Path, sys.argv[1:]):
        tags = TAG.findall(wheel.name)
        if not tags or "-cp310-abi3-" not in wheel.name:
            sys.exit(f"{wheel.name}: not a cp310-abi3 wheel with a manylinux tag")
        glibc = min((int(major), int(minor)) for major, minor, _ in tags)
        machine = tags[0][2]
        if glibc > CAPS["GLIBC"]:
            sys.exit(f"{wheel.name}: the tag is newer than manylinux_2_28")
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
            modules = [name for name in archive.namelist() if ".so" in Path(name).name]
            if not modules:
                sys.exit(f"{wheel.name}: no module in it")
            for name in modules:
                faults, newest = faults_of(Path(archive.extract(name, folder)), glibc, machine)
                needs = ", ".join(
                    f"{family} {'.'.join(map(str, version))}" for family, version in sorted(newest.items())
                )
                print(f"{wheel.name} ({wheel.stat().st_size / 1e6:.1f} MB): {name} needs {needs}")
                for fault in faults:
                    print(f"  {fault}")
                bad += len(faults)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
