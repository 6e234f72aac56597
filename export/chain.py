"""The roles run over their exported graphs in plain numpy: the reference that the native runtime is tested against."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .samples import VlmPrompt
from .sessions import DECODE_FILE, DecoderRunner, Floats, Ints, RowInput, open_session
from .shapes import ShapesRecipe

if TYPE_CHECKING:
    from diffusers import Flux2KleinPipeline

__all__ = ["GeneratorChain", "VlmChain", "flow_sigmas", "padded_tokens", "places", "words"]

_REFERENCE_TIME = 10


class VlmChain:
    """Planner or critic: vision graph, then the decoder graph, one sequence at a time.

    Answers go through the decode graph where there is one, as in the native runtime; `fused=False`: not even then.
    """

    def __init__(self, directory: Path, image_token_id: int, *, fused: bool = True) -> None:
        self._vision = open_session(directory / "vision.onnx")
        self._decoder = open_session(directory / "decoder.onnx")
        decode = directory / DECODE_FILE
        self._decode = open_session(decode) if fused and decode.is_file() else None
        self._image = image_token_id

    def row(self, prompt: VlmPrompt) -> RowInput:
        """The decoder's input for a prompt: its images encoded and laid at their places."""
        runner = DecoderRunner(self._decoder, 1, 1)
        count = len(prompt.ids)
        visual = np.zeros((count, runner.hidden), np.float32)
        deepstack = np.zeros((runner.levels, count, runner.hidden), np.float32)
        places = np.flatnonzero(prompt.ids == self._image)
        start, patch = 0, 0
        for grid in prompt.grids:
            patches = int(grid.prod())
            feed = {"pixel_values": prompt.pixel_values[patch : patch + patches], "grid_thw": grid[None]}
            outputs = self._vision.run(None, feed)
            where = places[start : start + len(outputs[0])]
            visual[where] = outputs[0]
            if runner.levels:
                deepstack[:, where] = outputs[1]
            start, patch = start + len(where), patch + patches
        return RowInput(prompt.ids, prompt.positions, visual, deepstack)

    def generate(self, prompt: VlmPrompt, tokens: int) -> tuple[list[int], Floats]:
        """So many greedy tokens and the logits that chose them, [tokens, vocab]."""
        row = self.row(prompt)
        runner = DecoderRunner(self._decoder, 1, len(prompt.ids) + tokens, self._decode)
        logits = runner.step({0: row}, len(prompt.ids))[0]
        found, rows = [int(logits.argmax())], [logits]
        while len(found) < tokens:
            logits = runner.answer({0: (found[-1], prompt.next_position + len(found) - 1)})[0]
            found.append(int(logits.argmax()))
            rows.append(logits)
        return found, np.stack(rows)


def flow_sigmas(steps: int, image_tokens: int) -> Floats:
    """Noise levels of flow-match Euler with FLUX.2's empirical shift: steps + 1 values, the last one 0."""
    low = 8.73809524e-05 * image_tokens + 1.89833333
    high = 0.00016927 * image_tokens + 0.45666666
    slope = (high - low) / 190.0
    mu = high if image_tokens > 4300 else slope * steps + high - 200.0 * slope
    linear = np.linspace(1.0, 1.0 / steps, steps)
    shifted = np.exp(mu) / (np.exp(mu) + (1.0 / linear - 1.0))
    return np.append(shifted, 0.0).astype(np.float32)


def padded_tokens(tokenizer: Any, prompt: str, length: int) -> tuple[Ints, Ints]:
    """Ids and mask [1, length] of a generator prompt, as the pipeline makes them."""
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}],
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=False,
    )
    batch = tokenizer(chat, padding="max_length", truncation=True, max_length=length, return_tensors="np")
    return batch.input_ids.astype(np.int64), batch.attention_mask.astype(np.int64)


