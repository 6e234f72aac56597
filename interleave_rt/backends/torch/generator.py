"""The generator: any diffusers pipeline that takes a prompt, and pictures where it edits."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from interleave_rt.errors import BackendFailedError, BadPackError, BadRequestError, CancelledError

from .checkpoint import PIPELINE_INDEX, Lora, content_hash, need, no_bars, place, read_json, use_threads
from .compiled import compile_pipeline
from .cuts import Cuts
from .families import FamilySettings, Sources, settings_for
from .footprint import is_encoder
from .processors import load_processor, tell_pictures
from .residency import ALWAYS, Stay
from .sharing import Opened, share
from .turns import Cancelled, Turns, never

if TYPE_CHECKING:
    from interleave_rt.request import Options, Pixels

__all__ = ["TorchGenerator"]


class TorchGenerator:
    """A diffusers pipeline as the generator of a loop. One call runs at a time; further ones wait.

    Args:
        directory: As `DiffusionPipeline.save_pretrained` leaves it, or as it is downloaded; nothing is fetched.
        device: `cpu`, `cuda` or `cuda:N`; None: the first card, else the CPU.
        dtype: `float32`, `bfloat16` or `float16`; None: bfloat16 on a card, float32 on the CPU.
        lora: Files `FILE` or `FILE:SCALE`; needs the extra `[lora]`.
        sources: What a step starts from, as in `FamilySettings`; None: as the settings say.
        compile: `torch.compile` of denoiser, text encoder and codec: the first call takes minutes, the others less.
        settings: How the pipeline is called, over what `FAMILIES` knows of its class: some fields of
            `FamilySettings`, or a JSON file with them.
        noise: Latents to start from, by seed, height and width; None: the pipeline's own, from a `torch.Generator`
            on the CPU that is given the seed.
        threads: Of PyTorch on the CPU, in the whole process; None: as it is.
        stay: How it shares its device with other models (see `sharing.share`); None: it must fit beside them.

    Raises:
        BadPackError: No such directory, not a pipeline, a pipeline that does not fit its settings, or a missing library.
        LimitExceededError: It does not fit into the memory of the device.

    Example:
        >>> generator = TorchGenerator("models/FLUX.2-klein-4B", device="cuda:0")  # doctest: +SKIP
        >>> generator.generate("a red circle", None, 7, Options()).shape  # doctest: +SKIP
        (1024, 1024, 3)
    """

    _stay = ALWAYS

    def __init__(
        self,
        directory: str | Path,
        *,
        device: str | None = None,
        dtype: str | None = None,
        lora: str | Path | Sequence[str | Path] = (),
        sources: Sources | None = None,
        compile: bool = False,  # noqa: A002 - as PyTorch calls it
        settings: FamilySettings | Mapping[str, Any] | str | Path | None = None,
        noise: Callable[[int, int, int], Any] | None = None,
        threads: int | None = None,
        stay: Stay | None = None,
    ) -> None:
        use_threads(threads)
        self.directory = Path(directory)
        self._kind = str(read_json(self.directory, PIPELINE_INDEX, "a diffusers pipeline").get("_class_name"))
        self._lora = Lora.several(lora)
        torch, diffusers, _ = need("torch", "diffusers", "transformers")
        pipeline = getattr(diffusers, self._kind, None)
        if pipeline is None:
            raise BadPackError(
                f"[torch generator] {self.directory} is a {self._kind}, which diffusers {diffusers.__version__} "
                "does not know",
                hint="pip install --upgrade diffusers, or use another model",
            )
        self._parameters = inspect.signature(pipeline.__call__).parameters
        chosen = settings_for(self._kind, self._parameters, self.directory, settings)
        self.settings = chosen.changed({"sources": sources} if sources else {}, "sources")
        self._image = next((name for name in ("image", "images") if name in self._parameters), None)
        self._refuse_what_cannot_be_called()
        self.placement = place(device, dtype)
        options = {"device": device, "dtype": dtype, "compile": compile, "settings": self.settings}
        stay = stay or share({"generator": Opened(self.directory, options)}).stays["generator"]
        self._turns = Turns(torch, self.placement.device)
        self._torch, self._noise = torch, noise
        self.pipeline = self._load(diffusers)
        self._cuts = Cuts(self.pipeline.components.values())
        self._add_lora()
        self.settle(stay)
        if compile:
            compile_pipeline(self._torch, self.pipeline, lambda: self._stay is ALWAYS)

    @property
    def references(self) -> int:
        """As of `Roles`."""
        return {"none": 0, "previous": 1, "all": self.settings.references}[self.settings.sources]

    def settle(self, stay: Stay) -> None:
        """Shares its device from now on, with the models that hold the same seat. Not while a call is under way."""
        self._stay = stay
        stay.settle(self._torch, self.parts(), self.placement.device)

    def info(self) -> Mapping[str, str]:
        """What results say of it: name, version (of the content of its files), promise, place and LoRA files."""
        version = content_hash(self.directory)[:16]
        told = {
            "name": f"{self._kind} {self.directory.name}",
            "version": version,
            "identity": " ".join([version, *map(str, self._lora), self.placement.dtype, repr(self.settings)]),
            "lossless": self.placement.lossless,
            "device": self.placement.device,
            "dtype": self.placement.dtype,
            "references": str(self.references),
        }
        return {**told, "lora": " ".join(map(str, self._lora))} if self._lora else told

    def generate(
        self,
        prompt: str,
        source: Pixels | Sequence[Pixels] | None,
        seed: int,
        options: Options,
        *,
        cancelled: Cancelled = never,
        on_cut: Callable[[], None] | None = None,
    ) -> Pixels:
        """A picture, uint8 [height, width, 3].

        Args:
            prompt: What it should show.
            source: The picture that it starts from, or several, the last one foremost; None: text alone.
            seed: Of the noise.
            options: Whose `width`, `height` and `denoising_steps` are used; 0: those of the (last) source, or of the
                settings.
            cancelled: Asked before each denoising step; true ends the call with `CancelledError`.
            on_cut: Called where the prompt is longer than the pipeline reads.
        """
        sources = self._sources(source)
        width, height = self._size(sources, options)

        def between_steps(_pipeline: Any, _step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            if cancelled():
                raise CancelledError("[torch generator] the call was given up")
            return tensors

        turns = self._turns
        with self._stay.during(cancelled), turns.take(cancelled), turns.stream(), self._torch.no_grad():
            asked = self._arguments(prompt, sources, seed, width, height, options.denoising_steps)
            if "callback_on_step_end" in self._parameters:
                asked["callback_on_step_end"] = between_steps
            self._cuts.begin()
            try:
                (made,) = self.pipeline(**asked, output_type="pt").images
                levels = (made.float().nan_to_num() * 255).round().clamp(0, 255)
                picture: Pixels = levels.to(self._torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
            except self._torch.OutOfMemoryError as error:
                self._torch.cuda.empty_cache()
                raise BackendFailedError(
                    f"[torch generator] no memory on {self.placement.device} for {width}x{height}: {error}",
                    hint="ask for a smaller picture, or give the generator a device of its own",
                ) from None
            finally:
                self.pipeline.maybe_free_model_hooks()
            if on_cut is not None and not self._cuts.whole:
                on_cut()
        return picture

    def _sources(self, source: Pixels | Sequence[Pixels] | None) -> list[Pixels]:
        if source is None or not self.references:
            return []
        found = [source] if isinstance(source, np.ndarray) else list(source)
        if len(found) > self.settings.references:
            raise BadRequestError(
                f"[torch generator] {len(found)} pictures to start from: {self._kind} takes {self.settings.references}"
            )
        return found

    def _size(self, sources: Sequence[Pixels], options: Options) -> tuple[int, int]:
        """As asked for, else as the last source, cut down to what the pipeline can make, else as the settings say."""
        unit, longest = self.settings.multiple_of, self.settings.max_side
        sides = []
        for place_, (name, asked, usual) in enumerate(
            (("width", options.width, self.settings.width), ("height", options.height, self.settings.height))
        ):
            if asked and (asked % unit or asked > longest):
                raise BadRequestError(
                    f"[torch generator] {name} is {asked}: {self._kind} makes multiples of {unit} up to {longest}"
                )
            inherited = int(sources[-1].shape[1 - place_]) if sources else usual
            sides.append(asked or min(longest, max(unit, inherited // unit * unit)))
        return sides[0], sides[1]

    def _arguments(
        self, prompt: str, sources: Sequence[Pixels], seed: int, width: int, height: int, steps: int
    ) -> dict[str, Any]:
        settings, torch = self.settings, self._torch
        if not sources and self._image and settings.without_source == "white":
            sources = [np.full((height, width, 3), 255, np.uint8)]
        pictures = [Image.fromarray(source) for source in sources]
        offered: dict[str, Any] = {
            "prompt": prompt,
            "generator": torch.Generator("cpu").manual_seed(seed & (2**64 - 1)),
            "width": width,
            "height": height,
            "num_inference_steps": steps or settings.steps,
            "guidance_scale": settings.guidance_scale,
            "true_cfg_scale": settings.true_cfg_scale,
            "negative_prompt": settings.negative_prompt,
        }
        if pictures and self._image:
            offered[self._image] = pictures if settings.references > 1 else pictures[-1]
        if self._noise is not None:
            offered["latents"] = torch.as_tensor(self._noise(seed, height, width)).to(
                self.placement.device, getattr(torch, self.placement.dtype)
            )
        told = {
            name: value for name, value in offered.items() if value is not None and name in self._parameters
        }
        return {**told, **settings.arguments}

    def _refuse_what_cannot_be_called(self) -> None:
        if "prompt" not in self._parameters:
            raise BadPackError(
                f"[torch generator] {self._kind} takes no prompt",
                hint="use a pipeline that draws from a text",
            )
        if self.references and self._image is None:
            raise BadPackError(
                f"[torch generator] {self._kind} takes no picture, so it cannot edit the one before",
                hint="set sources to 'none' (each step is then drawn from its text alone), or use a pipeline that edits",
            )
        unknown = sorted(set(self.settings.arguments) - set(self._parameters))
        if unknown:
            raise BadPackError(f"[torch generator] {self._kind} takes no argument {unknown[0]!r}")

    def _load(self, diffusers: Any) -> Any:
        told: dict[str, Any] = {"dtype": getattr(self._torch, self.placement.dtype)}
        if (self.directory / "processor").is_dir():
            told["processor"] = load_processor(self.directory / "processor")
        try:
            with no_bars(diffusers, *need("transformers")):
                pipeline = diffusers.DiffusionPipeline.from_pretrained(
                    str(self.directory), local_files_only=True, **told
                )
        except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError) as error:
            raise BadPackError(
                f"[torch generator] {self.directory} cannot be loaded: {type(error).__name__}: {error}",
                hint="copy the whole directory again, or pip install --upgrade diffusers transformers",
            ) from None
        pipeline.set_progress_bar_config(disable=True)
        tell_pictures(pipeline)
        return pipeline

    def parts(self) -> list[list[Any]]:
        """Its modules: those that read the text, and those that make the picture."""
        parts: dict[bool, list[Any]] = {True: [], False: []}
        for name, component in self.pipeline.components.items():
            if isinstance(component, self._torch.nn.Module):
                parts[is_encoder(name)].append(component)
        return [modules for modules in parts.values() if modules]

    def _add_lora(self) -> None:
        if not self._lora:
            return
        need("peft")
        names = [f"lora{number}" for number, _ in enumerate(self._lora)]
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several are meant
                for name, one in zip(names, self._lora, strict=True):
                    self.pipeline.load_lora_weights(
                        str(one.file.parent),
                        weight_name=one.file.name,
                        adapter_name=name,
                        local_files_only=True,
                    )
            self.pipeline.set_adapters(names, [one.scale for one in self._lora])
        except (AttributeError, OSError, ValueError, KeyError, RuntimeError) as error:
            raise BadPackError(
                f"[torch generator] a LoRA file does not fit {self._kind}: {error}",
                hint="use a file that was made for this model",
            ) from None
