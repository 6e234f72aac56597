"""Planner and critic: any transformers model that reads text and pictures and writes text."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from interleave_rt import _core
from interleave_rt.backends.constrain import find_constraint
from interleave_rt.errors import BackendFailedError, BadPackError
from interleave_rt.pack.grammar import Reasoning
from interleave_rt.roles.answers import OnAnswer
from interleave_rt.roles.prompts import Message, Prompts, critic_pictures, planner_pictures
from interleave_rt.wire import PlanStep, Verdict, WrittenPlan

from .checkpoint import Lora, use_threads
from .grammar import Draw, Grammars
from .loaded import open_vlm
from .residency import ALWAYS, Stay
from .turns import Cancelled, never
from .vocabulary import boolean_tokens

if TYPE_CHECKING:
    from interleave_rt.request import Pixels, Request

__all__ = ["TorchVlm"]

_RETRY_TEMPERATURE = 0.7
_OPENED = b"<think>\n"


class TorchVlm:
    """A transformers model as planner or critic. Its answers are greedy; a second try is sampled.

    Tokens are read as they are written: a step of a plan leaves as soon as its object has closed, an accepted verdict
    ends at its boolean, and a call that is given up ends before the next token. Planner and critic of one directory
    share the model; calls alternate token by token.

    Args:
        directory: In Hugging Face layout; nothing is fetched.
        role: `planner` or `critic`.
        device: `cpu`, `cuda` or `cuda:N`; None: the first card, else the CPU.
        dtype: `float32`, `bfloat16` or `float16`; None: bfloat16 on a card, float32 on the CPU.
        lora: Adapters of peft, `FILE` or `FILE:SCALE`, merged into the weights; needs the extra `[lora]`.
        prompts: Templates, or their folder (see `Prompts.from_folder`); None: our own, for models that were not
            trained for these roles.
        compile: `torch.compile` of decoding over a static cache, on a card as a CUDA graph. The first answer takes a
            while (Qwen3 and Qwen3-VL: some 20 seconds; others: minutes, and their answers are written one after the other).
        constrained: Whether llguidance keeps answers to the JSON that our own prompts ask for: `on`, `off`, or `auto`:
            where it is installed and the prompts are ours.
        max_new_tokens: Of an answer.
        threads: Of PyTorch on the CPU, in the whole process; None: as it is.
        stay: How it shares its device with other models (see `sharing.share`); None: it must fit beside them.

    Raises:
        BadPackError: No such directory, not a model of text and pictures, a missing library, or unusable prompts.
        LimitExceededError: It does not fit into the memory of the device.

    Example:
        >>> critic = TorchVlm("models/Qwen3-VL-8B-Instruct", role="critic", device="cuda:0")  # doctest: +SKIP
        >>> critic.judge(None, picture, "a red circle", "a red circle", 0, 0).accepted  # doctest: +SKIP
        True
    """

    _stay = ALWAYS

    def __init__(
        self,
        directory: str | Path,
        role: Literal["planner", "critic"],
        *,
        device: str | None = None,
        dtype: str | None = None,
        lora: str | Path | Sequence[str | Path] = (),
        prompts: Prompts | str | Path | None = None,
        compile: bool = False,  # noqa: A002 - as PyTorch calls it
        constrained: Literal["auto", "on", "off"] = "auto",
        max_new_tokens: int = 4096,
        threads: int | None = None,
        stay: Stay | None = None,
    ) -> None:
        use_threads(threads)
        if role not in ("planner", "critic"):
            raise BadPackError(f"[torch] {role!r} is no role of this model", hint="give planner or critic")
        self.role, self._most = role, max_new_tokens
        ours = prompts is None
        if not isinstance(prompts, Prompts):
            prompts = Prompts.default() if prompts is None else Prompts.from_folder(prompts)
        self._prompts = prompts
        if constrained == "auto" and not ours:
            constrained = "off"  # nobody knows which dialect they ask for
        constraint = find_constraint(constrained)
        self._loaded = open_vlm(
            Path(directory), device=device, dtype=dtype, lora=Lora.several(lora), compile=compile, stay=stay
        )
        loaded = self._loaded
        self._torch, self._stay = loaded.torch, loaded.stay
        self._constrained = str(constraint)
        self._grammars = (
            Grammars(loaded.tokenizer, loaded.table, loaded.eos, max_new_tokens)
            if constraint.version
            else None
        )
        if role == "critic":
            yes, no = boolean_tokens(loaded.tokenizer, loaded.table)
            self._yes = len(yes)
            self._boolean = loaded.torch.tensor(yes + no, device=loaded.decoder.device)

    def settle(self, stay: Stay) -> None:
        """Shares its device from now on; for models that were made in memory. Not while a call is under way."""
        loaded, self._stay = self._loaded, stay
        stay.settle(self._torch, [[loaded.model]], loaded.placement.device, loaded.decoder.forget)

    def info(self) -> Mapping[str, str]:
        """What results say of it: name, version, promise, place, LoRA files, and whether answers are constrained."""
        kind = type(self._loaded.model).__name__.removesuffix("ForConditionalGeneration")
        told = {"name": f"{kind} {self._loaded.directory.name}", **self._loaded.info()}
        asked = f"{self._prompts!r} {self._most} {self._constrained}".encode("utf-8", "surrogatepass")
        identity = f"{told['identity']} {told['dtype']} {hashlib.sha256(asked).hexdigest()[:16]}"
        return {**told, "identity": identity, "constrained": self._constrained}

    def plan(
        self,
        request: Request,
        max_steps: int,
        seed: int,
        retry: int,
        *,
        cancelled: Cancelled = never,
        on_step: Callable[[PlanStep], None] | None = None,
        on_answer: OnAnswer | None = None,
    ) -> WrittenPlan:
        """As `Roles.plan`.

        Args:
            request: What is asked for.
            max_steps: So many steps are read at most.
            seed: For a second try, which is sampled.
            retry: 0, or 1 after an answer that could not be read.
            cancelled: Asked before each token; true ends the call with `CancelledError`.
            on_step: Called with each step as soon as it can be read.
            on_answer: Called with what was written, and why no more.
        """
        scanner = _core.PlanScanner(max_steps, 1 if request.mode == "narrative" else 0)
        told = 0
        asked = self._prompts.plan(request), planner_pictures(request), request.mode
        with self._answering(on_answer, *asked, seed, retry, cancelled) as answer:
            for spelling, _ in answer:
                scanner.feed(spelling)
                if on_step is not None:
                    for step in scanner.closed()[told:]:
                        told += 1
                        on_step(PlanStep.from_dict(step))
                if scanner.done():
                    break
        return WrittenPlan.from_dict(scanner.finish())

    def judge(
        self,
        before: Pixels | None,
        after: Pixels,
        original_prompt: str,
        prompt: str,
        seed: int,
        retry: int,
        *,
        cancelled: Cancelled = never,
        on_verdict: Callable[[bool, float], None] | None = None,
        on_answer: OnAnswer | None = None,
    ) -> Verdict | None:
        """As `Roles.judge`.

        Args:
            before: The picture that the attempt started from; None is white.
            after: The picture to judge, uint8 [height, width, 3].
            original_prompt: What the planner wrote for the step.
            prompt: What `after` was generated from.
            seed: For a second try, which is sampled.
            retry: 0, or 1 after an answer that could not be read.
            cancelled: Asked before each token; true ends the call with `CancelledError`.
            on_verdict: Called with the boolean and p(success) as soon as they are known.
            on_answer: Called with what was written, and why no more.
        """
        scanner = _core.VerdictScanner()
        begun: list[tuple[int, Any]] = []  # where each token begins, and its logits of the two words
        length, accepted, p = 0, None, 0.0
        asked = self._prompts.judge(original_prompt, prompt), critic_pictures(before, after), "critic"
        with self._answering(on_answer, *asked, seed, retry, cancelled) as answer:
            for spelling, logits in answer:
                scanner.feed(spelling)
                if accepted is None:
                    if logits is not None:
                        begun.append((length, logits[self._boolean]))
                    length += len(spelling)
                    accepted = scanner.accepted()
                    if accepted is not None:
                        p = self._p_success(begun, scanner.boolean_started_at() or 0)
                        if on_verdict is not None:
                            on_verdict(accepted, p)
                if accepted or scanner.done():
                    break
        read = scanner.finish()
        if read is None:
            return None
        if accepted is None:  # what could be read at the end only
            p = self._p_success(begun, scanner.boolean_started_at() or 0)
        return Verdict.from_dict({**read, "p_success": p})

    def _p_success(self, begun: Sequence[tuple[int, Any]], start: int) -> float:
        """The share of the true words among both, at the token that holds the boolean's first byte."""
        logits = next((values for offset, values in reversed(begun) if offset <= start), None)
        if logits is None:
            return 0.5
        values = logits.float().cpu().tolist()
        highest = max(values)
        weights = [math.exp(value - highest) for value in values]
        return sum(weights[: self._yes]) / sum(weights)

    @contextmanager
    def _answering(self, on_answer: OnAnswer | None, *asked: Any) -> Iterator[Iterator[tuple[bytes, Any]]]:
        """`_answer`, with the weights on the device; at its end `on_answer` is told of it."""
        loaded, cancelled = self._loaded, asked[-1]
        wrote, stop = bytearray(), "early"

        def heard() -> Iterator[tuple[bytes, Any]]:
            nonlocal stop
            try:
                while True:
                    spelling, logits = next(answer)
                    wrote.extend(spelling)
                    yield spelling, logits
            except StopIteration as end:
                stop = end.value

        with self._stay.during(cancelled), loaded.turns.stream(), closing(self._answer(*asked)) as answer:
            yield heard()
        if on_answer is not None:
            on_answer(bytes(wrote), stop)

    def _answer(
        self,
        messages: Sequence[Message],
        pictures: Sequence[Pixels],
        kind: str,
        seed: int,
        retry: int,
        cancelled: Cancelled,
    ) -> Generator[tuple[bytes, Any], None, str]:
        """The bytes of each token, and the logits that it was chosen from (None: the template has written it).

        Returns why it ends, as `Span.stop`.
        """
        loaded = self._loaded
        with self._torch.inference_mode():
            prompt, text = loaded.prompt(messages, pictures)
        opened = text.endswith(("<think>\n", "<think>"))
        if opened:
            yield _OPENED, None
        reasoning: Reasoning = "opened" if opened else "written"
        grammar = self._grammars.begin(kind, reasoning, self._most) if self._grammars else None
        generator = self._torch.Generator("cpu").manual_seed(seed & (2**64 - 1)) if retry else None
        with closing(loaded.decoder.write(prompt, self._most, cancelled)) as writing:
            token: int | None = None
            for index in range(self._most):
                try:
                    with self._torch.inference_mode():
                        logits = next(writing) if token is None else writing.send(token)
                except StopIteration:
                    return "cache_full"
                draw = self._draw(logits, generator)
                token = grammar.pick(index, draw) if grammar else draw(None)
                if token in loaded.eos:
                    return "end_of_text"
                yield loaded.table[token], logits
                if grammar is not None and grammar.complete:
                    return "end_of_text"
        return "length"

    def _draw(self, logits: Any, generator: Any) -> Draw:
        torch, loaded = self._torch, self._loaded

        def draw(allowed: Any) -> int:
            values = logits
            if allowed is not None:
                refused = ~allowed[: logits.shape[0]].to(logits.device)
                values = logits.masked_fill(refused, -math.inf)
            if generator is None:
                value, token = values.max(-1)
                if not math.isfinite(value):
                    raise BackendFailedError(
                        f"[torch {self.role}] the logits of the answer are not finite",
                        hint="use dtype float32 or bfloat16",
                    )
                return int(token)
            scaled = values.float().cpu() / _RETRY_TEMPERATURE
            ranked, order = scaled.sort(descending=True, stable=True)
            shares = ranked.softmax(-1)
            keep = max(1, int((shares.cumsum(-1) - shares < loaded.top_p).sum()))
            keep = min(keep, loaded.top_k or keep)
            return int(order[torch.multinomial(shares[:keep], 1, generator=generator)])

        return draw
