"""Proofs of Qwen3-VL's graphs: whole prompts with images against `generate`, and the ways of batching them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from transformers import Qwen3VLForConditionalGeneration

from interleave_rt.pack.manifest import VlmRole

from ..proof.checks import Comparison, Parity, deviation, picture, worst
from ..proof.invariance import decode_invariance, decoder_invariance, thread_invariance
from ..proof.sessions import DecoderRunner, Floats, Ints, RowInput, open_session
from ..recipe import VlmRecipe
from ..weights import Weights

__all__ = [
    "VlmChain",
    "VlmPrompt",
    "hf_generate",
    "invariance",
    "make_prompts",
    "outputs",
    "parity",
    "patchify",
]

_NEW_TOKENS = 24
_TOKENS = 64
_REQUESTS = (
    "Draw a small red circle at the top left on a blue background, then add a large green star.",
    "Make a yellow canvas with a black ring in the center and a brown square below it.",
    "add a large orange triangle at the right",
    "Move it to the left, please.",
)


@dataclass(frozen=True, slots=True)
class VlmPrompt:
    """One prompt of a vision-language model: token ids (images expanded), positions, and the images as patches."""

    ids: Ints
    positions: Ints
    pixel_values: list[Floats]
    grids: Ints
    images: tuple[npt.NDArray[np.uint8], ...]

    @property
    def next_position(self) -> int:
        """M-rope position of the first answer token."""
        return int(self.positions.max()) + 1


def patchify(image: npt.NDArray[np.uint8], patch: int, merge: int, frames: int) -> tuple[Floats, Ints]:
    """Pixels to patches in Qwen-VL order (merge blocks first) and the grid [1, 3]; mean and std 0.5."""
    height, width = image.shape[0] // patch, image.shape[1] // patch
    planar = image.astype(np.float32).transpose(2, 0, 1) / np.float32(127.5) - np.float32(1)
    blocks = planar.reshape(3, height // merge, merge, patch, width // merge, merge, patch)
    blocks = blocks.transpose(1, 4, 2, 5, 0, 3, 6)[:, :, :, :, :, None]
    repeated = np.repeat(blocks, frames, axis=5)
    values = np.ascontiguousarray(repeated.reshape(height * width, 3 * frames * patch * patch))
    return values, np.array([[1, height, width]], np.int64)


def make_prompts(
    model: Qwen3VLForConditionalGeneration,
    tokenizer: Any,
    templates: list[str],
    seed: int,
    side: int,
) -> list[VlmPrompt]:
    """One prompt for every template and request; `<image>` in a template is a square image of this side."""
    rng = np.random.default_rng(seed)
    prompts = []
    for template in templates:
        for request in _REQUESTS:
            text = template
            for field in ("{text_input}", "{original_instruction}", "{rewritten_prompt}", "{request}"):
                text = text.replace(field, request)
            if "<image>" not in text and request == _REQUESTS[-1]:
                text = f"<image>{text}"
            prompts.append(_prompt(model, tokenizer, text, rng, side))
    return prompts


def _prompt(
    model: Qwen3VLForConditionalGeneration,
    tokenizer: Any,
    text: str,
    rng: np.random.Generator,
    side: int,
) -> VlmPrompt:
    vision = model.config.vision_config
    content: list[dict[str, str]] = []
    pieces = text.split("<image>")
    for number, piece in enumerate(pieces):
        if number:
            content.append({"type": "image"})
        if piece:
            content.append({"type": "text", "text": piece})
    message = [{"role": "user", "content": content if len(pieces) > 1 else text}]
    chat = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    raw = tokenizer(chat, add_special_tokens=False).input_ids
    images = tuple(picture(rng, side, side) for _ in pieces[1:])
    sizes = vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size
    patches = [patchify(image, *sizes) for image in images]
    tokens = (side // (vision.patch_size * vision.spatial_merge_size)) ** 2
    pad = model.config.image_token_id
    ids = np.array([t for token in raw for t in ([token] * tokens if token == pad else [token])], np.int64)
    grids = np.concatenate([grid for _, grid in patches]) if patches else np.zeros((0, 3), np.int64)
    positions, _ = model.model.get_rope_index(
        torch.from_numpy(ids)[None],
        torch.from_numpy((ids == pad).astype(np.int64))[None],
        image_grid_thw=torch.from_numpy(grids) if patches else None,
    )
    values = [value for value, _ in patches]
    return VlmPrompt(ids, np.ascontiguousarray(positions[:, 0].numpy()), values, grids, images)


class VlmChain:
    """Planner or critic: vision graph, then the decoder graph, one sequence at a time.

    Answers go through the decode graph where there is one, as in the native runtime; `fused=False`: not even then.
    `length`: of the cache, for graphs that are made for one.
    """

    def __init__(
        self, directory: Path, image_token_id: int, *, fused: bool = True, length: int | None = None
    ) -> None:
        self._length = length
        self._vision = open_session(directory / "vision.onnx")
        self._decoder = open_session(directory / "decoder.onnx")
        decode = directory / "decode_graph.onnx"
        self._decode = open_session(decode) if fused and decode.is_file() else None
        self._image = image_token_id

    def row(self, prompt: VlmPrompt) -> RowInput:
        """The decoder's input for a prompt: its images encoded and laid at their places."""
        runner = DecoderRunner(self._decoder, 1, 1)
        row = runner.text(prompt.ids, prompt.positions)
        places = np.flatnonzero(prompt.ids == self._image)
        start = 0
        for grid, pixels in zip(prompt.grids, prompt.pixel_values, strict=True):
            outputs = self._vision.run(None, {"pixel_values": pixels, "grid_thw": grid[None]})
            where = places[start : start + len(outputs[0])]
            row.visual[where] = outputs[0]
            if runner.levels:
                row.deepstack[:, where] = outputs[1]
            start += len(where)
        return row

    def generate(self, prompt: VlmPrompt, tokens: int) -> tuple[list[int], Floats]:
        """So many greedy tokens and the logits that chose them, [tokens, vocab]."""
        row = self.row(prompt)
        length = self._length or len(prompt.ids) + tokens
        runner = DecoderRunner(self._decoder, 1, length, self._decode)
        logits = runner.step({0: row}, len(prompt.ids))[0]
        found, rows = [int(logits.argmax())], [logits]
        while len(found) < tokens:
            logits = runner.answer({0: (found[-1], prompt.next_position + len(found) - 1)})[0]
            found.append(int(logits.argmax()))
            rows.append(logits)
        return found, np.stack(rows)


