"""What is measured of one model: every part of a call, eager and compiled, beside what the card could do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from interleave_rt.backends.torch.step import Step
from interleave_rt.backends.torch.turns import never
from interleave_rt.placement import MODELS, need
from interleave_rt.request import Options

from . import limits
from .clock import peak_bytes, synchronize, timed
from .roles import MadeGenerator, MadeModel, compiler, made_pictures

__all__ = ["Report", "Seen", "device_figures", "generator_figures", "make_ready", "seen_step", "vlm_figures"]

_PROMPT = "a red fox in the snow at dusk"


class Report:
    """Rows of a part; every row is handed on as soon as it is known, so that a part that is cut short leaves them.

    Args:
        save: Is given all that is known so far.
        card: Whose peak figures rows are held to; None: not known.
        device: Where it is measured.
    """

    def __init__(
        self, save: Callable[[Mapping[str, Any]], None], card: limits.Card | None, device: str
    ) -> None:
        self._save, self._card, self.device = save, card, device
        self.found: dict[str, Any] = {"rows": []}

    def set(self, **values: Any) -> None:
        """Figures that are no rows."""
        self.found |= values
        self._save(self.found)

    def row(
        self, what: str, how: str, ms: float, *, flop: float = 0.0, read: float = 0.0, fp8: bool = False
    ) -> None:
        """Milliseconds of a part; with its operations or the bytes that it must read, beside the card's peak."""
        made: dict[str, Any] = {"what": what, "how": how, "ms": round(ms, 3)}
        if flop:
            made |= {"tflop": round(flop / 1e12, 3), "tflops": round(flop / ms / 1e9, 1)}
            peak = 0.0 if self._card is None else (self._card.fp8 if fp8 else self._card.bf16)
            made |= {"of_peak": round(flop / ms / 1e9 / peak, 3)} if peak else {}
        if read:
            made |= {"gb": round(read / 1e9, 3), "gb_per_s": round(read / ms / 1e6, 1)}
            if self._card is not None:
                made["of_peak"] = round(read / ms / 1e9 / self._card.memory, 3)
        self.found["rows"].append(made)
        self._save(self.found)

    def attempt(self, what: str, work: Callable[[], None]) -> None:
        """Does a piece of work; an error is written down, and the rest goes on."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever a library raises belongs to the report
            self.found.setdefault("errors", {})[what] = f"{type(error).__name__}: {error}"[:2000]
            self._save(self.found)


def device_figures(report: Report) -> None:
    """Bandwidth of copying and reading, and the rate of matrix products, as this card gives them."""
    device, on_card = report.device, torch.device(report.device).type == "cuda"
    size = 1 << (32 if on_card else 24)

    def memory() -> None:
        one = torch.empty(size // 2, dtype=torch.bfloat16, device=device).normal_()
        other = torch.empty_like(one)
        report.row(
            "copy in memory", "read and written", timed(lambda: other.copy_(one), device), read=2.0 * size
        )
        report.row(
            "sum of a tensor", "read", timed(lambda: one.view(64, -1).amax(1), device), read=float(size)
        )

    def products() -> None:
        side = 8192 if on_card else 256
        a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
        flop = 2.0 * side**3
        report.row("matrix product", "bf16", timed(lambda: a @ b, device), flop=flop)
        if on_card:
            small = a.to(torch.float8_e4m3fn), b.to(torch.float8_e4m3fn).t().contiguous().t()
            ones = torch.ones(side, 1, device=device), torch.ones(1, side, device=device)

            def work() -> Any:
                return torch._scaled_mm(
                    *small, scale_a=ones[0], scale_b=ones[1], out_dtype=torch.bfloat16, use_fast_accum=True
                )

            report.row("matrix product", "fp8 by rows", timed(work, device), flop=flop, fp8=True)

    report.attempt("memory", memory)
    report.attempt("matrix products", products)


def _memory(report: Report, name: str, precision: str, **settings: int) -> None:
    """The peak since it was watched, against what the placement table says before a model is loaded."""
    peak = peak_bytes(report.device)
    if peak is not None and name in MODELS:
        predicted = need(name, precision, **settings)  # type: ignore[arg-type]
        report.set(
            memory={
                "peak_gb": round(peak / 1e9, 3),
                "predicted_gb": round(predicted / 1e9, 3),
                "measured_over_predicted": round(peak / predicted, 3),
            }
        )


class Seen:
    """The last arguments of a module's calls."""

    def __init__(self, module: Any) -> None:
        self.told: dict[str, Any] = {}
        self._hook = module.register_forward_pre_hook(self._look, with_kwargs=True)

    def _look(self, _module: Any, _arguments: Any, told: dict[str, Any]) -> None:
        self.told = dict(told)

    def close(self) -> None:
        self._hook.remove()


