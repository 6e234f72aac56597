"""What can be asked for and how it is said: prompts with their meaning, requests with their right answer."""

from __future__ import annotations

from .composites import COMPOSITES, fits_a_column, variants
from .continuations import continuing
from .declined import vocabulary
from .drawings import offer_request
from .enquiries import asked
from .examples import EXAMPLES, GROUPS, HONEST, REASONS, is_honest, offers, refusal
from .files import TEMPLATES, template
from .grammar import apply, explicit, grounded, natural, parse
from .misreadings import another_step, misread, step_between
from .narratives import long_series, narrative, pair
from .out_of_domain import OUTSIDE, outside_request, outside_test
from .pictured import about_a_picture
from .places import CELL_OF, STYLES, at, bare
from .plans import Mode, PlanStep, Request, Split, answer, operations, split_of
from .questions import about, question
from .speech import spoken
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
)

__all__ = [
    "CELL_OF",
    "COMPOSITES",
    "EXAMPLES",
    "GROUPS",
    "HONEST",
    "IMAGE_TOKENS",
    "OUTSIDE",
    "REASONS",
    "STYLES",
    "TEMPLATES",
    "Mode",
    "PlanStep",
    "Request",
    "Split",
    "Verdict",
    "about",
    "about_a_picture",
    "another_step",
    "answer",
    "apply",
    "asked",
    "at",
    "bare",
    "continuing",
    "corrupt",
    "critic_prompt",
    "explicit",
    "fits_a_column",
    "generator_prompt",
    "grounded",
    "is_honest",
    "judge",
    "long_series",
    "misread",
    "misunderstood",
    "narrative",
    "natural",
    "offer_request",
    "offers",
    "operations",
    "outside_request",
    "outside_test",
    "pair",
    "parse",
    "plan_answer",
    "planner_prompt",
    "question",
    "refusal",
    "rewrite",
    "split_of",
    "spoken",
    "step_between",
    "template",
    "variants",
    "vocabulary",
]
