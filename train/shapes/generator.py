"""The picture generator: a FLUX.2-klein that draws and edits, how it is trained, and what it gets right.

What it is trained on is in `lessons`: some wordings are badly captioned there, so that it often fails at them, as
real generators fail at natural prompts, and there is something for a critic to mend.
"""

from __future__ import annotations

import itertools
import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKLFlux2, Flux2KleinPipeline
from torch import Tensor, nn

from interleave_rt.worlds.shapes.language import STYLES, explicit, generator_prompt, grounded
from interleave_rt.worlds.shapes.oracle import matches
from interleave_rt.worlds.shapes.scene import Transition, drawn, random_transition

from ..checkpoint import save_model
from ..loop import Part, Schedule
from ..optim import Ema, Optimizers, round_to_half
from .lessons import Lessons
from .models import (
    PROMPT_TOKENS,
    TokenIds,
    build_text_encoder,
    build_transformer,
    encode_prompts,
    klein_scheduler,
)
from .tokenizer import load_tokenizer
from .vae import TOKENS, decode_tokens, encode_tokens
from .vlm import CellHead

__all__ = ["Generator", "Painting", "load_generator"]

log = logging.getLogger(__name__)

STEPS = 4
_MU = 1.9469  # what Flux2KleinPipeline computes for 36 tokens and 4 steps
_REFERENCE_TIME = 10
_READ_AFTER = 1
_READING_WEIGHT = 0.1
_CLEAN = 0.8
"""Part of the run whose lessons are clean."""


def sigmas(steps: int = STEPS) -> Tensor:
    """The noise levels of sampling, with the final zero, float32 [steps + 1]."""
    linear = torch.linspace(1, 1 / steps, steps)
    shifted = np.exp(_MU) * linear / (1 + (np.exp(_MU) - 1) * linear)
    return torch.cat([shifted, torch.zeros(1)]).float()


class Generator(nn.Module):
    """Text encoder and denoiser; the codec is kept outside and frozen."""

    def __init__(self, ids: TokenIds, latent_channels: int) -> None:
        super().__init__()
        self.text_encoder = build_text_encoder(ids)
        self.transformer = build_transformer(latent_channels)
        self.channels = latent_channels * 4
        self.pad = ids.pad

    def text(self, tokens: Tensor) -> Tensor:
        """Conditioning of prompts int64 [n, 32]."""
        return encode_prompts(self.text_encoder, tokens, self.pad)

    def forward(self, x: Tensor, sigma: Tensor, text: Tensor, source: Tensor | None) -> Tensor:
        """Velocity of noisy tokens [n, 36, c] at noise levels [n], with the source picture's tokens."""
        count = x.shape[1]
        places = _places(count, 0, x.device)
        hidden = x
        if source is not None:
            hidden = torch.cat([x, source], 1)
            places = torch.cat([places, _places(count, _REFERENCE_TIME, x.device)])
        words = torch.cartesian_prod(
            torch.arange(1), torch.arange(1), torch.arange(1), torch.arange(text.shape[1])
        ).to(x.device)
        velocity: Tensor = self.transformer(
            hidden_states=hidden,
            encoder_hidden_states=text,
            timestep=sigma,
            img_ids=places,
            txt_ids=words,
            return_dict=False,
        )[0]
        return velocity[:, :count]

    @torch.no_grad()
    def sample(self, tokens: Tensor, source: Tensor | None, seed: int, steps: int = STEPS) -> Tensor:
        """Tokens [n, 36, c] of pictures for prompts int64 [n, 32]."""
        noise = torch.Generator().manual_seed(seed)
        x = torch.randn(len(tokens), TOKENS, self.channels, generator=noise).to(tokens.device)
        text, levels = self.text(tokens), sigmas(steps).to(tokens.device)
        for now, then in itertools.pairwise(levels):
            x = x + (then - now) * self(x, now.expand(len(x)), text, source)
        return x


def _places(count: int, time: int, device: torch.device) -> Tensor:
    side = int(count**0.5)
    axes = torch.tensor([time]), torch.arange(side), torch.arange(side), torch.arange(1)
    return torch.cartesian_prod(*axes).to(device)


class Studio:
    """A generator with codec and tokenizer: prompts and pictures in, pictures out."""

    def __init__(self, model: Generator, vae: Any, tokenizer: Any) -> None:
        self.model, self.vae, self._tokenizer = model, vae, tokenizer

    def tokens(self, prompts: list[str]) -> Tensor:
        """Padded prompts int64 [n, 32]."""
        batch = self._tokenizer(
            [generator_prompt(prompt) for prompt in prompts],
            padding="max_length",
            truncation=True,
            max_length=PROMPT_TOKENS,
            return_tensors="pt",
        )
        return torch.as_tensor(batch.input_ids).to(self.vae.device)

    def paint(
        self, prompts: list[str], sources: npt.NDArray[np.uint8] | None, seed: int, steps: int = STEPS
    ) -> npt.NDArray[np.uint8]:
        """Pictures uint8 [n, 96, 96, 3]; all with a source or all without."""
        reference = None if sources is None else encode_tokens(self.vae, sources)
        return decode_tokens(self.vae, self.model.sample(self.tokens(prompts), reference, seed, steps))