def generator_figures(report: Report, made: MadeGenerator) -> None:
    """Text encoder, codec, a denoising step from text and from a picture, a whole call; eager and compiled."""
    device, side = report.device, int(made.raw["side"])
    fp8 = made.precision == "fp8"
    (picture,) = made_pictures(side, 1)
    kinds = {"from text": None, "from a picture": picture}
    if made.settings.without_source == "white":
        del kinds["from text"]
    seen: dict[str, dict[str, Any]] = {}
    transformer = made.pipeline.transformer

    def look() -> None:
        spy = Seen(transformer)
        for kind, source in kinds.items():
            drawn = made.generate(_PROMPT, source, 1, Options(denoising_steps=2))
            seen[kind] = spy.told
            report.set(**{f"finite {kind}": bool(drawn.std() > 0)})
        spy.close()

    def measure(how: str) -> None:
        for kind, told in seen.items():
            flop = _step_flop(made, told)
            report.attempt(
                f"step {kind}, {how}",
                lambda told=told, kind=kind, flop=flop: report.row(  # type: ignore[misc]
                    f"denoising step {kind}",
                    how,
                    timed(lambda: _call(transformer, told), device),
                    flop=flop,
                    fp8=fp8,
                ),
            )
        report.attempt(f"text encoder, {how}", lambda: _text_encoder(report, made, how, picture))
        report.attempt(f"codec, {how}", lambda: _codec(report, made, how))
        steps = int(made.settings.steps or 4)
        if steps <= 8:
            for kind, source in kinds.items():
                report.attempt(
                    f"call {kind}, {how}",
                    lambda kind=kind, source=source: report.row(  # type: ignore[misc]
                        f"whole call {kind}, {steps} steps",
                        how,
                        timed(lambda: made.generate(_PROMPT, source, 1, Options()), device, most=5, warm=1),
                    ),
                )

    report.attempt("first pictures", look)
    measure("eager")
    report.attempt("memory", lambda: _memory(report, made.name, made.precision, side=side))
    began = time.perf_counter()
    report.attempt("compile", lambda: _compile_and_run(report, made, seen))
    report.set(compile_s=round(time.perf_counter() - began, 1))
    measure("compiled")


def seen_step(made: MadeGenerator, picture: Any) -> Callable[[], Any]:
    """One denoising step from a picture, to be run again and again."""
    spy = Seen(made.pipeline.transformer)
    made.generate(_PROMPT, picture, 1, Options(denoising_steps=2))
    spy.close()
    return lambda: _call(made.pipeline.transformer, spy.told)


def _call(transformer: Any, told: Mapping[str, Any]) -> Any:
    with torch.no_grad():
        return transformer(**told)


def _compile_and_run(report: Report, made: MadeGenerator, seen: Mapping[str, Mapping[str, Any]]) -> None:
    report.set(eager_step_ms_by_attention=make_ready(made))
    for told in seen.values():
        _call(made.pipeline.transformer, told)
    synchronize(made.placement.device)


