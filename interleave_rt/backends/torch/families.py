"""What a diffusers pipeline is called with, family by family: data, so that a new family is one entry.

A directory may bring settings of its own, in a file `interleave_settings.json` with some of the fields of
`FamilySettings`: they go over those of its family.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from interleave_rt.errors import BadPackError

__all__ = ["FAMILIES", "SETTINGS_FILE", "FamilySettings", "Sources", "settings_for"]

SETTINGS_FILE = "interleave_settings.json"
Sources = Literal["previous", "all", "none"]


@dataclass(frozen=True, slots=True)
class FamilySettings:
    """How the pipelines of a family are called. None: the pipeline's own default.

    Args:
        steps: Denoising steps, where a request asks for none.
        guidance_scale: Of the pipeline's argument of that name.
        true_cfg_scale: As `guidance_scale`; over 1 it needs a negative prompt and doubles the work of a step.
        negative_prompt: What the picture should not show.
        width: Pixels of a picture that starts from text, where a request asks for none.
        height: As `width`.
        multiple_of: Sides of a picture are multiples of this many pixels.
        max_side: The longest side that may be asked for, in pixels.
        references: Pictures that one call may start from.
        sources: `previous`: a step starts from the picture before it. `all`: from all pictures of the story so far, the
            request's own among them; of more than `references` from the last ones. `none`: every step is drawn from its
            text alone.
        without_source: What a pipeline that starts from pictures gets where there is none: `omit` nothing, `white` a
            blank canvas (for pipelines that cannot do without).
        arguments: Further arguments of the pipeline's call.

    Example:
        >>> FAMILIES["Flux2KleinPipeline"].steps
        4
    """

    steps: int | None = None
    guidance_scale: float | None = None
    true_cfg_scale: float | None = None
    negative_prompt: str | None = None
    width: int = 1024
    height: int = 1024
    multiple_of: int = 16
    max_side: int = 2048
    references: int = 1
    sources: Sources = "previous"
    without_source: Literal["omit", "white"] = "omit"
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def changed(self, raw: Mapping[str, Any], where: str) -> FamilySettings:
        """These settings with some fields changed; `where` they come from is named in the error.

        Raises:
            BadPackError: A field that is not known, or a value of another type.
        """
        for name, value in raw.items():
            allowed = _ALLOWED.get(name)
            if allowed is None:
                raise BadPackError(
                    f"[torch generator] {where} has no setting {name!r}",
                    hint="settings are " + ", ".join(each.name for each in fields(self)),
                )
            fits = value in allowed if isinstance(allowed[0], str) else type(value) in allowed
            if not fits or (type(value) is int and value < 1):
                raise BadPackError(f"[torch generator] {where} says {name} = {value!r}", hint=_HINTS[name])
        return replace(self, **raw)


_NUMBER = (int, float, type(None))
_ALLOWED: dict[str, tuple[Any, ...]] = {
    "steps": (int, type(None)),
    "guidance_scale": _NUMBER,
    "true_cfg_scale": _NUMBER,
    "negative_prompt": (str, type(None)),
    "width": (int,),
    "height": (int,),
    "multiple_of": (int,),
    "max_side": (int,),
    "references": (int,),
    "sources": get_args(Sources),
    "without_source": ("omit", "white"),
    "arguments": (dict,),
}
_HINTS = {
    name: f"give one of {', '.join(allowed)}"
    if isinstance(allowed[0], str)
    else "give " + " or ".join("null" if kind is type(None) else kind.__name__ for kind in allowed)
    for name, allowed in _ALLOWED.items()
}

FAMILIES: dict[str, FamilySettings] = {
    "Flux2KleinPipeline": FamilySettings(steps=4, guidance_scale=1.0, references=4),
    "QwenImageEditPlusPipeline": FamilySettings(
        steps=40,
        true_cfg_scale=4.0,
        negative_prompt=" ",
        references=3,
        without_source="white",
    ),
    # The distilled Z-Image-Turbo. For the base model: steps 50, guidance_scale 4.0 in the settings file.
    "ZImagePipeline": FamilySettings(steps=9, guidance_scale=0.0, sources="none"),
    "FluxKontextPipeline": FamilySettings(steps=28, guidance_scale=2.5),
    "StableDiffusionXLPipeline": FamilySettings(
        steps=30, guidance_scale=5.0, multiple_of=8, max_side=1536, sources="none"
    ),
}
"""By the class of the pipeline."""


def settings_for(
    kind: str,
    parameters: Mapping[str, Any],
    directory: Path,
    given: FamilySettings | Mapping[str, Any] | str | Path | None,
) -> FamilySettings:
    """The settings of a pipeline: those given, over the directory's own file, over its family's.

    Args:
        kind: The pipeline's class.
        parameters: Arguments of its call by name.
        directory: Where the settings file may lie.
        given: Some settings, all of them, or a JSON file with some.
    """
    if isinstance(given, FamilySettings):
        return given
    known = FAMILIES.get(kind)
    if known is None:
        edits = bool({"image", "images"} & set(parameters))
        # A pipeline with a strength repaints a picture: it cannot do without one.
        canvas: Literal["omit", "white"] = "white" if "strength" in parameters else "omit"
        known = FamilySettings(sources="previous" if edits else "none", without_source=canvas)
    if (file := directory / SETTINGS_FILE).is_file():
        known = known.changed(_read(file), str(file))
    if isinstance(given, str | Path):
        return known.changed(_read(Path(given)), str(given))
    return known.changed(given, "settings") if given else known


def _read(file: Path) -> dict[str, Any]:
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadPackError(f"[torch generator] {file} cannot be read: {error}") from None
    if not isinstance(raw, dict):
        raise BadPackError(f"[torch generator] {file} is no JSON object")
    return raw
