"""The loop as a PyTorch user runs it: transformers' `generate` for planner and critic, diffusers' pipeline for images.

Greedy decoding with the library's own KV cache, `torch.inference_mode`, one request at a time. Prompts are encoded and
pictures cut into patches with this project's own code, which is quicker than the libraries' processors: the baseline
gets the benefit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from interleave_rt.export.samples import patchify
from numpy.typing import NDArray
from PIL import Image
from torch_pack import TEXT_LAYERS, TorchPack

from interleave_rt import InterleaveError, Options, Pack, Request, Result, _core
from interleave_rt.pack.images import load_image
from interleave_rt.pack.tokens import TextEncoder
from interleave_rt.roles.answers import read_plan, read_verdict
from interleave_rt.types import PlanStep

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class LoopAttempt:
    """One generation and what the critic said of it; `accepted` is None where nothing of that counts."""

    prompt: str
    seed: int
    pixels: Pixels
    accepted: bool | None
    refined: str | None


@dataclass(frozen=True)
class LoopStep:
    """A step of the plan with its attempts; `pixels` is the final image."""

    plan: PlanStep
    attempts: list[LoopAttempt] = field(default_factory=list)

    @property
    def pixels(self) -> Pixels | None:
        """The final image; None for a text-only step."""
        return self.attempts[-1].pixels if self.attempts else None


@dataclass(frozen=True)
class LoopResult:
    """What a request gave; has what the oracle looks at in a `Result`."""

    steps: list[LoopStep]
    plan_truncated: bool


class _Files:
    """Hands pictures over as PNG files, or not at all: `put` gives what `get` takes."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._count = 0

    def put(self, pixels: Pixels) -> Path | Pixels:
        if self._folder is None:
            return pixels
        self._count += 1
        path = self._folder / f"{self._count}.png"
        Image.fromarray(pixels).save(path)
        return path

    @staticmethod
    def get(held: Path | Pixels) -> Pixels:
        if isinstance(held, Path):
            with Image.open(held) as image:
                return np.asarray(image.convert("RGB"))
        return held


