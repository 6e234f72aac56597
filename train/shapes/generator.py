"""Training of the picture generator: a FLUX.2-klein that draws and edits from explicit prompts.

Explicit prompts are most of its training, grounded ones few: it is meant to fail at many of those, as real
generators fail at natural prompts, so that there is something for a critic to mend.
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
from torch import Tensor, nn

from .checkpoint import load_state, save_model, save_state
from .grammar import explicit, grounded
from .hub import AutoencoderKLFlux2, Flux2KleinPipeline
from .models import (
    PROMPT_TOKENS,
    TokenIds,
    build_text_encoder,
    build_transformer,
    encode_prompts,
    klein_scheduler,
)
from .optim import Ema, Optimizers, decay, round_to_half
from .oracle import matches
from .render import render_batch
from .teacher import generator_prompt
from .tokenizer import load_tokenizer
from .transitions import Transition, random_transition
from .vae import decode_tokens, encode_tokens
from .world import CELLS

__all__ = ["Generator", "load_generator", "train_generator"]

log = logging.getLogger(__name__)

STEPS = 4
_MU = 1.9446  # what Flux2KleinPipeline computes for 9 tokens and 4 steps
_EXPLICIT_SHARE = 0.75
_CHANGED_WEIGHT = 4.0
_REFERENCE_TIME = 10


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
        """Velocity of noisy tokens [n, 9, c] at noise levels [n], with the source picture's tokens."""
        count = x.shape[1]
        places = _places(count, 0)
        hidden = x
        if source is not None:
            hidden = torch.cat([x, source], 1)
            places = torch.cat([places, _places(count, _REFERENCE_TIME)])
        words = torch.cartesian_prod(
            torch.arange(1), torch.arange(1), torch.arange(1), torch.arange(text.shape[1])
        )
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
    def sample(self, tokens: Tensor, source: Tensor | None, seed: int) -> Tensor:
        """Tokens [n, 9, c] of pictures for prompts int64 [n, 32]."""
        noise = torch.Generator().manual_seed(seed)
        x = torch.randn(len(tokens), CELLS, self.channels, generator=noise)
        text, levels = self.text(tokens), sigmas()
        for now, then in itertools.pairwise(levels):
            x = x + (then - now) * self(x, now.expand(len(x)), text, source)
        return x


def _places(count: int, time: int) -> Tensor:
    side = int(count**0.5)
    return torch.cartesian_prod(torch.tensor([time]), torch.arange(side), torch.arange(side), torch.arange(1))


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
        return torch.as_tensor(batch.input_ids)

    def paint(
        self, prompts: list[str], sources: npt.NDArray[np.uint8] | None, seed: int
    ) -> npt.NDArray[np.uint8]:
        """Pictures uint8 [n, 48, 48, 3]; all with a source or all without."""
        reference = None if sources is None else encode_tokens(self.vae, sources)
        return decode_tokens(self.vae, self.model.sample(self.tokens(prompts), reference, seed))


class _Pool:
    """A ring of training samples: transition, source tokens, target tokens, loss weights."""

    def __init__(self, studio: Studio, rng: random.Random, size: int) -> None:
        self._studio, self._rng, self._size = studio, rng, size
        self.steps: list[Transition] = []
        channels = studio.model.channels
        self.source = torch.zeros(size, CELLS, channels)
        self.target = torch.zeros(size, CELLS, channels)
        self.weight = torch.zeros(size, CELLS)
        self._next = 0

    def _own(self, count: int) -> tuple[list[Transition], npt.NDArray[np.uint8]]:
        """Steps whose source picture the generator made itself (only those that it got right)."""
        first = [random_transition(self._rng, most=4) for _ in range(count)]
        draws = [step for step in first if step.before is None]
        edits = [step for step in first if step.before is not None]
        steps, sources = [], []
        for group in (draws, edits):
            if not group:
                continue
            pictures = None
            if group is edits:
                pictures = render_batch([step.before for step in group if step.before is not None])
            made = self._studio.paint(
                [explicit(step) for step in group], pictures, self._rng.randrange(2**31)
            )
            for step, image in zip(group, made, strict=True):
                if matches(image, step.after) and step.after.occupied:
                    steps.append(random_transition(self._rng, scene=step.after))
                    sources.append(image)
        return steps, np.stack(sources) if sources else np.zeros((0, 48, 48, 3), np.uint8)

    def grow(self, count: int, own: bool = False) -> None:
        """Replace the oldest samples by `count` new ones."""
        if own:
            steps, pictures = self._own(count)
            if not steps:
                return
        else:
            steps = [random_transition(self._rng) for _ in range(count)]
            pictures = render_batch([step.before or step.after for step in steps])
        source = encode_tokens(self._studio.vae, pictures)
        if not own and self._rng.random() < 0.4:  # a picture that has been through the codec before
            source = encode_tokens(self._studio.vae, decode_tokens(self._studio.vae, source))
        target = encode_tokens(self._studio.vae, render_batch([step.after for step in steps]))
        for i, step in enumerate(steps):
            row = self._next % self._size
            if row < len(self.steps):
                self.steps[row] = step
            else:
                self.steps.append(step)
            weight = torch.ones(CELLS)
            weight[list(step.touched)] = _CHANGED_WEIGHT
            self.source[row], self.target[row], self.weight[row] = (
                source[i],
                target[i],
                weight / weight.mean(),
            )
            self._next += 1