class GeneratorChain:
    """The four generator graphs, one image at a time."""

    def __init__(self, directory: Path, recipe: ShapesRecipe) -> None:
        names = ("text_encoder", "transformer", "vae_encoder", "vae_decoder")
        self.sessions = {name: open_session(directory / f"{name}.onnx") for name in names}
        self.channels = int(self.sessions["vae_decoder"].get_inputs()[0].shape[3])
        self._recipe = recipe
        probe = self.sessions["vae_decoder"].run(
            None, {"latents": np.zeros((1, 1, 1, self.channels), np.float32)}
        )
        self.token_pixels = int(probe[0].shape[2])

    def paint(
        self, ids: Ints, mask: Ints, noise: Floats, source: npt.NDArray[np.uint8] | None
    ) -> npt.NDArray[np.uint8]:
        """A picture uint8 [H, W, 3] from a prompt, noise [1, c, rows, columns] and a source picture."""
        text = self.sessions["text_encoder"].run(None, {"input_ids": ids, "attention_mask": mask})[0]
        _, _, rows, columns = noise.shape
        x = noise.reshape(1, self.channels, rows * columns).transpose(0, 2, 1)
        where, reference = places(0, rows, columns), np.zeros((1, 0, self.channels), np.float32)
        if source is not None:
            planar = source.astype(np.float32).transpose(2, 0, 1)[None] / np.float32(127.5) - np.float32(1)
            latents = self.sessions["vae_encoder"].run(None, {"image": planar})[0]
            reference = latents.reshape(1, -1, self.channels)
            where = np.concatenate([where, places(_REFERENCE_TIME, *latents.shape[1:3])])
        sigmas = flow_sigmas(self._recipe.inference_steps, rows * columns)
        for now, then in itertools.pairwise(sigmas):
            feed = {
                "hidden_states": np.ascontiguousarray(np.concatenate([x, reference], axis=1)),
                "encoder_hidden_states": text,
                "timestep": np.array([now], np.float32),
                "img_ids": where,
                "txt_ids": words(text.shape[1]),
            }
            x = x + (then - now) * self.sessions["transformer"].run(None, feed)[0][:, : rows * columns]
        latents = np.ascontiguousarray(x.reshape(1, rows, columns, self.channels))
        planar = self.sessions["vae_decoder"].run(None, {"latents": latents})[0][0]
        pixels = np.clip(planar / 2 + np.float32(0.5), 0, 1) * 255
        return np.ascontiguousarray(np.round(pixels).astype(np.uint8).transpose(1, 2, 0))

    def sample_inputs(
        self, pipeline: Flux2KleinPipeline, rng: np.random.Generator
    ) -> dict[str, list[dict[str, Any]]]:
        """Feeds of several sizes for every graph."""
        text_dim = pipeline.transformer.config.joint_attention_dim
        feeds: dict[str, list[dict[str, Any]]] = {name: [] for name in self.sessions}
        for batch, rows, columns, length in ((1, 3, 3, self._recipe.max_sequence_length), (3, 2, 4, 7)):
            where = np.concatenate([places(0, rows, columns), places(_REFERENCE_TIME, rows, columns)])
            mask = (np.arange(length)[None] < rng.integers(1, length + 1, (batch, 1))).astype(np.int64)
            ids = rng.integers(8, 250, (batch, length))
            feeds["text_encoder"].append({"input_ids": ids, "attention_mask": mask})
            feeds["transformer"].append(
                {
                    "hidden_states": rng.standard_normal(
                        (batch, len(where), self.channels), dtype=np.float32
                    ),
                    "encoder_hidden_states": rng.standard_normal((batch, length, text_dim), dtype=np.float32),
                    "timestep": rng.random(batch, dtype=np.float32),
                    "img_ids": where,
                    "txt_ids": words(length),
                }
            )
            latents = rng.standard_normal((batch, rows, columns, self.channels), dtype=np.float32)
            feeds["vae_decoder"].append({"latents": latents})
            sides = (rows * self.token_pixels, columns * self.token_pixels)
            feeds["vae_encoder"].append({"image": rng.random((batch, 3, *sides), dtype=np.float32) * 2 - 1})
        return feeds


def places(time: int, rows: int, columns: int) -> Ints:
    """Position ids [rows * columns, 4] of an image's tokens: time, row, column, 0."""
    grid = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1).reshape(-1, 2)
    found = np.zeros((len(grid), 4), np.int64)
    found[:, 0], found[:, 1:3] = time, grid
    return found


def words(count: int) -> Ints:
    """Position ids [count, 4] of a prompt's tokens: 0, 0, 0, index."""
    found = np.zeros((count, 4), np.int64)
    found[:, 3] = np.arange(count)
    return found
