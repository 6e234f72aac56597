"""One answer at a time from a model of text and pictures: prompts in pieces, keys and values kept, tokens one by one.

A prompt is read up to the end of each of its pictures, one forward pass a piece, whether or not an earlier prompt began
alike. So keys and values of a beginning that is known can be taken over without a bit changing: the critic's "before"
picture is the same over the tries of a step. For the same reason the features of a picture are made once.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interleave_rt.errors import CancelledError, LimitExceededError

from .recent import Recent
from .turns import Cancelled, Turns

__all__ = ["Decoder", "Prompt"]

_BUCKET = 512  # lengths of static caches: few, as each is compiled for


@dataclass(frozen=True)
class Prompt:
    """What a processor made of a chat.

    Args:
        inputs: `input_ids` [1, length] and whatever belongs to the pictures.
        pictures: A hash of each picture, in order.
    """

    inputs: Mapping[str, Any]
    pictures: Sequence[int]


@dataclass
class _Piece:
    begin: int
    end: int
    picture: int | None  # that lies in it


class Decoder:
    """Reads prompts and writes tokens with one model.

    Args:
        torch: The library.
        model: Of transformers.
        turns: Held for every pass, so that answers of several threads alternate.
        compile: Decoding steps over a static cache, compiled (on a card as a CUDA graph). Answers of models that `Step`
            does not know then come one by one.
        prefixes: Beginnings of prompts whose keys and values are kept.
        features: Pictures whose features are kept.
        device: Where it works; None: where its weights are now.
    """

    def __init__(
        self,
        torch: Any,
        model: Any,
        turns: Turns,
        *,
        compile: bool = False,  # noqa: A002 - as PyTorch calls it
        prefixes: int = 2,
        features: int = 8,
        device: str | None = None,
    ) -> None:
        self._torch, self._model, self._turns = torch, model, turns
        self.device = torch.device(device) if device else next(model.parameters()).device
        accepted = inspect.signature(model.forward).parameters
        self._cache_name = "cache" if "cache" in accepted else "past_key_values"
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        core = getattr(model, "model", None)
        # Families with positions in three dimensions: these are computed here, so that a prompt can be cut.
        self._core = core if hasattr(core, "get_rope_index") else None
        self._gives_features = self._core is not None and "mm_encoder_outputs" in accepted
        self._prefixes: Recent[Any] = Recent(prefixes)
        self._features: Recent[Any] = Recent(features)
        self._new_step: Any = None
        self._idle_steps: list[Any] = []
        self._compiled = self._compile() if compile else None
        self._static: Any = None
        self._static_length = 0
        text = model.config.get_text_config(decoder=True)
        self.context = int(getattr(text, "max_position_embeddings", 0) or 1 << 30)

    def forget(self) -> None:
        """Frees what is kept for prompts to come; answers do not change by it."""
        self._prefixes.clear()
        self._features.clear()

    def apart(self) -> Decoder:
        """The same model and the same steps, with nothing kept of earlier prompts and pictures."""
        made = copy.copy(self)
        made._prefixes, made._features = self._prefixes.emptied(), self._features.emptied()  # noqa: SLF001
        return made

    def write(self, prompt: Prompt, most: int, cancelled: Cancelled) -> Generator[Any, int, None]:
        """Logits [vocabulary] of the next token; `send` the token that was chosen. Ends after `most` tokens.

        Raises:
            CancelledError: `cancelled` was true before a pass.
            LimitExceededError: The prompt leaves no room for an answer.
        """
        length = int(prompt.inputs["input_ids"].shape[1])
        if length >= self.context:
            raise LimitExceededError(
                f"[torch] a prompt of {length} tokens: the model reads {self.context}",
                hint="use fewer or smaller pictures, or a shorter text",
            )
        most = min(most, self.context - length)
        if self._new_step is not None:
            yield from self._write_steps(prompt, length, most, cancelled)
        elif self._compiled is None:
            yield from self._write(prompt, length, most, cancelled)
        else:
            with self._turns.take(cancelled):  # the static cache belongs to one answer
                yield from self._write_compiled(prompt, length, most, cancelled)

    def _write(
        self, prompt: Prompt, length: int, most: int, cancelled: Cancelled
    ) -> Generator[Any, int, None]:
        cache, logits, shift = self._read(prompt, cancelled)
        for number in range(most):
            token = yield logits
            if number + 1 == most:
                return
            with self._turns.take(cancelled):
                logits = self._pass(cache, [[token]], self._place(length + number, shift))

    def _write_steps(
        self, prompt: Prompt, length: int, most: int, cancelled: Cancelled
    ) -> Generator[Any, int, None]:
        cache, logits, shift = self._read(prompt, cancelled)
        behind = 0 if shift is None else int(shift)
        wanted = -(-(length + most) // _BUCKET) * _BUCKET
        with self._turns.take(cancelled):
            roomy = [one for one in self._idle_steps if one.length >= wanted]
            if roomy:
                step = min(roomy, key=lambda one: one.length)
                self._idle_steps.remove(step)
            else:
                step = self._new_step(self._model, wanted)
            step.begin(cache)
        try:
            for number in range(most):
                token = yield logits
                if number + 1 == most:
                    return
                with self._turns.take(cancelled):
                    place = length + number
                    logits = step(token, place, place + behind)[0]
        finally:
            self._idle_steps.append(step)  # its graph and its keys and values serve the next answer

    def _write_compiled(
        self, prompt: Prompt, length: int, most: int, cancelled: Cancelled
    ) -> Generator[Any, int, None]:
        cache, logits, shift = self._read(prompt, cancelled, locked=True)
        wanted = -(-(length + most) // _BUCKET) * _BUCKET
        if wanted > self._static_length:  # never smaller again: each length is compiled for
            self._static, self._static_length = self._new_cache(wanted), wanted
        static = self._static
        static.reset()
        for index, layer in enumerate(cache.layers):
            static.update(layer.keys, layer.values, index)
        for number in range(most):
            token = yield logits
            if number + 1 == most:
                return
            if cancelled():
                raise CancelledError("[torch] the call was given up")
            place = self._place(length + number, shift)
            logits = self._pass(static, [[token]], place, self._compiled)

    def _read(self, prompt: Prompt, cancelled: Cancelled, *, locked: bool = False) -> tuple[Any, Any, Any]:
        """Cache after the prompt, logits of the first token, and how far positions lie from token numbers."""
        inputs = prompt.inputs
        ids = inputs["input_ids"]
        positions = shift = None
        if self._core is not None:
            offered = {
                "input_ids": ids,
                "mm_token_type_ids": inputs.get("mm_token_type_ids", self._torch.zeros_like(ids)),
                "image_grid_thw": inputs.get("image_grid_thw"),
            }
            known = inspect.signature(self._core.get_rope_index).parameters
            positions, shift = self._core.get_rope_index(**{k: v for k, v in offered.items() if k in known})
        pieces = self._pieces(prompt)
        keys = [
            (ids[0, : piece.end].cpu().numpy().tobytes(), *prompt.pictures[: n + 1])
            for n, piece in enumerate(pieces)
        ]
        cache, done = None, 0
        for number in range(len(pieces) - 1, 0, -1):
            if (kept := self._prefixes.get(keys[number - 1])) is not None:
                cache, done = _shared(kept), number
                break
        cache = cache or self._new_cache(None)
        logits = None
        for number in range(done, len(pieces)):
            if locked:
                logits = self._read_piece(cache, prompt, pieces, number, positions)
            else:
                with self._turns.take(cancelled):
                    logits = self._read_piece(cache, prompt, pieces, number, positions)
            if number + 1 < len(pieces) and _may_be_shared(cache):
                self._prefixes.put(keys[number], _shared(cache))
        return cache, logits, shift

    def _read_piece(
        self, cache: Any, prompt: Prompt, pieces: Sequence[_Piece], number: int, positions: Any
    ) -> Any:
        inputs, piece = prompt.inputs, pieces[number]
        if self._core is None:  # in one piece, with all that the processor made
            rest = {name: value for name, value in inputs.items() if name != "input_ids"}
            return self._pass(cache, inputs["input_ids"], rest)
        told: dict[str, Any] = {"position_ids": positions[..., piece.begin : piece.end]}
        ids = inputs["input_ids"][:, piece.begin : piece.end]
        if piece.picture is not None:
            told |= self._picture(prompt, piece.picture)
            if "mm_token_type_ids" in inputs:
                told["mm_token_type_ids"] = inputs["mm_token_type_ids"][:, piece.begin : piece.end]
        return self._pass(cache, ids, told)

    def _picture(self, prompt: Prompt, number: int) -> dict[str, Any]:
        """What a piece with picture `number` brings: its features where the model takes them, else its patches."""
        grids = prompt.inputs["image_grid_thw"]
        rows = [int(rows) for rows in grids.prod(-1).tolist()]
        first = sum(rows[:number])
        patches = prompt.inputs["pixel_values"][first : first + rows[number]]
        grid = grids[number : number + 1]
        if not self._gives_features:
            return {"pixel_values": patches, "image_grid_thw": grid}
        made = self._features.get(prompt.pictures[number])
        if made is None:
            assert self._core is not None
            made = self._core.get_image_features(patches, grid, return_dict=True)
            self._features.put(prompt.pictures[number], made)
        return {"mm_encoder_outputs": {"image": made}}

    def _pieces(self, prompt: Prompt) -> list[_Piece]:
        ids = prompt.inputs["input_ids"]
        length = int(ids.shape[1])
        if self._core is None or not prompt.pictures:
            return [_Piece(0, length, None)]
        places = (ids[0] == self._model.config.image_token_id).nonzero()[:, 0].tolist()
        merged = self._model.config.vision_config.spatial_merge_size**2
        pieces, begin, seen = [], 0, 0
        for number, rows in enumerate(prompt.inputs["image_grid_thw"].prod(-1).tolist()):
            seen += int(rows) // merged
            pieces.append(_Piece(begin, places[seen - 1] + 1, number))
            begin = places[seen - 1] + 1
        if begin < length:
            pieces.append(_Piece(begin, length, None))
        return pieces

    def _place(self, number: int, shift: Any) -> dict[str, Any]:
        """The position of token `number`, where the model cannot tell by itself."""
        if shift is None:
            return {}
        return {"position_ids": (shift + number).expand(3, 1, 1)}

    def _pass(self, cache: Any, ids: Any, told: Mapping[str, Any], forward: Any = None) -> Any:
        ids = self._torch.as_tensor(ids, device=self.device)
        out = (forward or self._model)(
            input_ids=ids, use_cache=True, **{self._cache_name: cache}, **self._last_only, **told
        )
        return out.logits[0, -1]

    def _new_cache(self, length: int | None) -> Any:
        from transformers import DynamicCache, StaticCache

        if length is None:
            return DynamicCache(config=self._model.config.get_text_config(decoder=True))
        return StaticCache(config=self._model.config, max_cache_len=length)

    def _compile(self) -> Any:
        from .step import Step

        if Step.fits(self._model):
            self._new_step = Step
            return None
        mode = "reduce-overhead" if self.device.type == "cuda" else "default"
        return self._torch.compile(self._model.forward, mode=mode, dynamic=False)


def _may_be_shared(cache: Any) -> bool:
    """Whether its layers grow by making new tensors; states of other kinds are changed in place."""
    return all(
        type(layer).__name__ in ("DynamicLayer", "DynamicSlidingWindowLayer") for layer in cache.layers
    )


def _shared(cache: Any) -> Any:
    """A cache that goes on from the same tensors; these are never written to."""
    made = copy.copy(cache)
    made.layers = [copy.copy(layer) for layer in cache.layers]
    return made