def _loss(model: Generator, pool: _Pool, studio: Studio, rng: random.Random, batch: int) -> Tensor:
    rows = [rng.randrange(len(pool.steps)) for _ in range(batch)]
    steps = [pool.steps[row] for row in rows]
    prompts = [
        explicit(step) if rng.random() < _EXPLICIT_SHARE else grounded(step, rng) or explicit(step)
        for step in steps
    ]
    clean, weight = pool.target[rows], pool.weight[rows]
    sigma = torch.sigmoid(torch.randn(batch) + _MU)
    at_inference = sigmas()[:-1][torch.randint(0, STEPS, (batch,))]
    sigma = torch.where(torch.rand(batch) < 0.4, at_inference, sigma)
    noise = torch.randn_like(clean)
    level = sigma.view(-1, 1, 1)
    x, velocity = (1 - level) * clean + level * noise, noise - clean
    text = model.text(studio.tokens(prompts))
    source = pool.source[rows]
    source = source + 0.06 * torch.rand(batch, 1, 1) * torch.randn_like(source)
    total = torch.zeros(())
    edits = torch.tensor([step.before is not None for step in steps])
    for chosen in (edits, ~edits):
        if chosen.any():
            out = model(x[chosen], sigma[chosen], text[chosen], source[chosen] if chosen is edits else None)
            total = total + ((out - velocity[chosen]).square().mean(-1) * weight[chosen]).sum()
    return total / (CELLS * batch)


def measure_generator(
    studio: Studio, count: int = 240, seed: int = 12345, chain: int = 3
) -> dict[str, float]:
    """Share of pictures that are exactly right: explicit and grounded, clean sources and self-made ones."""
    rng = random.Random(seed)
    result: dict[str, float] = {}
    steps = [
        random_transition(rng, rng.choice(("add", "add", "remove", "recolour", "move"))) for _ in range(count)
    ]
    befores = render_batch([step.before for step in steps if step.before is not None])
    made = studio.paint([explicit(step) for step in steps], befores, seed)
    result["explicit"] = float(np.mean([matches(i, s.after) for i, s in zip(made, steps, strict=True)]))
    related = [(i, text) for i, s in enumerate(steps) if s.operation == "add" and (text := grounded(s, rng))]
    attribute = [
        (i, text) for i, s in enumerate(steps) if s.operation != "add" and (text := grounded(s, rng))
    ]
    for name, chosen in (("relation", related), ("attribute", attribute)):
        rows = [i for i, _ in chosen]
        made = studio.paint([text for _, text in chosen], befores[rows], seed)
        result[name] = float(np.mean([matches(m, steps[i].after) for m, i in zip(made, rows, strict=True)]))
    draws = [random_transition(rng, "draw") for _ in range(count)]
    images = studio.paint([explicit(step) for step in draws], None, seed)
    good = [i for i in range(count) if matches(images[i], draws[i].after)]
    result["draw"] = len(good) / count
    scenes = {i: draws[i].after for i in good}
    for link in range(1, chain + 1):
        rows = sorted(scenes)
        if not rows:
            break
        nexts = [random_transition(rng, scene=scenes[i], operation="add" if link < 3 else None) for i in rows]
        images_now = studio.paint([explicit(step) for step in nexts], images[rows], seed + link)
        right = [matches(image, step.after) for image, step in zip(images_now, nexts, strict=True)]
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
    save_model(pipeline, out)


def load_generator(directory: Path) -> Studio:
    """The saved generator, ready to paint."""
    pipeline = Flux2KleinPipeline.from_pretrained(directory)
    model = Generator(TokenIds.of(pipeline.tokenizer), pipeline.vae.config.latent_channels)
    model.text_encoder, model.transformer = pipeline.text_encoder, pipeline.transformer
    return Studio(model.eval(), pipeline.vae.eval(), pipeline.tokenizer)


def train_generator(
    out: Path,
    *,
    vae_dir: Path,
    tokenizer_dir: Path,
    iterations: int = 900,
    batch: int = 64,
    pool_size: int = 24000,
    seed: int = 0,
    resume: bool = False,
    every: int = 150,
    tests: int = 240,
) -> dict[str, float]:
    """Train the generator on a frozen codec and save the whole pipeline under `out`."""
    torch.manual_seed(seed)
    rng = random.Random(seed + 7)
    tokenizer = load_tokenizer(tokenizer_dir)
    vae = AutoencoderKLFlux2.from_pretrained(vae_dir).eval().requires_grad_(False)
    model = Generator(TokenIds.of(tokenizer), vae.config.latent_channels)
    optimizers = Optimizers(
        [model], lambda name, w: w.ndim == 2 and ("blocks" in name or "layers." in name), weight_decay=0.01
    )
    start = load_state(out, model, optimizers, rng) if resume else 0
    ema = Ema(model)
    studio = Studio(ema.model, vae, tokenizer)
    pool = _Pool(studio, rng, pool_size)
    for _ in range(8):
        pool.grow(min(500, pool_size // 8))
    average = 0.0
    for iteration in range(start, iterations):
        if iteration % 4 == 0:
            pool.grow(24)
        if iteration > iterations // 3 and iteration % 8 == 4:
            pool.grow(32, own=True)
        loss = _loss(model, pool, studio, rng, batch)
        optimizers.step(loss, decay(iteration, iterations, warmup=150, hold=0.3))
        ema.update(model)
        average += 0.02 * (float(loss.detach()) - average)
        if (iteration + 1) % every == 0:
            log.info(
                "generator %d/%d loss %.4f %s",
                iteration + 1,
                iterations,
                average,
                measure_generator(studio, tests),
            )
            save_state(out, model, optimizers, rng, iteration + 1)
            save_generator(out, ema.model, vae, tokenizer)
    round_to_half(ema.model)
    save_generator(out, ema.model, vae, tokenizer)
    result = measure_generator(studio, tests)
    log.info("generator done %s", result)
    return result
