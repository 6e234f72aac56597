"""GPUs that one may not have: roofline arithmetic, not measurements.

Lower bounds of a call, from work and bandwidth (a FLUX.2-klein-9B generator with 4 denoising steps at 1024 x 1024, a
Qwen3-VL-8B planner and critic):

    compute      FLOP / rate, 700 TFLOP/s in bf16, 1400 in fp8 (attention stays bf16)
    decode       tok(B) = (weights * bytes + B * context * KV bytes) / bandwidth, 4.8 TB/s (H200), 3.35 TB/s (H800)
    generator    text encoder + VAE encode + 4 denoising steps + VAE decode
    critic       C = 2 ViT + prefill(3576 tokens) + 300 tok;  Cv = 2 ViT + prefill + 200 tok
    planner      prefill(1200 tokens) + 60 tok, then 150 tok a step

Two cards: generator on one; planner and critic on the other, where two decodes share the bandwidth (different
checkpoints read different weights): each runs at 1/2. One card: while a decode runs, the generator has the share
1 - s of the multiprocessors (s = 0.02 at the roofline), and decodes have 0.92 of the bandwidth beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

from interleave_rt.checks import within
from interleave_rt.errors import BadRequestError

from .machine import Lane, Machine, pair_rates
from .tasks import Times

DECODE_SHARE = 0.92  # of the bandwidth, beside a generator
DECODE_SMS = 0.02  # of the multiprocessors, at the roofline
CRITIC_TOKENS, VERDICT_TOKENS, PLAN_HEAD, PLAN_STEP = 300, 200, 60, 150
SLOTS = 4


@dataclass(frozen=True, slots=True)
class Card:
    """Milliseconds of one call."""

    generate_first: float  # text to image
    generate: float  # one reference image
    prefill: float  # critic's time to its first token: images and 3576 tokens
    token: float  # decode of one sequence
    token_of_four: float  # decode of four sequences together
    plan: float  # planner's time to its first token and 810 tokens


PRESETS = {
    "h200-bf16": Card(469, 973, 93, 3.27, 3.61, 2670),
    "h200-fp8": Card(281, 622, 52, 1.69, 2.03, 1380),
    "h800-bf16": Card(469, 973, 93, 4.68, 5.17, 3820),
    "h800-fp8": Card(281, 622, 52, 2.42, 2.92, 1980),
}


def preset(name: str, cards: int = 2, decode_sms: float = DECODE_SMS) -> tuple[Times, Machine, str]:
    """Times and machine of a preset, and what to say of it.

    Args:
        name: One of `PRESETS`.
        cards: 1: all on one card; 2: the generator has one of its own.
        decode_sms: One card: the share of the multiprocessors that a running decode takes from the generator.

    Raises:
        BadRequestError: There is no such preset, or a number is out of range.
    """
    if name not in PRESETS:
        raise BadRequestError(f"there is no preset {name!r}", hint=f"presets: {', '.join(PRESETS)}")
    within("--cards", cards, 1, 2)
    if not 0 <= decode_sms < 1:
        raise BadRequestError(f"--decode-sms is {decode_sms}: a share from 0 to below 1 is wanted")
    card = PRESETS[name]
    head = card.plan - (PLAN_HEAD + 5 * PLAN_STEP) * card.token  # prefill of the planner
    times = Times(
        plan_first=head + (PLAN_HEAD + PLAN_STEP) * card.token,
        plan_step=PLAN_STEP * card.token,
        generate_first=card.generate_first,
        generate=card.generate,
        verdict=card.prefill + VERDICT_TOKENS * card.token,
        verdict_tail=(CRITIC_TOKENS - VERDICT_TOKENS) * card.token,
    )
    generator = "card 0"
    vlm = generator if cards == 1 else "card 1"
    lanes = {
        "planner": Lane(
            SLOTS, vlm, batching=_curve(head, PLAN_HEAD + 5 * PLAN_STEP, card), cancel_ms=card.token
        ),
        "generator": Lane(1, generator),
        "critic": Lane(SLOTS, vlm, batching=_curve(card.prefill, CRITIC_TOKENS, card), cancel_ms=card.token),
    }
    rates = pair_rates(1 / DECODE_SHARE, 1 - decode_sms)
    if cards == 2:
        rates = {"planner+critic": rates["planner+critic"]}
    note = f"{name}, {cards} card{'s' * (cards > 1)}: roofline arithmetic (lower bounds of the calls), not measured"
    return times, Machine(lanes, {vlm: rates}), note


def _curve(prefill: float, tokens: float, card: Card) -> list[float]:
    """Of b calls together: prefills are compute, one after the other; decodes share the reading of the weights."""
    more = (card.token_of_four - card.token) / 3
    alone = prefill + tokens * card.token
    return [(prefill * b + tokens * (card.token + more * (b - 1))) / alone for b in range(1, SLOTS + 1)]
