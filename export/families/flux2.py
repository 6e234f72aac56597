"""FLUX.2-klein as generator: its four graphs, what the manifest says of it, and its proofs."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKLFlux2, Flux2KleinPipeline, Flux2Transformer2DModel
from diffusers.models.transformers import transformer_flux2
from PIL import Image
from torch import Tensor, nn
from transformers import Qwen3ForCausalLM

from interleave_rt.pack.manifest import GeneratorRole

from ..graph import GraphSpec, export_graph, parameters, swapped
from ..proof.checks import Comparison, Parity, deviation, picture, worst
from ..proof.invariance import batch_invariance
from ..proof.sessions import Floats, Ints, open_session
from ..recipe import GeneratorRecipe
from ..storage import HalfReport
from ..weights import Weights, quiet_libraries
from .flow import BATCH, OPSET, WORDS, drawing_graphs

__all__ = [
    "NEEDED",
    "GeneratorChain",
    "denoising",
    "drawing_specs",
    "flow_sigmas",
    "generator_specs",
    "generator_trace",
    "padded_tokens",
    "pipeline_image",
    "places",
    "rope_tables",
    "token_pixels",
]

NEEDED = ("vae/config.json", "transformer/config.json", "text_encoder/config.json", "model_index.json")

_PACK = 2  # latents are packed in 2x2 blocks
_REFERENCE_TIME = 10
_ROWS: dict[int, str] = {0: "b", 1: "t"}
_PROMPT = "add a small green star at the top left"


def load(weights: Weights, role: str) -> Flux2KleinPipeline:
    """The generator in float32."""
    with quiet_libraries():
        pipeline = Flux2KleinPipeline.from_pretrained(weights.directory / role, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    for part in (pipeline.vae, pipeline.transformer, pipeline.text_encoder):
        part.eval()
    return pipeline


def export(
    pipeline: Flux2KleinPipeline, folder: Path, recipe: GeneratorRecipe
) -> Iterator[tuple[str, HalfReport]]:
    """Writes the graphs into `folder`; says of each what its storage did."""
    with generator_trace():
        for part, spec in generator_specs(pipeline, recipe.text_layers).items():
            yield part, export_graph(spec, folder / f"{part}.onnx", external=recipe.external_data)


def describe(pipeline: Flux2KleinPipeline, recipe: GeneratorRecipe) -> dict[str, Any]:
    """What the manifest says of the role, but for its files."""
    pixels = token_pixels(pipeline.vae)
    side = recipe.image_side
    return {
        "max_sequence_length": recipe.max_sequence_length,
        "pad_token_id": pipeline.tokenizer.pad_token_id,
        "scheduler": {
            "kind": "flow_match_euler",
            "shift": "flux2_empirical",
            "num_inference_steps": recipe.inference_steps,
        },
        "image": {
            "width": side,
            "height": side,
            "multiple_of": pixels,
            "min": pixels,
            "max": max(side, 8 * pixels),
        },
        "latent_channels": pipeline.transformer.config.in_channels,
        "text_dim": pipeline.transformer.config.joint_attention_dim,
        "token_pixels": pixels,
        "reference_time": _REFERENCE_TIME,
        "slots": recipe.slots,
        "providers": ["CPUExecutionProvider"],
        "parameters": parameters(pipeline.text_encoder, pipeline.transformer, pipeline.vae),
    }


@contextlib.contextmanager
def generator_trace() -> Iterator[None]:
    """Rope by few nodes for the time of the trace: the library's own way is a third of the transformer's nodes.

    The arithmetic is the same, in float32.
    """
    with (
        swapped(transformer_flux2.Flux2PosEmbed, forward=rope_tables),
        swapped(transformer_flux2, apply_rotary_emb=_rotate),
    ):
        yield


def rope_tables(rope: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines [tokens, head_dim] of position ids [tokens, axes], each value twice."""
    theta, one = np.float32(rope.theta), np.float32(1)
    axis = [index for index, width in enumerate(rope.axes_dim) for _ in range(width)]
    powers = [np.arange(0, width, 2, dtype=np.float32) / np.float32(width) for width in rope.axes_dim]
    frequencies = np.repeat(one / theta ** np.concatenate(powers), 2)
    # Lists, so that the trace holds constants.
    angles = ids.float().index_select(1, torch.tensor(axis)) * torch.tensor(frequencies.tolist())
    return angles.cos(), angles.sin()