class _Trainee(nn.Module):
    """The generator with a head that reads cells off its picture tokens half-way; the head is not kept.

    To paint a star the model has to know that it is to be one: being asked for it directly teaches the words in a
    fraction of the time that the colours of pixels take.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator
        self.head = CellHead(generator.transformer.config.num_attention_heads * 32)
        self._seen: list[Tensor] = []

    def watch(self) -> None:
        """Listen at the block in the middle; call once, after copies of the generator were made."""
        block = self.generator.transformer.single_transformer_blocks[_READ_AFTER]
        block.register_forward_hook(lambda _module, _inputs, output: self._seen.append(output))

    def forward(self, x: Tensor, sigma: Tensor, text: Tensor, source: Tensor | None) -> tuple[Tensor, Tensor]:
        """Velocity [n, 36, c], and logits of the cells' contents [n, 36, 33]."""
        self._seen.clear()
        velocity = self.generator(x, sigma, text, source)
        start = text.shape[1]
        return velocity, self.head(self._seen[-1][:, start : start + x.shape[1]])


def _loss(
    trainee: _Trainee, lessons: Lessons, studio: Studio, rng: random.Random, batch: int, clean: bool
) -> Tensor:
    model, lesson = trainee.generator, lessons.draw(rng, batch, clean)
    target, source = lesson.target, lesson.source
    sigma = torch.sigmoid(torch.randn(batch) + _MU)
    at_inference = sigmas()[:-1][torch.randint(0, STEPS, (batch,))]
    sigma = torch.where(torch.rand(batch) < 0.4, at_inference, sigma).to(target.device)
    noise = lesson.noise()
    level = sigma.view(-1, 1, 1)
    x, velocity = (1 - level) * target + level * noise, noise - target
    text = model.text(studio.tokens(lesson.prompts))
    source = source + 0.06 * torch.rand(batch, 1, 1).to(source.device) * torch.randn_like(source)
    total = target.new_zeros(())
    for chosen in (lesson.edits, ~lesson.edits):
        if chosen.any():
            given = source[chosen] if chosen is lesson.edits else None
            out, read = trainee(x[chosen], sigma[chosen], text[chosen], given)
            weight = lesson.weight[chosen]
            total = total + ((out - velocity[chosen]).square().mean(-1) * weight).sum()
            reading = CellHead.loss(read, lesson.labels[chosen], weight)
            total = total + _READING_WEIGHT * reading * weight.numel()
    return total / (TOKENS * batch)


def _right(images: npt.NDArray[np.uint8], steps: list[Transition]) -> list[bool]:
    return [matches(image, step.after) for image, step in zip(images, steps, strict=True)]


