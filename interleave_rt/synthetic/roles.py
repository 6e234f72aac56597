"""Made-up models as the roles of a loop: the lanes of `backends.torch`, with random weights and answers to a script."""

from __future__ import annotations

import copy
import inspect
import json
import math
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image
from transformers.utils.logging import set_verbosity_error

from interleave_rt import _core
from interleave_rt.backends.torch import FAMILIES, TorchGenerator, TorchVlm
from interleave_rt.backends.torch.checkpoint import Placement
from interleave_rt.backends.torch.compiled import compile_pipeline
from interleave_rt.backends.torch.cuts import Cuts
from interleave_rt.backends.torch.decoder import Decoder, Prompt
from interleave_rt.backends.torch.fp8 import to_fp8
from interleave_rt.backends.torch.processors import PatchesOnce, _without_videos
from interleave_rt.backends.torch.step import Step
from interleave_rt.backends.torch.turns import Turns
from interleave_rt.backends.torch.vocabulary import boolean_tokens, spelled
from interleave_rt.pack import EMBEDDED
from interleave_rt.request import Request

from .catalogue import entry
from .weights import random_model

__all__ = [
    "MadeGenerator",
    "MadeModel",
    "MadeVlm",
    "Script",
    "compiler",
    "embedded_tokenizer",
    "made_pictures",
]

_LATE, _TRIES = 99_999, 5  # a request that no bench comes to; T_max
_FILLER = " and so"
_NUMBERS = re.compile(r"request (\d+), picture (\d+)((?: again)*)")


def compiler(device: str) -> str:
    """The backend of `torch.compile`: on the CPU it only reads the code, as kernels of small models say nothing."""
    return "eager" if torch.device(device).type == "cpu" else "inductor"


def made_pictures(side: int, count: int) -> list[Any]:
    """Pictures of noise, uint8 [side, side, 3]; always the same ones."""
    source = np.random.default_rng(7)
    return [source.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(count)]


def embedded_tokenizer() -> Any:
    """The embedded pack's, which has the control tokens of Qwen-VL; what it says of a text only fills a place."""
    folder = EMBEDDED / "tokenizer"
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        eos_token="<|im_end|>",  # noqa: S106 - no password
        pad_token="<|endoftext|>",  # noqa: S106
    )
    made.chat_template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    return made


def _with_ids(raw: Mapping[str, Any], tokenizer: Any) -> dict[str, Any]:
    """A configuration with the ids of this tokenizer's control tokens."""
    names = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    return {**raw, **{name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}}


def _save_processor(folder: Path, tokenizer: Any, kind: str, patch: int) -> None:
    tokenizer.save_pretrained(folder)
    settings = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": kind,
        "patch_size": patch,
        "merge_size": 2,
        "temporal_patch_size": 2,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "size": {"shortest_edge": 32 * 32, "longest_edge": 4096 * 4096},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")


class MadeGenerator(TorchGenerator):
    """A diffusers pipeline of a published shape. Pictures are noise.

    Args:
        name: Of its configuration.
        device: As of `TorchGenerator`.
        precision: `bf16`, or `fp8` for the linear layers of the denoiser's blocks.
    """

    def __init__(self, name: str, device: str, precision: str = "bf16") -> None:
        set_verbosity_error()  # a configuration without special tokens is no fault here
        raw = entry(name)
        self.name, self.raw, self.precision = name, raw, precision
        self.directory, self._kind = Path(name), raw["pipeline"]
        pipeline = getattr(diffusers, self._kind)
        self._parameters = inspect.signature(pipeline.__call__).parameters
        self.settings = FAMILIES[self._kind].changed(raw.get("settings", {}), name)
        self._image = "image"
        self.placement = Placement(device, "bfloat16")
        self._turns = Turns(torch, device)
        self._torch, self._noise, self._lora = torch, None, []
        self.pipeline = self._made(pipeline)
        self._cuts = Cuts(self.pipeline.components.values())
        self.compiled = False
        self.flop: dict[str, float] = {}  # of parts, as counted before they are compiled

    def info(self) -> Mapping[str, str]:
        """As `TorchGenerator.info`; the weights are no files."""
        device = self.placement.device
        return {
            "name": self.name,
            "identity": f"{self.name} {self.precision}",
            "lossless": "replay",
            "device": device,
        }

    def compile(self) -> None:
        """As `TorchGenerator` does, for one size of pictures."""
        if self.compiled:
            return
        self.compiled = True
        how: dict[str, Any] = {"dynamic": False, "backend": compiler(self.placement.device)}
        compile_pipeline(torch, self.pipeline, lambda: True, **how)

    def _made(self, pipeline: Any) -> Any:
        raw, device, dtype = self.raw, self.placement.device, torch.bfloat16
        tokenizer = embedded_tokenizer()
        encoder = getattr(transformers, raw["text_encoder_config_class"])(
            **_with_ids(raw["text_encoder"], tokenizer)
        )
        builds = {
            "transformer": lambda: getattr(diffusers, raw["transformer_class"])(**raw["transformer"]),
            "text_encoder": lambda: getattr(transformers, raw["text_encoder_class"])(encoder),
            "vae": lambda: getattr(diffusers, raw["vae_class"])(**raw["vae"]),
        }
        parts = {name: random_model(build, device, dtype) for name, build in builds.items()}
        if self.precision == "fp8":
            to_fp8(parts["transformer"], lambda name, _: "transformer_blocks" in name and "mod" not in name)
        more: dict[str, Any] = {}
        if "processor" in inspect.signature(pipeline.__init__).parameters:
            with tempfile.TemporaryDirectory() as folder:
                _save_processor(Path(folder), tokenizer, "Qwen2VLProcessor", 14)
                more["processor"] = _without_videos(transformers, Path(folder))
        else:
            more["is_distilled"] = True
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**raw["scheduler"])
        made = pipeline(scheduler=scheduler, tokenizer=tokenizer, **parts, **more)
        made.set_progress_bar_config(disable=True)
        return made