def _rotate(x: Tensor, tables: tuple[Tensor, Tensor], **_: Any) -> Tensor:
    """Rotary embedding of [b, s, heads, head_dim], whose pairs are neighbours.

    A product with a matrix of 0, 1 and -1 swaps the pairs, exactly and faster than slices do.
    """
    cos, sin = (table[None, :, None] for table in tables)
    swap = np.kron(np.eye(x.shape[-1] // 2), [[0.0, 1.0], [-1.0, 0.0]])
    return x * cos + (x @ torch.tensor(swap.tolist())) * sin


class _TextEncoder(nn.Module):
    def __init__(self, model: Qwen3ForCausalLM, layers: Sequence[int]) -> None:
        super().__init__()
        self.model = model.model
        self.layers = tuple(layers)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        position = torch.arange(input_ids.shape[1])[None].expand(input_ids.shape[0], -1)
        states = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position,
            output_hidden_states=True,
            use_cache=False,
        ).hidden_states
        return torch.cat([states[layer] for layer in self.layers], dim=-1)


class _Transformer(nn.Module):
    def __init__(self, model: Flux2Transformer2DModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        timestep: Tensor,
        img_ids: Tensor,
        txt_ids: Tensor,
    ) -> Tensor:
        velocity: Tensor = self.model(
            hidden_states=hidden_states,
            encoder_hidden_states=encoder_hidden_states,
            timestep=timestep,
            img_ids=img_ids.float(),
            txt_ids=txt_ids.float(),
            guidance=None,
            return_dict=False,
        )[0]
        return velocity


class _Codec(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, vae: AutoencoderKLFlux2) -> None:
        super().__init__()
        self.vae = vae
        self.register_buffer("mean", vae.bn.running_mean.detach().clone())
        self.register_buffer("std", torch.sqrt(vae.bn.running_var.detach() + vae.config.batch_norm_eps))


class _VaeEncoder(_Codec):
    def forward(self, image: Tensor) -> Tensor:
        latents = self.vae.encode(image, return_dict=False)[0].mode()
        b, c, h, w = latents.shape
        blocks = latents.view(b, c, h // _PACK, _PACK, w // _PACK, _PACK).permute(0, 2, 4, 1, 3, 5)
        packed: Tensor = blocks.reshape(b, h // _PACK, w // _PACK, c * _PACK * _PACK)
        return (packed - self.mean) / self.std


class _VaeDecoder(_Codec):
    def forward(self, latents: Tensor) -> Tensor:
        packed = latents * self.std + self.mean
        b, h, w, c = packed.shape
        blocks = packed.reshape(b, h, w, c // (_PACK * _PACK), _PACK, _PACK).permute(0, 3, 1, 4, 2, 5)
        image: Tensor = self.vae.decode(
            blocks.reshape(b, c // (_PACK * _PACK), h * _PACK, w * _PACK), return_dict=False
        )[0]
        return image


def token_pixels(vae: AutoencoderKLFlux2) -> int:
    """Pixels of a side of one packed latent token."""
    return int(_PACK * 2 ** (len(vae.config.block_out_channels) - 1))


def generator_specs(pipeline: Flux2KleinPipeline, layers: Sequence[int]) -> dict[str, GraphSpec]:
    """Part name to graph; export them inside `generator_trace()`.

    `layers` are the hidden states of the text encoder that are concatenated (9, 18, 27 for FLUX.2-klein).
    """
    ids = torch.zeros(BATCH, WORDS, dtype=torch.long)
    texts = [("input_ids", ids, _ROWS), ("attention_mask", torch.ones_like(ids), _ROWS)]
    encoder = _TextEncoder(pipeline.text_encoder, layers).eval()
    return {
        "text_encoder": GraphSpec(encoder, texts, ["prompt_embeds"], OPSET),
        **drawing_specs(pipeline.transformer, pipeline.vae),
    }


def drawing_specs(transformer: Flux2Transformer2DModel, vae: AutoencoderKLFlux2) -> dict[str, GraphSpec]:
    """The same of the parts that read no words."""
    return drawing_graphs(
        _Transformer(transformer),
        _VaeEncoder(vae),
        _VaeDecoder(vae),
        channels=transformer.config.in_channels,
        words=transformer.config.joint_attention_dim,
        pixels=token_pixels(vae),
        axes=4,
    )


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

    def __init__(self, directory: Path, steps: int) -> None:
        names = ("text_encoder", "transformer", "vae_encoder", "vae_decoder")
        self.sessions = {name: open_session(directory / f"{name}.onnx") for name in names}
        self.channels = int(self.sessions["vae_decoder"].get_inputs()[0].shape[3])
        self._steps = steps
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
        sigmas = flow_sigmas(self._steps, rows * columns)
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

    def sample_inputs(self, role: GeneratorRole, rng: np.random.Generator) -> dict[str, list[dict[str, Any]]]:
        """Feeds of several sizes for every graph."""
        feeds: dict[str, list[dict[str, Any]]] = {name: [] for name in self.sessions}
        for batch, rows, columns, length in ((1, 3, 3, role.max_sequence_length), (3, 2, 4, 7)):
            where = np.concatenate([places(0, rows, columns), places(_REFERENCE_TIME, rows, columns)])
            mask = (np.arange(length)[None] < rng.integers(1, length + 1, (batch, 1))).astype(np.int64)
            ids = rng.integers(8, 250, (batch, length))
            feeds["text_encoder"].append({"input_ids": ids, "attention_mask": mask})
            feeds["transformer"].append(denoising(role, rng, batch, length, where))
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


def pipeline_image(
    pipeline: Flux2KleinPipeline, recipe: GeneratorRecipe, prompt: str, noise: Floats, source: Any | None
) -> Floats:
    """What diffusers makes of a prompt, given noise [1, c, rows, columns] and a source picture: [H, W, 3] in 0..1."""
    # diffusers refuses source pictures below 64 pixels a side; the tiny canvas is smaller
    with swapped(pipeline.image_processor, check_image_input=lambda *_, **__: None):
        image = pipeline(
            prompt=prompt,
            image=source,
            latents=torch.from_numpy(noise),
            height=recipe.image_side,
            width=recipe.image_side,
            num_inference_steps=recipe.inference_steps,
            guidance_scale=1.0,
            max_sequence_length=recipe.max_sequence_length,
            text_encoder_out_layers=recipe.text_layers,
            output_type="np",
        ).images[0]
    return np.asarray(image, np.float32)


def parity(
    pipeline: Flux2KleinPipeline,
    folder: Path,
    role: GeneratorRole,
    weights: Weights,  # noqa: ARG001
    recipe: GeneratorRecipe,
    seed: int,
) -> list[Parity]:
    """Each graph against its module, and whole images (with and without a source) against the pipeline."""
    specs = generator_specs(pipeline, recipe.text_layers)
    chain = GeneratorChain(folder, recipe.inference_steps)
    rng = np.random.default_rng(seed)
    results = []
    for part, inputs in chain.sample_inputs(role, rng).items():
        name, metric, found = f"{folder.name}/{part}", "max abs error", []
        for feed in inputs:
            with torch.no_grad():
                reference = specs[part].module(*(torch.from_numpy(value) for value in feed.values())).numpy()
            found.append(deviation(name, metric, chain.sessions[part].run(None, feed)[0], reference))
        results.append(worst(name, metric, found))
    side, pixels = recipe.image_side, chain.token_pixels
    levels = 0
    for number in range(6):
        noise = rng.standard_normal((1, chain.channels, side // pixels, side // pixels), dtype=np.float32)
        source = picture(rng, side, side) if number % 2 else None
        prompt = f"{_PROMPT} {number}"
        expected = pipeline_image(
            pipeline, recipe, prompt, noise, None if source is None else Image.fromarray(source)
        )
        ids, mask = padded_tokens(pipeline.tokenizer, prompt, recipe.max_sequence_length)
        actual = chain.paint(ids, mask, noise, source)
        levels = max(levels, int(np.abs(actual.astype(int) - np.round(expected * 255).astype(int)).max()))
    detail = "6 images, 3 with a source"
    return [*results, Parity(f"{folder.name}/image", "levels of 255 beside diffusers", levels, 1, detail)]


def invariance(folder: Path, role: GeneratorRole, seed: int) -> list[Comparison]:
    """Every graph, every batch size and row position."""
    shared = {"transformer": ("img_ids", "txt_ids")}
    return [
        batch_invariance(folder / f"{part}.onnx", feeds, slots=role.slots, shared=shared.get(part, ()))
        for part, feeds in _feeds(role, seed).items()
    ]


def outputs(
    folder: Path,
    part: str,
    role: GeneratorRole,
    examples: Sequence[str],  # noqa: ARG001
    seed: int,
) -> Floats | None:
    """What a graph says of seeded inputs, [1, size]; None for a part that is not compared by itself."""
    if part not in ("text_encoder", "transformer"):  # the codec is made of convolutions
        return None
    session = open_session(folder / f"{part}.onnx")
    return np.concatenate([session.run(None, feed)[0].ravel() for feed in _feeds(role, seed)[part]])[None]


def denoising(
    role: GeneratorRole, rng: np.random.Generator, batch: int, length: int, where: Ints
) -> dict[str, Any]:
    """Random inputs of the transformer; `where`: position ids of the image's tokens."""
    tokens = (batch, len(where), role.latent_channels)
    return {
        "hidden_states": rng.standard_normal(tokens, dtype=np.float32),
        "encoder_hidden_states": rng.standard_normal((batch, length, role.text_dim), dtype=np.float32),
        "timestep": rng.random(batch, dtype=np.float32),
        "img_ids": where,
        "txt_ids": words(length),
    }


def _feeds(role: GeneratorRole, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Seeded inputs of the generator's graphs, with a row for every slot; the transformer's without and with a source."""
    rng = np.random.default_rng(seed)
    batch, length, side = role.slots, role.max_sequence_length, role.image.width // role.token_pixels
    lengths = rng.integers(3, length + 1, (batch, 1))
    text = {
        "input_ids": rng.integers(8, 250, (batch, length)),
        "attention_mask": (np.arange(length)[None] < lengths).astype(np.int64),
    }
    denoise: list[dict[str, Any]] = []
    for references in (0, 1):
        where = np.concatenate([places(0, side, side), *[places(_REFERENCE_TIME, side, side)] * references])
        denoise.append(denoising(role, rng, batch, length, where))
    size = (role.image.width, role.image.width)
    image = {"image": rng.random((batch, 3, *size), dtype=np.float32) * 2 - 1}
    latents = {"latents": rng.standard_normal((batch, side, side, role.latent_channels), dtype=np.float32)}
    return {"text_encoder": [text], "transformer": denoise, "vae_encoder": [image], "vae_decoder": [latents]}