def make_ready(made: MadeGenerator) -> dict[str, float]:
    """Compiles a generator, with the attention that is the quickest; milliseconds of an eager step by attention."""
    times: dict[str, float] = {}
    if made.compiled:
        return times
    transformer, device = made.pipeline.transformer, made.placement.device
    step = seen_step(made, made_pictures(int(made.raw["side"]), 1)[0])
    if torch.device(device).type == "cuda":
        for backend in ("native", "_native_cudnn"):
            transformer.set_attention_backend(backend)
            try:
                times[backend] = round(timed(step, device, seconds=0.5), 3)
            except Exception:  # noqa: BLE001 - a library that does not offer it for these shapes
                times[backend] = math.inf
        transformer.set_attention_backend(min(times, key=lambda name: times[name]))
    made.compile()
    try:
        step()
    except Exception:
        if min(times, key=lambda name: times[name], default="native") == "native":
            raise
        transformer.set_attention_backend("native")  # what runs need not compile
        step()
        times["not compiled with cuDNN"] = 1.0
    return times


def _step_flop(made: MadeGenerator, told: Mapping[str, Any]) -> float:
    tokens = told["hidden_states"].shape[1] + told["encoder_hidden_states"].shape[1]
    return limits.block_flop(made.raw["transformer"], tokens)


def _text_encoder(report: Report, made: MadeGenerator, how: str, picture: Any) -> None:
    pipeline, device = made.pipeline, report.device
    if "text_config" in made.raw["text_encoder"]:
        shown = Image.fromarray(picture).resize((min(384, picture.shape[1]),) * 2)

        def encode() -> Any:
            with torch.no_grad():
                return pipeline.encode_prompt(prompt=[_PROMPT], image=[shown], device=device)

        tokens, text = int(encode()[0].shape[1]), made.raw["text_encoder"]["text_config"]
    else:
        more = {
            name: value
            for name, value in made.settings.arguments.items()
            if name in ("text_encoder_out_layers", "max_sequence_length")
        }

        def encode() -> Any:
            with torch.no_grad():
                return pipeline.encode_prompt(prompt=_PROMPT, device=device, **more)

        tokens, text = int(made.raw["text"]), made.raw["text_encoder"]
    flop = limits.text_flop(text, tokens, int(made.raw["text_layers"]))
    report.row(f"text encoder, {tokens} tokens", how, timed(encode, device), flop=flop)


def _codec(report: Report, made: MadeGenerator, how: str) -> None:
    vae, device, side = made.pipeline.vae, report.device, int(made.raw["side"])
    still = (1,) if "base_dim" in vae.config else ()  # Qwen's codec is one of videos
    shown = torch.randn(1, 3, *still, side, side, device=device, dtype=torch.bfloat16)
    with torch.no_grad():
        latents = vae.encode(shown).latent_dist.mode()

        def counted(work: Callable[[], Any]) -> float:
            with FlopCounterMode(display=False) as counter:
                work()
            return float(counter.get_total_flops())

        encode, decode = (lambda: vae.encode(shown)), (lambda: vae.decode(latents, return_dict=False))
        for what, work in (("codec, encode", encode), ("codec, decode", decode)):
            if what not in made.flop:
                made.flop[what] = counted(work)
            report.row(what, how, timed(work, device), flop=made.flop[what])