class TorchLoop:
    """Planner, generator and critic in PyTorch, one call at a time.

    Args:
        pack: Prompts, sizes and settings.
        models: The pack's weights as PyTorch models.
        folder: Where pictures go between the roles as PNG files, as in the official demo; None: raw buffers.
    """

    def __init__(self, pack: Pack, models: TorchPack, folder: Path | None = None) -> None:
        roles = pack.manifest.roles
        assert roles.planner is not None
        assert roles.critic is not None
        assert roles.generator is not None
        self._roles, self._models, self._folder = roles, models, folder
        self._texts = TextEncoder.of_pack(pack.path, pack.manifest)

    @torch.inference_mode()
    def run(self, request: Request, options: Options) -> LoopResult:
        """The whole plan, then step by step; the critic is asked after every attempt, the last one included.

        Raises:
            InterleaveError: The plan could not be read, twice.
        """
        files = _Files(self._folder)
        inputs = [load_image(image) for image in request.images]
        steps, truncated = self._plan(request, inputs, options)
        source = files.put(inputs[-1]) if inputs else None
        done = []
        for index, step in enumerate(steps):
            done.append(LoopStep(step))
            if step.prompt is None:
                continue
            prompt, after = step.prompt, None
            for number in range(1, options.t_max + 1):
                seed = self._seed(options, "generate", index, number, 0)
                before = None if source is None else files.get(source)
                made = self._paint(prompt, before, seed)
                after = files.put(made)
                said = self._judge(before, files.get(after), step.prompt, prompt, options, index, number)
                counts = said is not None and number < options.t_max  # as in the demo: asked, not heeded
                accepted, refined = said if said is not None and counts else (None, None)
                done[-1].attempts.append(LoopAttempt(prompt, seed, made, accepted, refined))
                if accepted is not False:
                    break
                prompt = refined or prompt
            source = after
        return LoopResult(done, truncated)

    def _seed(self, options: Options, kind: str, step: int, attempt: int, retry: int) -> int:
        rule = getattr(_core.SeedRule, options.seeds)
        return int(_core.seed_of(options.seed, rule, kind, step, attempt, retry))

    def _plan(self, request: Request, inputs: list[Pixels], options: Options) -> tuple[list[PlanStep], bool]:
        ids = self._texts.plan(request.mode, request.marked_text, len(inputs))
        for retry in (0, 1):
            text = self._answer("planner", ids, inputs, self._seed(options, "plan", 0, 0, retry), retry)
            steps, truncated = read_plan(text, request.mode, options.max_steps)
            if steps:
                return steps, truncated
        raise InterleaveError("[TorchLoop] the plan could not be read, twice")

    def _judge(
        self,
        before: Pixels | None,
        after: Pixels,
        original: str,
        used: str,
        options: Options,
        step: int,
        attempt: int,
    ) -> tuple[bool, str | None] | None:
        ids = self._texts.judge(original, used)
        pair = [np.full_like(after, 255) if before is None else before, after]
        for retry in (0, 1):
            text = self._answer(
                "critic", ids, pair, self._seed(options, "judge", step, attempt, retry), retry
            )
            verdict = read_verdict(text)
            if verdict is not None:
                return verdict.accepted, verdict.refined
        return None

    def _answer(self, name: str, ids: Any, images: list[Pixels], seed: int, retry: int) -> bytes:
        """What a role writes, to the end; a second try is sampled."""
        role, model = getattr(self._roles, name), getattr(self._models, name)
        mark, vision = role.architecture.image_token_id, model.config.vision_config
        patches = [patchify(image, vision) for image in images]
        sizes = iter([int(grid.prod()) // vision.spatial_merge_size**2 for _, grid in patches])
        expanded = [
            t for token in ids.tolist() for t in ([token] * next(sizes) if token == mark else [token])
        ]
        tokens = torch.tensor([expanded])
        extra: dict[str, Any] = {}
        if patches:
            extra = {
                "pixel_values": torch.from_numpy(np.concatenate([values for values, _ in patches])),
                "image_grid_thw": torch.from_numpy(np.concatenate([grid for _, grid in patches])),
                "mm_token_type_ids": (tokens == mark).long(),
            }
        if retry:
            torch.manual_seed(seed & 0xFFFFFFFF)
            extra |= {"do_sample": True, "temperature": 0.7}
        out = model.generate(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=role.generation.max_new_tokens,
            **extra,
        )
        text: str = self._models.tokenizer.decode(
            out[0, tokens.shape[1] :], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text.encode()

    def _paint(self, prompt: str, source: Pixels | None, seed: int) -> Pixels:
        role = self._roles.generator
        rows, columns = role.image.height // role.token_pixels, role.image.width // role.token_pixels
        noise = np.asarray(_core.gaussian_noise(seed, rows * columns * role.latent_channels))
        planes = noise.reshape(rows, columns, role.latent_channels).transpose(2, 0, 1)[None].copy()
        image = self._models.pipeline(
            prompt=prompt,
            image=None if source is None else Image.fromarray(source),
            latents=torch.from_numpy(planes),
            height=role.image.height,
            width=role.image.width,
            num_inference_steps=role.scheduler.num_inference_steps,
            guidance_scale=1.0,
            max_sequence_length=role.max_sequence_length,
            text_encoder_out_layers=TEXT_LAYERS,
            output_type="pil",
        ).images[0]
        return np.array(image)


def difference(ours: Result, theirs: LoopResult, levels: int = 1) -> str | None:
    """Where a native result differs from the PyTorch loop's; images may differ by so many of 255 levels."""
    if ours.plan_truncated != theirs.plan_truncated or [s.plan for s in ours.steps] != [
        s.plan for s in theirs.steps
    ]:
        return "another plan"
    for number, (step, other) in enumerate(zip(ours.steps, theirs.steps, strict=True), 1):
        for place, (one, two) in enumerate(zip(step.attempts, other.attempts, strict=False), 1):
            where = f"step {number}, attempt {place}: "
            if (one.prompt, one.seed) != (two.prompt, two.seed):
                return where + "another prompt or seed"
            assert one.pixels is not None
            apart = int(np.abs(one.pixels.astype(int) - two.pixels.astype(int)).max())
            if apart > levels:
                return where + f"images differ by {apart} of 255"
            said = (one.verdict.accepted, one.verdict.refined) if one.verdict else (None, None)
            if said[0] != two.accepted or (said[0] is False and said[1] != two.refined):
                return where + f"another verdict ({said} and {(two.accepted, two.refined)})"
        if len(step.attempts) != len(other.attempts):
            return f"step {number}: {len(step.attempts)} attempts and {len(other.attempts)}"
    return None
