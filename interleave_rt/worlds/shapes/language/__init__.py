"""What can be asked for and how it is said: prompts with their meaning, requests with their right answer."""

from __future__ import annotations

from .composites import COMPOSITES, fits_a_column, variants
from .continuations import continuing
from .examples import EXAMPLES, GROUPS, HONEST, group_of, is_honest, refusal
from .grammar import apply, explicit, grounded, natural, parse
from .misreadings import another, misread, obeyed
from .narratives import longer, narrative, pair
from .out_of_domain import OUTSIDE, elsewhere, outside_test, vocabulary
from .places import CELL_OF, STYLES, at, bare
from .plans import Mode, PlanStep, Request, Split, answer, operations, split_of
from .questions import about, question
from .teacher import (
    IMAGE_TOKENS,
    Verdict,
    corrupt,
    critic_prompt,
    generator_prompt,
    judge,
    misunderstood,
    plan_answer,
    planner_prompt,
    rewrite,
    template,
)

__all__ = [
    "CELL_OF",
    "COMPOSITES",
    "EXAMPLES",
    "GROUPS",
    "HONEST",
    "IMAGE_TOKENS",
    "OUTSIDE",
    "STYLES",
    "Mode",
    "PlanStep",
    "Request",
    "Split",
    "Verdict",
    "about",
    "another",
    "answer",
    "apply",
    "at",
    "bare",
    "continuing",
    "corrupt",
    "critic_prompt",
    "elsewhere",
    "explicit",
    "fits_a_column",
    "generator_prompt",
    "grounded",
    "group_of",
    "is_honest",
    "judge",
    "longer",
    "misread",
    "misunderstood",
    "narrative",
    "natural",
    "obeyed",
    "operations",
    "outside_test",
    "pair",
    "parse",
    "plan_answer",
    "planner_prompt",
    "question",
    "refusal",
    "rewrite",
    "split_of",
    "template",
    "variants",
    "vocabulary",
]