def vlm_figures(report: Report, made: MadeModel) -> None:
    """A picture, prompts of text and of two pictures, and tokens, one answer and four at once; eager and compiled."""
    device, side, text = report.device, int(made.raw["side"]), made.raw["config"]["text_config"]
    pictures = made_pictures(side, 2)
    fp8 = made.precision == "fp8"
    vision = made.raw["config"]["vision_config"]
    patches = limits.image_tokens(side, vision["patch_size"])
    length = int(made.prompt(pictures).inputs["input_ids"].shape[1])

    def read(shown: Any, *, again: bool) -> Callable[[], Any]:
        prompt = made.prompt(shown)
        decoder = made.decoder.apart()
        decoder._prefixes = type(decoder._prefixes)(0)
        if not again:
            decoder._features = type(decoder._features)(0)

        def work() -> Any:
            with torch.inference_mode():
                return next(decoder.write(prompt, 2, never))

        return work

    def prompts() -> None:
        work = read([], again=True)
        flop = limits.text_flop(text, int(made.raw["text"]))
        report.row(f"prompt of {made.raw['text']} tokens", "eager", timed(work, device), flop=flop)
        work = read(pictures, again=True)
        flop = limits.text_flop(text, length)
        report.row(f"prompt of {length} tokens, pictures known", "eager", timed(work, device), flop=flop)
        work = read(pictures, again=False)
        flop += 2 * limits.vision_flop(vision, patches)
        report.row(f"prompt of {length} tokens with two pictures", "eager", timed(work, device), flop=flop)
        report.set(finite=bool(torch.isfinite(work()).all()))

    def picture() -> None:
        inputs = made.prompt(pictures[:1]).inputs

        def work() -> Any:
            with torch.inference_mode():
                return made.model.model.get_image_features(
                    inputs["pixel_values"], inputs["image_grid_thw"], return_dict=True
                )

        report.row(
            f"picture of {patches} patches",
            "eager",
            timed(work, device),
            flop=limits.vision_flop(vision, patches),
        )
        report.row(
            "patches of a picture",
            "processor",
            timed(lambda: made.images(images=[Image.fromarray(pictures[0])]), device),
        )

    report.attempt("picture", picture)
    report.attempt("prompts", prompts)
    if not fp8:
        report.attempt("decoding, eager", lambda: _eager_tokens(report, made, length))
    report.attempt("memory", lambda: _memory(report, made.name, made.precision, context=length))
    # Beyond the graph of PyTorch's kernels: with kernels of the compiler, and with those for products with one row.
    variants = [
        ("graph, compiled, tuned", True, True),
        ("graph, compiled", True, False),
        ("graph", False, False),
    ]
    for how, compiled, tuned in variants if not fp8 else variants[:1]:
        for sequences in (1, 4):
            report.attempt(
                f"decoding, {how}, {sequences}",
                lambda how=how, compiled=compiled, tuned=tuned, sequences=sequences: _tokens(  # type: ignore[misc]
                    report, made, length, how, sequences, compiled=compiled, tune=tuned
                ),
            )


def _eager_tokens(report: Report, made: MadeModel, length: int) -> None:
    """As the lane writes them without `compile`."""
    decoder = made.decoder.apart()
    decoder._new_step = None
    pictures = made_pictures(int(made.raw["side"]), 2)
    count = 16
    with torch.inference_mode():
        writing = decoder.write(made.prompt(pictures), count + 8, never)
        next(writing)
        for _ in range(4):
            writing.send(5)
        synchronize(report.device)
        began = time.perf_counter()
        for _ in range(count):
            int(writing.send(5).argmax())
        ms = 1e3 * (time.perf_counter() - began) / count
    read = limits.decode_bytes(made.raw["config"]["text_config"], 1, length)
    report.row("a token, 1 answer", "eager", ms, read=read)


def _tokens(
    report: Report,
    made: MadeModel,
    length: int,
    how: str,
    sequences: int,
    *,
    compiled: bool,
    tune: bool,
) -> None:
    room = -(-(length + 128) // 512) * 512
    began = time.perf_counter()
    step = Step(
        made.model, room, sequences=sequences, compile=compiled, tune=tune, backend=compiler(report.device)
    )
    for tensor in (*step.keys, *step.values):
        tensor.normal_()
    step(5, length, float(length))
    synchronize(report.device)
    made_s = time.perf_counter() - began
    weight = 1.0 if made.precision == "fp8" else 2.0
    read = limits.decode_bytes(made.raw["config"]["text_config"], sequences, length, weight_bytes=weight)

    def work() -> Any:
        return int(step(5, length, float(length)).argmax(-1)[0])

    answers = f"{sequences} answer{'s' if sequences > 1 else ''}"
    report.row(f"a token, {answers}", how, timed(work, report.device, most=100), read=read)
    report.found["rows"][-1]["ready_s"] = round(made_s, 1)
    report.set(**{f"finite, {how}, {sequences}": bool(torch.isfinite(step(5, length, float(length))).all())})
