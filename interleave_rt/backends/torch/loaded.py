"""A model of text and pictures on its device. Planner and critic of one directory share it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from interleave_rt import _core
from interleave_rt.errors import BadPackError, BadRequestError
from interleave_rt.roles.prompts import Message

from .checkpoint import Lora, Placement, content_hash, need, no_bars, place, read_json
from .decoder import Decoder, Prompt
from .processors import PatchesOnce, load_processor
from .residency import Stay
from .sharing import Opened, share
from .turns import Turns
from .vocabulary import control_tokens, spelled

if TYPE_CHECKING:
    from interleave_rt.request import Pixels

__all__ = ["LoadedVlm", "open_vlm"]

_lock = threading.Lock()
_open: weakref.WeakValueDictionary[Any, LoadedVlm] = weakref.WeakValueDictionary()


def open_vlm(
    directory: Path,
    *,
    device: str | None,
    dtype: str | None,
    lora: Sequence[Lora],
    compile: bool,  # noqa: A002
    stay: Stay | None = None,
) -> LoadedVlm:
    """The model of a directory; one that is open with equal settings is used again.

    `stay`: where it shares its device; None: it must fit beside what is there.

    Raises:
        BadPackError: The directory is no model of text and pictures, or cannot be used.
        LimitExceededError: It does not fit into the memory of the device.
    """
    config = read_json(directory, "config.json", "a transformers model of text and pictures")
    (transformers,) = need("transformers")
    kind = str(config.get("model_type"))
    known = transformers.models.auto.modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    if kind not in known:
        raise BadPackError(
            f"[torch] {directory} is a {kind}, which transformers {transformers.__version__} does not know as a model "
            "of text and pictures",
            hint="use one that is (Qwen3-VL, for example), or pip install --upgrade transformers",
        )
    need("torch")
    key = (directory.resolve(), device, dtype, tuple(lora), compile, stay)
    with _lock:
        found = _open.get(key)
        if found is None:
            options = {"device": device, "dtype": dtype, "compile": compile}
            chosen = stay or share({"critic": Opened(directory, options)}).stays["critic"]
            placement = place(device, dtype)
            found = LoadedVlm(transformers, directory, placement, lora, compile=compile, stay=chosen)
            _open[key] = found
    return found


class LoadedVlm:
    """Processor, tokens and decoder of one directory."""

    def __init__(
        self,
        transformers: Any,
        directory: Path,
        placement: Placement,
        lora: Sequence[Lora],
        *,
        compile: bool,  # noqa: A002
        stay: Stay,
    ) -> None:
        self.directory, self.placement, self._lora, self.stay = directory, placement, lora, stay
        (self.torch,) = need("torch")
        self.processor = load_processor(directory)
        if PatchesOnce.fits(self.processor.image_processor):
            self.processor.image_processor = PatchesOnce(self.processor.image_processor)
        self.model = self._load(transformers)
        self.tokenizer = self.processor.tokenizer
        rows = self.model.get_output_embeddings().weight.shape[0]
        self.table = spelled(self.tokenizer, rows)
        self._control = control_tokens(self.tokenizer)
        # A token is many small kernels: behind those of a denoising step each would wait for its turn.
        self.turns = Turns(self.torch, placement.device, priority=-1)
        self.decoder = Decoder(self.torch, self.model, self.turns, compile=compile, device=placement.device)
        stay.settle(self.torch, [[self.model]], placement.device, self.decoder.forget)
        settings = self.model.generation_config
        ends = settings.eos_token_id
        self.eos = [ends] if isinstance(ends, int) else list(ends or [])
        if self.tokenizer.eos_token_id is not None and self.tokenizer.eos_token_id not in self.eos:
            self.eos.append(self.tokenizer.eos_token_id)
        sampled = bool(settings.do_sample)
        self.top_k = int(settings.top_k or 0) if sampled else 0
        self.top_p = float(settings.top_p or 1.0) if sampled else 1.0

    def info(self) -> dict[str, str]:
        """Version (of the content of the files), promise, place and LoRA files."""
        version = content_hash(self.directory)[:16]
        told = {
            "version": version,
            "identity": " ".join([version, *map(str, self._lora)]),
            "lossless": self.placement.lossless,
            "device": self.placement.device,
            "dtype": self.placement.dtype,
        }
        return {**told, "lora": " ".join(map(str, self._lora))} if self._lora else told

    def prompt(self, messages: Sequence[Message], pictures: Sequence[Pixels]) -> tuple[Prompt, str]:
        """The chat as tokens and patches, and as text.

        Control tokens come from the chat template alone: in the texts they are broken by a word joiner.
        """
        chat = [
            {
                "role": message["role"],
                "content": [
                    {"type": "text", "text": self._harmless(part)}
                    if isinstance(part, str)
                    else {"type": "image"}
                    for part in message["content"]
                ],
            }
            for message in messages
        ]
        text = self.processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        shown = [Image.fromarray(picture) for picture in pictures]
        told = {"images": [shown]} if shown else {}
        try:
            inputs = self.processor(text=[text], return_tensors="pt", **told)
        except (ValueError, UnicodeError, TypeError) as error:
            raise BadRequestError(f"[torch] the text or a picture cannot be encoded: {error}") from None
        inputs = inputs.to(self.placement.device, dtype=self.model.dtype)  # floats alone are cast
        return Prompt(dict(inputs), [_core.hash_pixels(picture) for picture in pictures]), text

    def _harmless(self, text: str) -> str:
        return self._control.sub(lambda found: f"{found[0][0]}\u2060{found[0][1:]}", text)

    def _load(self, transformers: Any) -> Any:
        try:
            with no_bars(transformers):
                model = transformers.AutoModelForImageTextToText.from_pretrained(
                    self.directory, local_files_only=True, dtype=getattr(self.torch, self.placement.dtype)
                )
        except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError) as error:
            raise BadPackError(
                f"[torch] {self.directory} cannot be loaded: {type(error).__name__}: {error}",
                hint="copy the whole directory again, or pip install --upgrade transformers",
            ) from None
        for one in self._lora:
            model = self._with_lora(model, one)
        return model.eval()

    def _with_lora(self, model: Any, lora: Lora) -> Any:
        """The model with a change of peft's format merged into its weights."""
        (peft,) = need("peft")
        folder = lora.file if lora.file.is_dir() else lora.file.parent
        try:
            changed = peft.PeftModel.from_pretrained(model, str(folder), local_files_only=True)
            for module in changed.modules():
                if hasattr(module, "scaling") and isinstance(module.scaling, dict):
                    module.scaling = {name: value * lora.scale for name, value in module.scaling.items()}
            return changed.merge_and_unload()
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise BadPackError(
                f"[torch] the LoRA file {lora.file} does not fit {self.directory}: {error}",
                hint="use one that was made for this model; adapter_config.json must lie beside it",
            ) from None
