"""Stand-ins for the C and C++ libraries, to link against an older system than this one.

    python .ci/wheels/link_stubs.py COMPILER FOLDER      COMPILER: a g++ of the wanted architecture

A stand-in has the names that the real library has, each in the newest version that the wanted system knows, and no
code: `-L FOLDER` makes the linker write those versions down. What the C++ library of that system lacks comes from
this compiler's libstdc++.a, as in the compilers of the manylinux containers.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

CAPS = {"GLIBC": (2, 28), "GLIBCXX": (3, 4, 24), "CXXABI": (1, 3, 11), "GCC": (7, 0, 0)}
MOVED = (2, 34)  # the glibc that took in what had been libpthread


class Symbol(NamedTuple):
    version: tuple[int, ...]
    family: str
    kind: str
    size: int
    binding: str

    @property
    def label(self) -> str:
        return f"{self.family}_{'.'.join(map(str, self.version))}"


def symbols_of(library: str) -> tuple[dict[str, Symbol], dict[str, Symbol]]:
    """What the wanted system has of a library: names of its own, and names that were in libpthread then."""
    listing = subprocess.run(
        ["readelf", "--dyn-syms", "-W", library], capture_output=True, text=True, check=True
    )
    known: dict[str, Symbol] = {}
    moved = set()
    for line in listing.stdout.splitlines():
        fields = line.split()
        if len(fields) < 8 or fields[6] in {"UND", "ABS"} or "@" not in fields[7]:
            continue
        name, label = re.split("@+", fields[7])
        match = re.fullmatch(r"([A-Z]+)_([\d.]+)", label)
        if not match or match[1] not in CAPS:
            continue
        version = tuple(map(int, match[2].split(".")))
        if version > CAPS[match[1]]:
            if match[1] == "GLIBC" and version == MOVED:
                moved.add(name)
        elif name not in known or version > known[name].version:
            known[name] = Symbol(version, match[1], fields[3], int(fields[2], 0), fields[4])
    return (
        {name: symbol for name, symbol in known.items() if name not in moved},
        {name: symbol for name, symbol in known.items() if name in moved},
    )


def write_stub(compiler: str, folder: Path, soname: str, symbols: dict[str, Symbol]) -> None:
    lines, versions = [], defaultdict(list)
    for name, symbol in symbols.items():
        versions[symbol.family, symbol.version, symbol.label].append(name)
        section, kind = {
            "FUNC": (".text", "%function"),
            "IFUNC": (".text", "%function"),
            "TLS": ('.section .tbss,"awT",%nobits', "%tls_object"),
        }.get(symbol.kind, (".data", "%object"))
        visible = ".weak" if symbol.binding == "WEAK" else ".globl"
        lines += [section, f"{visible} {name}", f".type {name},{kind}", f".size {name},{symbol.size or 8}"]
        lines += [f"{name}: .zero 8"]
    source, script = folder / f"{soname}.s", folder / f"{soname}.map"
    source.write_text("\n".join(lines) + "\n", encoding="ascii")
    before: dict[str, str] = {}
    nodes = []
    for family, _, label in sorted(versions):
        names = "; ".join(versions[family, _, label])
        nodes.append(f"{label} {{ global: {names}; }} {before.get(family, '')};")
        before[family] = label
    script.write_text("\n".join(nodes) + "\n", encoding="ascii")
    link = [compiler, "-shared", "-nostdlib", "-o", folder / soname, source]
    subprocess.run([*link, f"-Wl,-soname,{soname}", f"-Wl,--version-script,{script}"], check=True)


def main() -> int:
    compiler, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    folder.mkdir(parents=True, exist_ok=True)

    def real(name: str) -> str:
        told = subprocess.run(
            [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        )
        path = told.stdout.strip()
        if not Path(path).is_absolute():
            sys.exit(f"link_stubs.py: {compiler} knows no {name}")
        return path

    for soname in ("libc.so.6", "libm.so.6", "libgcc_s.so.1", "libstdc++.so.6"):
        own, threads = symbols_of(real(soname))
        write_stub(compiler, folder, soname, own)
        if soname == "libc.so.6":
            write_stub(compiler, folder, "libpthread.so.0", threads)
    machine = subprocess.run([compiler, "-dumpmachine"], capture_output=True, text=True, check=True).stdout
    loader = {"x86_64": "ld-linux-x86-64.so.2", "aarch64": "ld-linux-aarch64.so.1"}[machine.split("-", 1)[0]]
    scripts = {
        "libc.so": f"GROUP({folder}/libc.so.6 {real('libc_nonshared.a')}"
        f" AS_NEEDED({folder}/libpthread.so.0 {real(loader)}))",
        "libm.so": f"INPUT({folder}/libm.so.6)",
        "libgcc_s.so": f"GROUP({folder}/libgcc_s.so.1 -lgcc)",
        "libstdc++.so": f"INPUT({folder}/libstdc++.so.6 {real('libstdc++.a')})",
    }
    for name, text in scripts.items():
        (folder / name).write_text(text + "\n", encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main())