def hf_generate(
    model: Qwen3VLForConditionalGeneration, prompt: VlmPrompt, tokens: int
) -> tuple[list[int], Floats]:
    """Greedy tokens of the library's own `generate`, with the logits that chose them, [tokens, vocab]."""
    ids = torch.from_numpy(prompt.ids)[None]
    images: dict[str, Any] = {}
    if len(prompt.grids):
        images = {
            "pixel_values": torch.from_numpy(np.concatenate(prompt.pixel_values)),
            "image_grid_thw": torch.from_numpy(prompt.grids),
            "mm_token_type_ids": (ids == model.config.image_token_id).long(),
        }
    with torch.no_grad():
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=tokens,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
            **images,
        )
    return out.sequences[0, ids.shape[1] :].tolist(), torch.cat(out.logits).numpy()


def parity(
    model: Qwen3VLForConditionalGeneration,
    folder: Path,
    role: VlmRole,
    weights: Weights,
    recipe: VlmRecipe,  # noqa: ARG001
    seed: int,
) -> list[Parity]:
    """Vision on several grids; logits and greedy tokens of whole prompts against `generate`."""
    name, vision = folder.name, role.vision_config
    sizes = vision.patch_size, vision.merge_size, vision.temporal_patch_size
    block = vision.patch_size * vision.merge_size
    session = open_session(folder / "vision.onnx")
    rng = np.random.default_rng(seed)
    actual, expected = [], []
    for rows, columns in ((3, 3), (2, 4), (5, 2), (1, 1)):
        values, grid = patchify(picture(rng, rows * block, columns * block), *sizes)
        with torch.no_grad():
            reference = model.model.visual(torch.from_numpy(values), grid_thw=torch.from_numpy(grid))
        outputs = session.run(None, {"pixel_values": values, "grid_thw": grid})
        wanted = [reference.pooler_output, *reference.deepstack_features]
        got = [outputs[0], *(outputs[1] if len(outputs) > 1 else [])]
        actual += [item.ravel() for item in got]
        expected += [item.numpy().ravel() for item in wanted]
    results = [deviation(f"{name}/vision", "max abs error", np.concatenate(actual), np.concatenate(expected))]
    texts = [file.read_text(encoding="utf-8") for file in weights.template_files(name).values()]
    prompts = make_prompts(model, weights.tokenizer(name), texts, seed, _side(role))
    references = [hf_generate(model, prompt, _NEW_TOKENS) for prompt in prompts]
    image = role.architecture.image_token_id
    results += _answers(f"{name}/decoder", VlmChain(folder, image, fused=False), prompts, references)
    if "decode_graph" in role.parts:
        results += _answers(f"{name}/decode_graph", VlmChain(folder, image), prompts, references)
    return results


