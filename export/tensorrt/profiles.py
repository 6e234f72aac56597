"""The sizes that an engine must serve, from the manifest: one optimization profile for every graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import onnx

from interleave_rt.errors import BadPackError
from interleave_rt.pack.manifest import GeneratorRole, VlmRole

__all__ = ["Profile", "Span", "fixed", "profile_of", "spans_of"]


class Span(NamedTuple):
    """The values of a symbolic size: smallest, commonest, largest."""

    least: int
    usual: int
    most: int


Profile = dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]
"""Least, usual and largest shape of every input."""


def spans_of(role: VlmRole | GeneratorRole) -> dict[str, dict[str, Span]]:
    """The symbolic sizes of every part of a role, as the runtime calls it.

    Raises:
        BadPackError: Nobody has said yet how the runtime calls this family.
    """
    if (found := _FAMILIES.get(role.family)) is None:
        raise BadPackError(
            f"[engines] sizes of the family {role.family!r} are not known; known are {', '.join(_FAMILIES)}"
        )
    return found(role)


def fixed(spans: Mapping[str, Span]) -> dict[str, int]:
    """Sizes that never change."""
    return {name: span.least for name, span in spans.items() if span.least == span.most}


def profile_of(model: onnx.ModelProto, spans: Mapping[str, Span], where: str) -> Profile:
    """Shapes of the inputs.

    Raises:
        BadPackError: A symbolic size is not among `spans`.
    """
    profile: Profile = {}
    for value in model.graph.input:
        sizes = []
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param and size.dim_param not in spans:
                raise BadPackError(
                    f"[engines] {where}: nothing is known of the size {size.dim_param!r} of {value.name}",
                    hint="export the pack again with this version of interleave-rt",
                )
            sizes.append(spans[size.dim_param] if size.dim_param else Span(*[int(size.dim_value)] * 3))
        least, usual, most = (tuple(span[i] for span in sizes) for i in range(3))
        profile[value.name] = (least, usual, most)
    return profile


def _always(size: int) -> Span:
    return Span(size, size, size)


def _qwen3_vl(given: Any) -> dict[str, dict[str, Span]]:
    role = cast("VlmRole", given)
    chunk = min(role.prefill_chunk, role.cache_length)
    chunk += chunk % 2  # the runtime pads a chunk to an even number of tokens
    decoder = {
        "b": Span(1, 1, role.slots),
        "s": Span(1, 1, chunk),
        "k": Span(1, 1, chunk),
        "L": _always(role.cache_length),
    }
    vision, area = role.vision_config, role.vision_config.patch_size**2
    block = vision.merge_size**2
    least, most = (
        max(1, pixels // area // block) * block for pixels in (vision.min_pixels, vision.max_pixels)
    )
    return {"decoder": decoder, "vision": {"patches": Span(least, most, most)}}


def _flux2(given: Any) -> dict[str, dict[str, Span]]:
    role = cast("GeneratorRole", given)
    image, token = role.image, role.token_pixels
    least, most = image.min // token, image.max // token
    usual = (image.width // token) * (image.height // token)
    text = {"t": _always(role.max_sequence_length)}
    rows, columns = (Span(least, side // token, most) for side in (image.height, image.width))
    sides = {name: Span(*(size * token for size in span)) for name, span in (("H", rows), ("W", columns))}
    one = {"b": _always(1)}
    return {
        "text_encoder": {**one, **text},
        # The image's tokens, and those of the picture that it starts from.
        "transformer": {"b": Span(1, 1, role.slots), "n": Span(least**2, 2 * usual, 2 * most**2), **text},
        "vae_encoder": {**one, **sides},
        "vae_decoder": {**one, "rows": rows, "columns": columns},
    }


_FAMILIES: dict[str, Callable[[Any], dict[str, dict[str, Span]]]] = {"qwen3_vl": _qwen3_vl, "flux2": _flux2}
