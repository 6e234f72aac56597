"""Copy sources of the core so that each mistake of a list can be switched on.

    mutate.py MUTANTS CSRC OUT FILE...

The FILEs are paths under CSRC; they are copied to OUT with a choice, made at run time, between the
code of every hunk and its mistake. OUT/mutants.h names the mistakes. A hunk that does not apply is
an error with its name.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Mutant:
    """One hunk, and once it is located, the place of its code in the file."""

    number: int
    name: str
    what: str
    file: str = ""
    lines: list[str] = field(default_factory=list)
    start: int = 0
    end: int = 0

    def text(self, mark: str) -> str:
        """Return the lines with this mark."""
        return "\n".join(line[1:] for line in self.lines if line[0] == mark).strip()


def read(text: str) -> list[Mutant]:
    """Read the hunks; what comes before the first one is prose."""
    out: list[Mutant] = []
    for line in text.splitlines():
        if line.startswith("== "):
            name, _, what = line[3:].partition(": ")
            out.append(Mutant(len(out) + 1, name, what))
        elif out and line.startswith("@"):
            out[-1].file = line[1:].strip()
        elif out and line[:1] in (" ", "-", "+") and line:
            out[-1].lines.append(line)
    return out


def locate(mutant: Mutant, source: str) -> None:
    """Find the one place that the hunk is about."""
    pattern = ""
    changed = False
    for line in mutant.lines:
        tokens = re.findall(r"\w+|[^\w\s]", line[1:] if line[0] != "+" else "")
        code = r"\s*".join(map(re.escape, tokens)) + r"\s*"
        if line[0] != " " and not changed:
            pattern += "(?P<code>"
            changed = True
        elif line[0] == " " and changed and "(?P<rest>" not in pattern:
            pattern += ")(?P<rest>"
        pattern += code if line[0] != "+" else ""
    found = list(re.finditer(pattern + ")", source))
    if len(found) != 1:
        problem = f"fits {len(found)} places" if found else "does not apply"
        sys.exit(f"mutant {mutant.name} {problem} in {mutant.file}")
    mutant.start, mutant.end = found[0].span("code")


def choice(mutant: Mutant, code: str) -> str:
    """Write the code and the mistake, one of which is taken at run time."""
    on = f"::irt::active_mutant == {mutant.number}"
    old, new = mutant.text("-"), mutant.text("+")
    if (old or new).endswith((";", "}")):
        return f"if ({on}) {{ {new} }} else {{ {code} }} "
    return f"({on} ? ({new}) : ({code})) "


def mutated(mutants: list[Mutant], source: str, start: int, end: int) -> str:
    """Return source[start:end] with these mutants, which lie in it side by side or nested."""
    out = ""
    left = sorted(mutants, key=lambda it: (it.start, -it.end))
    while left:
        outer = left.pop(0)
        within = [it for it in left if it.end <= outer.end]
        left = left[len(within) :]
        if left and left[0].start < outer.end:
            sys.exit(f"mutants {outer.name} and {left[0].name} overlap in {outer.file}")
        code = mutated(within, source, outer.start, outer.end)
        out += source[start : outer.start] + choice(outer, code)
        start = outer.end
    return out + source[start:end]


def main() -> None:
    """Write the copies and the header."""
    listed, csrc, out = map(Path, sys.argv[1:4])
    mutants = read(listed.read_text())
    for file in sys.argv[4:]:
        source = (csrc / file).read_text()
        here = [it for it in mutants if it.file == file]
        for mutant in here:
            locate(mutant, source)
        copy = out / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text('#include "mutants.h"\n' + mutated(here, source, 0, len(source)))
    for mutant in mutants:
        if mutant.file not in sys.argv[4:]:
            sys.exit(f"mutant {mutant.name} is of {mutant.file}, which is not compiled")
    names = "".join(f'    {{{it.number}, "{it.name}"}},\n' for it in mutants)
    (out / "mutants.h").write_text(
        "#pragma once\n\nnamespace irt {\n\n"
        "inline int active_mutant = 0;  // none; set between runs\n"
        "struct Mutant {\n  int number;\n  const char* name;\n};\n"
        f"inline constexpr Mutant kMutants[] = {{\n{names}}};\n\n}}  // namespace irt\n"
    )


if __name__ == "__main__":
    main()