def _answers(
    part: str, chain: VlmChain, prompts: list[VlmPrompt], references: list[tuple[list[int], Floats]]
) -> list[Parity]:
    """Greedy answers and their logits against those of `generate`."""
    wrong, count, metric, found = 0, 0, "max abs error of logits", []
    for prompt, (tokens, logits) in zip(prompts, references, strict=True):
        ours, our_logits = chain.generate(prompt, len(tokens))
        wrong += int(ours != tokens)
        count += len(tokens)
        same = next((i for i, (a, b) in enumerate(zip(ours, tokens, strict=True)) if a != b), len(tokens))
        found.append(deviation(part, metric, our_logits[: same + 1], logits[: same + 1]))
    detail = f"{len(prompts)} prompts, {sum(len(p.grids) for p in prompts)} images, {count} tokens"
    return [worst(part, metric, found), Parity(part, "prompts with other greedy tokens", wrong, 0, detail)]


def invariance(folder: Path, role: VlmRole, seed: int) -> list[Comparison]:
    """Every graph over the ways of batching it that the runtime may choose."""
    rng = np.random.default_rng(seed)
    vision, side = role.vision_config, _side(role)
    sizes = vision.patch_size, vision.merge_size, vision.temporal_patch_size
    patches = [patchify(picture(rng, side, side), *sizes) for _ in range(2)]
    feeds = [{"pixel_values": values, "grid_thw": grid} for values, grid in patches]
    decoder = folder / "decoder.onnx"
    image, length = role.architecture.image_token_id, role.cache_length
    found = [
        thread_invariance(folder / "vision.onnx", feeds),
        decoder_invariance(
            decoder, slots=role.slots, chunk=role.prefill_chunk, length=length, image=image, seed=seed
        ),
    ]
    if "decode_graph" in role.parts:
        fused = folder / "decode_graph.onnx"
        found.append(decode_invariance(decoder, fused, slots=role.slots, length=length, seed=seed))
    return found


def outputs(
    folder: Path,
    part: str,
    role: VlmRole,
    examples: Sequence[str],
    seed: int,  # noqa: ARG001
) -> Floats | None:
    """What a graph says of a fixed input, [n, size]; None for a part that is not compared by itself.

    Of the decoder: logits along the role's templates and requests that work.
    """
    if part != "decoder":  # a decode graph reads the decoder's cache, the vision graph is mostly convolutions
        return None
    pack = folder.parent
    texts = [(pack / file).read_text(encoding="utf-8") for file in role.templates.values()]
    tokenizer = Tokenizer.from_file(str(pack / role.tokenizer))
    found = tokenizer.encode("\n".join([*texts, *examples]), add_special_tokens=False).ids
    ids = np.array([i for i in found if i != role.architecture.image_token_id][:_TOKENS], np.int64)
    runner = DecoderRunner(open_session(folder / "decoder.onnx"), 1, len(ids))
    row = runner.text(ids)
    return np.concatenate([runner.step({0: row.part(i, i + 1)}, 1) for i in range(len(ids))])


def _side(role: VlmRole) -> int:
    """Pixels of a side of the largest square image."""
    patch = role.vision_config.patch_size
    return int((role.vision_config.max_pixels // patch**2) ** 0.5) * patch
