"""What the paper claims, as paired differences of rows; and what is found here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .statistics import Estimate, Tally, difference

__all__ = ["CLAIMS", "PAPER", "Claim", "Found", "look"]


class Claim(NamedTuple):
    """One row against another: the figure is larger, or (`same`) it is not.

    Args:
        says: The claim.
        paper: What the paper's Table 5 has for it.
        more: Row and figure that are larger.
        less: Row and figure that they are compared with.
        same: The claim is that there is no difference beyond `margin`.
    """

    says: str
    paper: str
    more: tuple[str, str]
    less: tuple[str, str]
    same: bool = False
    margin: float = 0.0


CLAIMS: Mapping[str, Claim] = {
    "planner": Claim(
        "A planner helps: the last picture is what was asked for",
        "average 18.2 without, 60.5 with",
        ("planner-sft", "final"),
        ("no-planner", "final"),
    ),
    "format": Claim(
        "A critic that has learned only the form adds nothing: steps, three tries against one",
        "image 61.8 with a zero-shot critic, 61.8 with one try",
        ("critic-form", "step/3"),
        ("critic-form", "step/1"),
        same=True,
        margin=0.02,
    ),
    "critic sft": Claim(
        "Critic SFT helps: steps with three tries",
        "image 61.8 to 70.4",
        ("critic-sft", "step/3"),
        ("critic-form", "step/3"),
    ),
    "rl": Claim(
        "RL over SFT: refined prompts that succeed, by 5 points at least",
        "image 70.4 to 74.0",
        ("critic-rl", "refined"),
        ("critic-sft", "refined"),
        margin=0.05,
    ),
    "rl, steps": Claim(
        "RL over SFT: steps with three tries",
        "image 70.4 to 74.0",
        ("critic-rl", "step/3"),
        ("critic-sft", "step/3"),
    ),
    "step reward": Claim(
        "The step-wise reward is needed: refined prompts that succeed",
        "image 74.0 with it, 72.2 without",
        ("critic-rl", "refined"),
        ("rl-no-step", "refined"),
    ),
    "accuracy reward": Claim(
        "The accuracy reward is needed, where verdicts have head-room: balanced accuracy",
        "image 74.0 with it, 71.7 without",
        ("small-rl", "balanced"),
        ("small-no-accuracy", "balanced"),
    ),
    "kl": Claim(
        "KL to the SFT policy is not needed: refined prompts that succeed, without it against with it",
        "none: the paper says 1e-3, the published configuration has none",
        ("rl-no-kl", "refined"),
        ("critic-rl", "refined"),
        same=True,
        margin=0.05,
    ),
    "unfiltered": Claim(
        "Unfiltered data make a critic that accepts too much: wrong pictures refused",
        "average 64.5 to 62.8; it collapses to acceptances",
        ("critic-sft", "refused"),
        ("unfiltered", "refused"),
    ),
    "one agent, plans": Claim(
        "One agent for both plans worse: the last picture is what was asked for",
        "average 45.2 text, 63.7 image, against 58.6 and 70.4",
        ("planner-sft", "final"),
        ("one-agent", "final"),
    ),
    "one agent, verdicts": Claim(
        "One agent for both judges worse: balanced accuracy",
        "average 54.5 against 64.5",
        ("critic-sft", "balanced"),
        ("one-agent", "balanced"),
    ),
    "tries 1 to 3": Claim(
        "More tries help: steps, three against one, with the RL critic",
        "image 61.8 to 72.0",
        ("critic-rl", "step/3"),
        ("critic-rl", "step/1"),
    ),
    "tries 3 to 5": Claim(
        "More tries help: steps, five against three, with the RL critic",
        "image 72.0 to 74.0",
        ("critic-rl", "step/5"),
        ("critic-rl", "step/3"),
    ),
}

PAPER: Sequence[tuple[str, str, str, str]] = (
    ("raw klein-9B", "0", "36.4", "18.2"),
    ("planner and critic: Qwen3-VL-8B, zero-shot", "33.5", "62.6", "48.1"),
    ("+ planner SFT (critic zero-shot)", "58.5", "61.8", "60.5"),
    ("+ full SFT", "58.6", "70.4", "64.5"),
    ("RL without step reward", "58.2", "72.2", "65.2"),
    ("RL without accuracy reward", "58.4", "71.7", "65.1"),
    ("full RL", "58.6", "74.0", "66.3"),
    ("one agent", "45.2", "63.7", "54.5"),
    ("unfiltered critic data", "58.2", "67.3", "62.8"),
    ("T_max 1", "58.5", "61.8", "60.2"),
    ("T_max 3", "58.6", "72.0", "65.3"),
    ("T_max 5", "58.6", "74.0", "66.3"),
)
"""Table 5 of the paper: UEval with klein-9B; text, image, average."""


class Found(NamedTuple):
    """What became of a claim; `why` is for one that was not reproduced, and says what the figures show."""

    outcome: str
    difference: Estimate
    why: str


def look(claim: Claim, tallies: Mapping[str, Mapping[int, Mapping[str, Tally]]]) -> Found | None:
    """A claim held against what was measured; None where a row of it was not.

    Args:
        claim: Which.
        tallies: By row, seed and figure.
    """
    (row, figure), (other, against) = claim.more, claim.less
    arms = tallies.get(row, {}), tallies.get(other, {})
    seeds = sorted(arms[0].keys() & arms[1].keys())
    if not seeds:
        return None
    found = difference([arms[0][seed][figure] for seed in seeds], [arms[1][seed][against] for seed in seeds])
    if found.value is None or found.low is None or found.high is None:
        return Found("nothing to compare", found, "one of the two has no case")
    low, high, margin = found.low, found.high, claim.margin
    if claim.same:
        if -margin <= low and high <= margin:
            return Found("reproduced", found, "")
        if low > 0 or high < 0:
            return Found("not reproduced", found, "the interval is on one side of 0")
        return Found("undecided", found, _more(found, margin))
    if low > margin:
        return Found("reproduced", found, "")
    if high < margin:
        return Found("not reproduced", found, "the interval is below what is claimed")
    return Found("undecided", found, _more(found, margin))


def _more(found: Estimate, margin: float) -> str:
    """How far from a decision it is."""
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    half, away = (found.high - found.low) / 2, abs(found.value - margin)
    times = (half / away) ** 2 if away > 0 else float("inf")
    if times > 100:
        return "the interval holds what is claimed; the difference is too small to be told from it here"
    return f"the interval holds what is claimed; some {max(2, round(times))} times as many cases would tell"