class MadeModel:
    """A model of text and pictures of a published shape, with what a lane needs of `LoadedVlm`."""

    def __init__(self, name: str, device: str, precision: str = "bf16", *, compile: bool = False) -> None:  # noqa: A002
        set_verbosity_error()
        raw = entry(name)
        self.name, self.raw, self.precision, self.torch = name, raw, precision, torch
        self.placement = Placement(device, "bfloat16")
        self.tokenizer = embedded_tokenizer()
        config = getattr(transformers, raw["config_class"])(**_with_ids(raw["config"], self.tokenizer))
        self.model = random_model(lambda: getattr(transformers, raw["class"])(config), device, torch.bfloat16)
        if precision == "fp8":
            to_fp8(self.model, lambda layer, _: "language_model.layers" in layer)
        with tempfile.TemporaryDirectory() as folder:
            _save_processor(
                Path(folder), self.tokenizer, "Qwen3VLProcessor", raw["config"]["vision_config"]["patch_size"]
            )
            self.images: Any = transformers.AutoImageProcessor.from_pretrained(folder)
        self.table = spelled(self.tokenizer, self.model.get_output_embeddings().weight.shape[0])
        self.turns = Turns(torch, device, priority=-1)
        self.decoder = Decoder(torch, self.model, self.turns, compile=compile)
        if compile:
            self.decoder._new_step = partial(Step, backend=compiler(device))
        self.eos: list[int] = []  # answers end where their script does
        self.top_k, self.top_p = 0, 1.0

    def apart(self) -> MadeModel:
        """The same weights, with nothing kept of earlier calls."""
        made = copy.copy(self)
        made.decoder = self.decoder.apart()
        made.images = PatchesOnce(self.images)
        return made

    def reserve(self, tokens: int, answers: int) -> None:
        """Compiles and records the steps of so many answers at once, of up to `tokens` with their prompts."""
        decoder: Any = self.decoder
        if decoder._new_step is None:
            return
        room = -(-tokens // 512) * 512
        steps = [decoder._new_step(self.model, room) for _ in range(answers)]
        for step in steps:
            step(0, 0, 0.0)
        decoder._idle_steps += steps

    def prompt(self, pictures: Sequence[Any], text: int | None = None) -> Prompt:
        """So many tokens of text behind some pictures, as a processor would make it."""
        config, tokenizer = self.model.config, self.tokenizer
        device = self.placement.device
        told: dict[str, Any] = {}
        ids: list[int] = []
        if pictures:
            shown = [Image.fromarray(np.asarray(picture)) for picture in pictures]
            made = self.images(images=shown, return_tensors="pt")
            told = {
                "pixel_values": made["pixel_values"].to(device, torch.bfloat16),
                "image_grid_thw": torch.as_tensor(made["image_grid_thw"]).to(device),
            }
            unit = config.vision_config.spatial_merge_size**2
            for rows in told["image_grid_thw"].prod(-1).tolist():
                ids += [
                    config.vision_start_token_id,
                    *[config.image_token_id] * (rows // unit),
                    config.vision_end_token_id,
                ]
        filler = tokenizer.encode(_FILLER * 4096, add_special_tokens=False)
        ids += filler[: self.raw["text"] if text is None else text]
        told["input_ids"] = torch.tensor([ids], device=device)
        told["mm_token_type_ids"] = (told["input_ids"] == config.image_token_id).long()
        return Prompt(told, [_core.hash_pixels(np.asarray(picture)) for picture in pictures])


@dataclass(frozen=True, slots=True)
class Script:
    """What planner and critic write, in tokens of the answer.

    Args:
        steps: Of every plan.
        plan_before: Tokens before the plan's first step.
        plan_step: Tokens of each step.
        verdict_at: Where the critic's boolean stands.
        verdict_tokens: Of a refusal with its new prompt; an acceptance ends behind its boolean.
        accept: Share of the verdicts that accept, dealt evenly: of any 1 / (1 - accept) in a row, one refuses.
    """

    steps: int = 5
    plan_before: int = 60
    plan_step: int = 150
    verdict_at: int = 200
    verdict_tokens: int = 300
    accept: float = 0.8

    def plan(self, request: Request) -> str:
        """Prompts say which request and which of its pictures they are."""
        return request.marked_text

    def judge(self, original_prompt: str, prompt: str) -> str:  # noqa: ARG002 - `Prompts.judge` has both
        """What is asked is the prompt alone."""
        return prompt

    def refuses(self, prompt: str) -> bool:
        """Whether the picture of a prompt is refused: the same in every arm, whatever it looks like."""
        found = _NUMBERS.search(prompt)
        if found is None:
            return False
        request, step, tries = int(found[1]), int(found[2]), found[3].count("again")
        # First tries by step, so that each request has its share, in its middle; later ones by request.
        number = (request * self.steps + step if tries == 0 else request * 7 + tries) + self.steps // 2
        share = 1.0 - self.accept
        return math.floor((number + 1) * share) > math.floor(number * share)


class MadeVlm(TorchVlm):
    """Planner or critic whose answers follow a script; every token of them is decoded, and the one it would choose is waited for."""

    def __init__(self, loaded: MadeModel, role: str, script: Script) -> None:
        self.role = role  # type: ignore[assignment]
        self._loaded, self._torch = loaded, torch  # type: ignore[assignment]
        self._script: Script = script
        self._prompts = script  # type: ignore[assignment]
        self._grammars, self._constrained = None, "off"
        # The script's texts may be longer than it wants them: those of late requests and of late tries.
        late = f"request {_LATE}"
        planned = max(script.plan_before + script.steps * script.plan_step, len(self._plan(late)))
        refused = f"{late}, picture {script.steps}{' again' * _TRIES}"
        judged = max(script.verdict_tokens, script.verdict_at + len(self._refusal(refused)))
        self._most = (judged if role == "critic" else planned) + 64
        yes, no = boolean_tokens(loaded.tokenizer, loaded.table)
        self._yes = len(yes)
        self._boolean = torch.tensor(yes + no, device=loaded.placement.device)

    def info(self) -> Mapping[str, str]:
        """As `TorchVlm.info`; the weights are no files."""
        loaded = self._loaded
        device = loaded.placement.device
        return {"name": loaded.name, "identity": loaded.name, "lossless": "replay", "device": device}  # type: ignore[attr-defined]

    @property
    def longest(self) -> int:
        """Tokens of its answers at the most."""
        return self._most

    def _answer(  # type: ignore[override]
        self,
        asked: str,
        pictures: Sequence[Any],
        kind: str,
        seed: int,  # noqa: ARG002
        retry: int,  # noqa: ARG002
        cancelled: Any,
    ) -> Iterator[tuple[bytes, Any]]:
        loaded: Any = self._loaded
        script = self._verdict(asked) if kind == "critic" else self._plan(asked)
        with torch.inference_mode():
            prompt = loaded.prompt(pictures)
        with closing(loaded.decoder.write(prompt, self._most, cancelled)) as writing:
            token: int | None = None
            for written in script:
                with torch.inference_mode():
                    logits = next(writing) if token is None else writing.send(token)
                    self._draw(logits, None)(None)
                token = written
                yield loaded.table[token], logits

    def _plan(self, text: str) -> list[int]:
        script = self._script
        steps: list[int] = []
        for number in range(script.steps):
            what = f"{text}, picture {number}"
            step = {"step_number": number + 1, "step_name": "one", "instruction": what, "prompt": what}
            head = json.dumps(step)[:-1] + ', "auxiliary_text": "'
            tail = '"}' + (", " if number + 1 < script.steps else "]}</answer>")
            steps += self._filled(head, tail, script.plan_step)
        return self._filled("<think>", '</think><answer>{"execution_plan": [', script.plan_before) + steps

    def _verdict(self, prompt: str) -> list[int]:
        script = self._script
        begun = self._filled("<think>", '</think><answer>{"previous_step_success":', script.verdict_at)
        if script.refuses(prompt):
            return begun + self._refusal(prompt)
        return [*begun, *self._ids(' true, "refine_prompt": null}</answer>')]

    def _refusal(self, prompt: str) -> list[int]:
        rest = f' false, "refine_prompt": "{prompt} again'
        script = self._script
        return self._filled(rest, '"}</answer>', script.verdict_tokens - script.verdict_at)

    def _filled(self, head: str, tail: str, tokens: int) -> list[int]:
        """Two texts with so much between them that there are `tokens` in all, or no filling where they are longer."""
        first, last, filler = self._ids(head), self._ids(tail), self._ids(_FILLER)
        room = max(0, tokens - len(first) - len(last))
        return [*first, *(filler * (room // len(filler) + 1))[:room], *last]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._loaded.tokenizer.encode(text, add_special_tokens=False)
        return ids
