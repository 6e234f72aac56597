"""Processors of transformers, also where torchvision is missing: without it the library reads no videos, and nor do we."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from interleave_rt import _core
from interleave_rt.errors import BadPackError

from .checkpoint import need
from .recent import Recent

__all__ = ["PatchesOnce", "load_processor", "tell_pictures"]


def load_processor(directory: Path) -> Any:
    """The processor of a model that reads text and pictures.

    Raises:
        BadPackError: The directory has none, or one that reads no pictures.
    """
    (transformers,) = need("transformers")
    try:
        processor = transformers.AutoProcessor.from_pretrained(directory, local_files_only=True)
    except ImportError:
        processor = _without_videos(transformers, directory)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if "torchvision" in str(error):  # as published checkpoints name the processor that needs it
            return _without_videos(transformers, directory)
        raise BadPackError(
            f"[torch] {directory} has no processor that can be used: {error}",
            hint="copy preprocessor_config.json, tokenizer.json, tokenizer_config.json and the chat template too",
        ) from None
    if getattr(processor, "image_processor", None) is None or not hasattr(processor, "tokenizer"):
        # Without torchvision the library falls back to the bare tokenizer for some models.
        processor = _without_videos(transformers, directory)
    return processor


def _without_videos(transformers: Any, directory: Path) -> Any:
    """The processor's own class, less its video part."""
    try:
        config = transformers.AutoConfig.from_pretrained(directory, local_files_only=True)
        whole = transformers.models.auto.processing_auto.PROCESSOR_MAPPING[type(config)]
    except (OSError, ValueError, KeyError):
        whole = _named(transformers, directory)
    if whole is None:
        raise BadPackError(
            f"[torch] {directory} has no processor of text and pictures",
            hint="copy preprocessor_config.json and the tokenizer's files too",
        )

    class Images(whole):  # type: ignore[misc, valid-type]
        @classmethod
        def get_attributes(cls) -> list[str]:
            return [name for name in super().get_attributes() if "video" not in name]

    Images.__name__ = whole.__name__
    try:
        return Images.from_pretrained(directory, local_files_only=True)
    except (ImportError, OSError, ValueError, TypeError, KeyError) as error:
        raise BadPackError(
            f"[torch] the processor of {directory} cannot be used: {error}",
            hint="pip install torchvision (of the same build as torch), or copy the files that are missing",
        ) from None


def _named(transformers: Any, directory: Path) -> Any:
    """The class that a processor's own files name: a processor inside a pipeline has no model's configuration."""
    for file in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        if (directory / file).is_file():
            import json

            name = json.loads((directory / file).read_text(encoding="utf-8")).get("processor_class")
            if name:
                return getattr(transformers, name, None)
    return None


class PatchesOnce:
    """An image processor that cuts a picture into patches once: 55 ms of a core for a megapixel without torchvision.

    Only for processors whose patches of several pictures are those of each, one after the other.
    """

    def __init__(self, processor: Any, pictures: int = 8) -> None:
        self._processor = processor
        self._made: Recent[Any] = Recent(pictures)

    @staticmethod
    def fits(processor: Any) -> bool:
        """Whether it is of that kind: those of the Qwen families are."""
        return list(processor.model_input_names) == ["pixel_values", "image_grid_thw"]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)

    def __call__(self, images: Any, **settings: Any) -> Any:
        made = [self._patches(image, settings) for image in _flat(images)]
        torch, transformers = need("torch", "transformers")
        joined = {name: torch.cat([torch.as_tensor(one[name]) for one in made]) for name in made[0]}
        return transformers.BatchFeature(joined)

    def _patches(self, image: Any, settings: dict[str, Any]) -> Any:
        key = (_core.hash_pixels(np.ascontiguousarray(image.convert("RGB"))), repr(sorted(settings.items())))
        made = self._made.get(key)
        if made is None:
            made = self._processor(images=[image], **settings)
            self._made.put(key, made)
        return made


def _flat(images: Any) -> Iterator[Any]:
    for one in images:
        if isinstance(one, list | tuple):
            yield from _flat(one)
        else:
            yield one


def tell_pictures(pipeline: Any) -> None:
    """Lets a pipeline's text encoder know which tokens of a prompt are pictures, where it reads any.

    transformers 5 gives pictures positions in rows and columns only where it is told so, and the pipelines of diffusers
    0.42 do not tell it: their pictures are then read as lines of text, without a word.
    """
    encoder: Any = getattr(pipeline, "text_encoder", None)
    token = getattr(getattr(encoder, "config", None), "image_token_id", None)
    if token is None or "mm_token_type_ids" not in inspect.signature(encoder.forward).parameters:
        return

    def tell(_module: Any, given: tuple[Any, ...], told: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if told.get("image_grid_thw") is not None and told.get("mm_token_type_ids") is None:
            told = {**told, "mm_token_type_ids": (told["input_ids"] == token).long()}
        return given, told

    encoder.register_forward_pre_hook(tell, with_kwargs=True)