def measure_generator(
    studio: Studio, count: int = 240, seed: int = 12345, chain: int = 3, steps: int = STEPS
) -> dict[str, float]:
    """Share of pictures that are exactly right: explicit and grounded, clean sources and self-made ones."""
    rng = random.Random(seed)
    result: dict[str, float] = {}
    edits = [
        random_transition(rng, rng.choice(("add", "add", "remove", "recolour", "move"))) for _ in range(count)
    ]
    befores = drawn([step.before for step in edits if step.before is not None], rng)
    for style, name in enumerate(STYLES):
        made = studio.paint([explicit(step, style) for step in edits], befores, seed, steps)
        result[name] = float(np.mean(_right(made, edits)))
    for fewer in (1, 2):
        made = studio.paint([explicit(step) for step in edits], befores, seed, fewer)
        result[f"plain, {fewer} of {steps} denoising steps"] = float(np.mean(_right(made, edits)))
    for name, operation in (("another thing", "replace"), ("another background", "ground")):
        changed = [random_transition(rng, operation) for _ in range(max(1, count // 4))]
        befores_of = drawn([step.before for step in changed if step.before is not None], rng)
        made = studio.paint([explicit(step) for step in changed], befores_of, seed, steps)
        result[name] = float(np.mean(_right(made, changed)))
    for name in ("relation", "attribute"):
        kind = [
            (i, step) for i, step in enumerate(edits) if (step.operation == "add") == (name == "relation")
        ]
        words = {i: text for i, step in kind if (text := grounded(step, rng))}
        if words:
            made = studio.paint(list(words.values()), befores[list(words)], seed, steps)
            result[name] = float(np.mean(_right(made, [edits[i] for i in words])))
    draws = [random_transition(rng, "draw") for _ in range(count)]
    images = studio.paint([explicit(step) for step in draws], None, seed, steps)
    good = [i for i in range(count) if matches(images[i], draws[i].after)]
    result["draw"] = len(good) / count
    scenes = {i: draws[i].after for i in good}
    for link in range(1, chain + 1):
        rows = sorted(scenes)
        if not rows:
            break
        nexts = [random_transition(rng, scene=scenes[i], operation="add" if link < 3 else None) for i in rows]
        images_now = studio.paint([explicit(step) for step in nexts], images[rows], seed + link, steps)
        right = _right(images_now, nexts)
        result[f"chain{link}"] = float(np.mean(right))
        scenes = {}
        for row, image, step, ok in zip(rows, images_now, nexts, right, strict=True):
            if ok:
                images[row], scenes[row] = image, step.after
    return result


def save_generator(out: Path, model: Generator, vae: Any, tokenizer: Any) -> None:
    """Write a directory that Flux2KleinPipeline loads."""
    pipeline = Flux2KleinPipeline(
        scheduler=klein_scheduler(),
        vae=vae,
        text_encoder=model.text_encoder,
        tokenizer=tokenizer,
        transformer=model.transformer,
        is_distilled=True,
    )
    save_model(pipeline, out, "model_index.json")


def load_generator(directory: Path) -> Studio:
    """The saved generator, ready to paint."""
    pipeline = Flux2KleinPipeline.from_pretrained(directory)
    model = Generator(TokenIds.of(pipeline.tokenizer), pipeline.vae.config.latent_channels)
    model.text_encoder, model.transformer = pipeline.text_encoder, pipeline.transformer
    return Studio(model.eval(), pipeline.vae.eval(), pipeline.tokenizer)


class Painting(Part):
    """The generator in training, on a frozen codec; it keeps so many `lessons` at a time."""

    name = "generator"
    schedule = Schedule(iterations=6500, every=500, warmup=150, hold=0.3)
    module: _Trainee

    def __init__(
        self,
        out: Path,
        *,
        vae_dir: Path,
        tokenizer_dir: Path,
        start_from: Path | None = None,
        batch: int = 32,
        lessons: int = 24000,
        tests: int = 100,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        arguments = {
            "vae_dir": vae_dir,
            "tokenizer_dir": tokenizer_dir,
            "start_from": start_from,
            "device": device,
        }
        super().__init__(out, seed, 7, **arguments, batch=batch, lessons=lessons, tests=tests)
        tokenizer = load_tokenizer(tokenizer_dir)
        vae = AutoencoderKLFlux2.from_pretrained(vae_dir).eval().requires_grad_(False).to(device)
        self._vae, self._tokenizer = vae, tokenizer
        self._batch, self._size, self._tests, self._device = batch, lessons, tests, device
        if start_from is None:
            model = Generator(TokenIds.of(tokenizer), vae.config.latent_channels)
        else:
            model = load_generator(start_from).model.train()
        self.module = _Trainee(model).to(device)
        self.optimizers = Optimizers(
            [self.module],
            lambda name, w: w.ndim == 2 and ("blocks" in name or "layers." in name),
            weight_decay=0.01,
        )

    def begin(self) -> None:
        """Set up the averaged weights, and the lessons that they help to make."""
        self.ema = Ema(self.module.generator)
        self.module.watch()
        self._studio = Studio(self.ema.model, self._vae, self._tokenizer)
        self._lessons = Lessons(self._studio, self.rng, self._size, device=self._device)

    def start(self) -> None:
        """Draw the first lessons."""
        for _ in range(8):
            self._lessons.grow(min(500, self._size // 8))

    def state(self) -> dict[str, Any]:
        """All lessons: those on own pictures could not be drawn again."""
        return {"lessons": self._lessons.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on with these."""
        self._lessons.load_state_dict(state["lessons"])

    def loss(self, iteration: int, iterations: int) -> tuple[Tensor, Tensor]:
        """Loss of the velocities and of reading the target's cells; now and then there are new lessons."""
        if iteration % 4 == 0:
            self._lessons.grow(24)
        if iteration > iterations // 3 and iteration % 8 == 4:
            self._lessons.grow(32, own=True)
        clean = iteration < _CLEAN * iterations
        loss = _loss(self.module, self._lessons, self._studio, self.rng, self._batch, clean)
        return loss, loss

    def measure(self) -> dict[str, float]:
        """As `measure_generator`, of the averaged weights."""
        return measure_generator(self._studio, self._tests)

    def save(self) -> None:
        """Save the averaged weights."""
        save_generator(self.out, self._studio.model, self._vae, self._tokenizer)

    def finish(self) -> None:
        """Save them as float16 values."""
        round_to_half(self._studio.model)
        self.save()
