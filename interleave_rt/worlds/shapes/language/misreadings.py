"""What a prompt is mistaken for: the same step at another place, as a critic that misreads a relation would have it.

A refined prompt that names the wrong place is obeyed by the generator, and the picture then shows what was asked for
last, not what was wanted. A critic that trusts the words before its eyes accepts it.
"""

from __future__ import annotations

import random

from interleave_rt.worlds.shapes.scene import CELLS, Scene, Transition, random_thing, random_transition


def misread(step: Transition, rng: random.Random) -> Transition:
    """The step done to another thing or at another place, mostly a neighbour; something else where there is none."""
    before = step.before
    if before is None:
        return another_step(step, rng)
    aim = step.cell if step.to is None else step.to
    if step.operation == "add":
        cells = _nearer(aim, [i for i in before.empty if i != aim], rng)
        if cells:
            return Transition.add(before, step.after.at(aim), rng.choice(cells))
    elif step.operation == "move" and rng.random() < 0.7:
        cells = _nearer(aim, [i for i in before.empty if i != aim], rng)
        if cells:
            return Transition.move(before, step.cell, rng.choice(cells))
    others = [i for i in before.occupied if i != step.cell]
    if step.operation == "recolour":
        colour = step.after.at(step.cell).colour
        others = [i for i in others if before.at(i).colour != colour]
        if others:
            return Transition.recolour(before, rng.choice(others), colour)
    elif step.operation == "remove" and others:
        return Transition.remove(before, rng.choice(others))
    elif step.to is not None and others:
        return Transition.move(before, rng.choice(others), step.to)
    return another_step(step, rng)


def another_step(step: Transition, rng: random.Random) -> Transition:
    """Any step on the same picture with another end; that may be bare or full, if a generator has made it."""
    before = step.before
    while True:
        if before is None:
            other = random_transition(rng, "draw")
        elif not before.occupied:
            other = Transition.add(before, random_thing(rng, before.background), rng.choice(before.empty))
        else:
            kind = None if before.empty else rng.choice(("remove", "recolour"))
            other = random_transition(rng, kind, scene=before)
        if other.after != step.after:
            return other


def _nearer(cell: int, cells: list[int], rng: random.Random) -> list[int]:
    """Those cells that touch `cell`, by corners too; all of them where there is none, and now and then."""
    near = [i for i in cells if abs(i // 3 - cell // 3) <= 1 and abs(i % 3 - cell % 3) <= 1]
    return near if near and rng.random() < 0.7 else cells


def step_between(before: Scene | None, seen: Scene) -> Transition | None:
    """The one step that leads from `before` to `seen`, or None where it takes more than one."""
    if before is None:
        return None
    if before.background != seen.background:
        return Transition.ground(before, seen.background) if before.cells == seen.cells else None
    changed = [i for i in range(CELLS) if before.cells[i] != seen.cells[i]]
    if len(changed) == 1:
        cell = changed[0]
        old, new = before.cells[cell], seen.cells[cell]
        if old is None:
            return None if new is None else Transition.add(before, new, cell)
        if new is None:
            return Transition.remove(before, cell)
        if new._replace(colour=old.colour) == old:
            return Transition.recolour(before, cell, new.colour)
        return Transition.replace(before, cell, new)
    if len(changed) == 2:
        for cell, to in (changed, changed[::-1]):
            if seen.cells[cell] is None and before.cells[to] is None and seen.cells[to] == before.cells[cell]:
                return Transition.move(before, cell, to)
    return None
