"""A pack's roles as C++ lanes over ONNX Runtime; the manifest says everything that the lanes are told."""

from __future__ import annotations

import base64
import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from interleave_rt import _core
from interleave_rt.cgroups import free_memory
from interleave_rt.config import EngineConfig, ThreadBudget
from interleave_rt.errors import BadPackError, BadRequestError, InterleaveError, from_code
from interleave_rt.files import read_json
from interleave_rt.pack import Pack
from interleave_rt.pack.grammar import answer_grammar
from interleave_rt.pack.manifest import ROLES, GeneratorRole, Part, VlmRole
from interleave_rt.pack.tokens import TextEncoder
from interleave_rt.placement import gb
from interleave_rt.request import Options

from .constrain import Constraint, find_constraint
from .engines import require_engines
from .ort import load_runtime
from .proof import require_proof
from .threads import thread_budget

__all__ = ["NativeBackend", "generator_config", "native_role", "vlm_config"]

Role = TypeVar("Role", VlmRole, GeneratorRole)

_SEEN = (
    *("patch_size", "merge_size", "temporal_patch_size", "min_pixels", "max_pixels"),
    *("image_mean", "image_std"),
)
"""What is told of the pictures that a model looks at."""


class NativeBackend:
    """Roles of one pack, each in a lane of its own.

    Args:
        pack: Whose graphs.
        roles: Which of its roles are served here; all three are what a request needs.

    Raises:
        BadPackError: The pack lacks one of them, or says that it runs elsewhere.
    """

    def __init__(self, pack: Pack, roles: Sequence[str] = ROLES) -> None:
        self.pack = pack
        self._vlms = {
            name: native_role(pack, name, VlmRole) for name in ROLES if name in roles and name != "generator"
        }
        self._generator = native_role(pack, "generator", GeneratorRole) if "generator" in roles else None
        self.encodes = tuple(name for name in ROLES if name in roles)
        self.references = 1 if self._generator is None else self._generator.references
        self.declines = self._vlms["planner"].declines if "planner" in self._vlms else ()
        self.shares_cpu = (
            False  # with roles that compute on all cores: the lanes are then one device with them
        )
        self.image_sides = None if self._generator is None else pack.image_sides
        self.max_text_bytes: int | None = None  # known once it is attached
        self._constraint = Constraint(None)
        self._budget: ThreadBudget | None = None

    def info(self) -> Mapping[str, str]:
        """Name, version and promise of the pack, whether its answers are constrained, the threads of its lanes."""
        threads = {} if self._budget is None else {"threads": str(self._budget)}
        several = {} if self.references == 1 else {"references": str(self.references)}
        return {**self.pack.info(), **several, "constrained": str(self._constraint), **threads}

    def check(self, options: Options, pictures: int) -> None:  # noqa: ARG002 - any number: a generator is given the last `references`
        """Raises `BadRequestError` for an image size that the generator cannot make."""
        if self._generator is None:
            return
        image = self._generator.image
        for name, side in (("width", options.width), ("height", options.height)):
            if side and (side % image.multiple_of or not image.min <= side <= image.max):
                raise BadRequestError(
                    f"[Options] {name} is {side}: this pack makes multiples of {image.multiple_of} "
                    f"from {image.min} to {image.max}"
                )

    def attach(self, core: _core.Engine, config: EngineConfig) -> None:
        """Loads the graphs; raises `BadPackError` naming the one that does not fit."""
        load_runtime()
        pack, budget = self.pack, thread_budget(self.pack, config)
        if self.shares_cpu:
            budget = replace(budget, separate=False)
        self._budget = budget
        texts = self.texts  # read now: the first request must not wait for the tokenizer
        config = replace(config, generator_threads=budget.generator, vlm_threads=budget.vlm)
        self._constraint = find_constraint(config.constrained)
        try:
            for name, role in self._vlms.items():
                vlm = vlm_config(pack, role, config, self._constraint)
                if name == "planner":
                    self.max_text_bytes = role.cache_length * max(map(len, vlm["token_bytes"]))
                add = core.add_planner if name == "planner" else core.add_critic
                add(vlm, _device(vlm, budget.vlm_device), name)
            if self._generator is not None:
                made = generator_config(pack, self._generator, config, texts)
                core.add_generator(made, _device(made, budget.generator_device), "generator")
        except _core.CoreError as error:
            raise from_code(*error.args) from None

    def encode(self, core: _core.Engine, job: _core.TextJob) -> None:
        """Text to token ids: templates and tokenizer live in Python, off the critical path but for refinements."""
        try:
            ids, mask, cut = self.texts.encode(job)
        except InterleaveError as error:
            core.fail_text(job.id, error.code, error.message)
        else:
            core.finish_text(job.id, ids, mask, cut)

    def take_calls(self, request: int) -> Mapping[str, Any]:  # noqa: ARG002
        """None: calls of graphs are not recorded, as those that give equal bits can be made again."""
        return {}

    def detach(self) -> None:
        """There is nothing of it in Python but the tokenizer worker, which is the engine's."""

    @cached_property
    def texts(self) -> TextEncoder:
        """Tokenizers and templates of the pack; also what the reference loop encodes with."""
        return TextEncoder.of_pack(self.pack.path, self.pack.manifest)


def native_role(pack: Pack, name: str, kind: type[Role]) -> Role:
    """The planner, critic or generator of a pack, to be run here.

    Raises:
        BadPackError: There is none, or it runs elsewhere.
    """
    role = getattr(pack.manifest.roles, name)
    if role is None:
        raise BadPackError(f"[native] {pack.path} has no {name}", hint="use a pack with that role")
    if not isinstance(role, kind):
        raise BadPackError(
            f"[native] the {name} of {pack.path} runs on {role}: there are no graphs of it",
            hint=f"export the {name} to graphs, or use a pack that has them",
        )
    return role


def vlm_config(
    pack: Pack, role: VlmRole, config: EngineConfig, constraint: Constraint | None = None
) -> dict[str, Any]:
    """What the core is told of a planner or critic; without a `constraint` the configuration's own is found."""
    parts, step = role.parts, role.parts.get("decode_graph")
    token_bytes, special = _token_table(pack.path / role.token_bytes)
    _check_table(pack.path / role.token_bytes, token_bytes, role)
    told = {
        "family": role.family,
        "decoder": _graph(pack, parts["decoder"]),
        "vision": _graph(pack, parts["vision"]),
        "decode_graph": _graph(pack, step) if step else "",
        "slots": role.slots if _may_batch(pack, config, role.batch_invariant) else 1,
        "draft_tokens": config.draft_tokens if config.batching and role.batch_invariant else 0,
        "reuse_prefix": role.batch_invariant or pack.manifest.lossless == "replay",
        "token_bytes": token_bytes,
        "special_tokens": special,
        "session": _session(pack, role, config, config.budget().vlm),
        "grammars": _grammars(pack, role, constraint or find_constraint(config.constrained)),
        "vision_cache": config.vision_cache,
    }
    for source, names in (
        (role, ("cache_length", "prefill_chunk", "prefill_rows")),
        (
            role.architecture,
            (
                *("layers", "hidden", "kv_heads", "head_dim", "vocab", "deepstack_levels"),
                *("image_token_id", "eos_token_ids"),
            ),
        ),
        (
            role.vision_config,
            (*_SEEN, "max_pixels_many", "many"),
        ),
        (role.generation, ("max_new_tokens", "temperature", "top_k", "top_p")),
    ):
        told.update((name, getattr(source, name)) for name in names)
    if role.verdict_tokens is not None:
        told["true_tokens"], told["false_tokens"] = role.verdict_tokens.true, role.verdict_tokens.false
        told["verdict_threshold"] = role.verdict_threshold
    _check_memory(pack, role, told)
    return told


def _grammars(pack: Pack, role: VlmRole, constraint: Constraint) -> list[dict[str, Any]]:
    """The grammars of the answers that the role is asked for."""
    spec = role.grammar
    if constraint.version is None or not spec.constrain:
        return []
    grammars = []
    for name in ("narrative", "guidance", "critic"):
        if name in role.templates:
            path = pack.path / spec.files[name] if name in spec.files else None
            text = answer_grammar(
                name, path, reasoning=spec.reasoning, max_new_tokens=role.generation.max_new_tokens
            )
            whole, closing = text.whole, text.closing
            grammars.append({"name": text.name, "whole": whole, "closing": closing, "reserve": spec.reserve})
    return grammars


def generator_config(
    pack: Pack, role: GeneratorRole, config: EngineConfig, texts: TextEncoder
) -> dict[str, Any]:
    """What the core is told of a generator; `texts` encodes its negative prompt."""
    slots = role.slots if _may_batch(pack, config, role.batch_invariant) else 1
    names = ("latent_channels", "text_dim", "max_sequence_length", "token_pixels", "reference_time")
    return {
        **{name: getattr(role, name) for name in names},
        **_guidance(role, texts),
        **_conditioning(role, texts),
        "shift": role.scheduler.value or 0.0,
        "shift_line": [number for point in role.scheduler.line or () for number in point],
        "shift_terminal": role.scheduler.terminal or 0.0,
        "family": role.family,
        "parts": [{"name": name, "path": _graph(pack, part)} for name, part in role.parts.items()],
        "default_width": role.image.width,
        "default_height": role.image.height,
        "default_steps": role.scheduler.num_inference_steps,
        "slots": slots,
        "max_batch": slots,
        "latent_cache": config.latent_cache,
        "session": _session(pack, role, config, config.budget().generator),
    }


def _guidance(role: GeneratorRole, texts: TextEncoder) -> dict[str, Any]:
    if role.guidance is None:
        return {}
    found = texts.generate(role.guidance.negative)
    return {
        "guidance": role.guidance.scale,
        "rescale_guidance": role.guidance.rescale,
        "negative_ids": found.ids.tolist(),
        "negative_mask": found.mask.tolist(),
    }


def _conditioning(role: GeneratorRole, texts: TextEncoder) -> dict[str, Any]:
    seen = role.conditioning
    if seen is None:
        return {}
    return {
        **{name: getattr(seen.vision_config, name) for name in _SEEN},
        "image_token_id": seen.image_token_id,
        "prompt_skip": seen.skip,
        "seen_area": seen.seen_area,
        "encoded_area": seen.encoded_area,
        "between_pictures": texts.between_pictures(role.references),
    }


def _may_batch(pack: Pack, config: EngineConfig, invariant: bool) -> bool:
    """A graph whose rows depend on their neighbours is batched only where the pack gives up bit-equality."""
    return config.batching and (invariant or pack.manifest.lossless == "replay")


def _graph(pack: Pack, part: Part) -> str:
    """The path of a graph; its inputs and outputs must be those of the family's contract."""
    for name, kind in part.types.items():
        raise BadPackError(
            f"[native] {name} of {part.file} is {kind}: the native runtime knows the contract's types alone",
            hint="export that graph with inputs and outputs of the contract's types",
        )
    return str(pack.path / part.file)


def _session(pack: Pack, role: VlmRole | GeneratorRole, config: EngineConfig, threads: int) -> dict[str, Any]:
    providers = list(config.providers or role.providers)
    require_engines(pack, role)
    require_proof(pack, providers, batching=config.batching)
    return {"intra_op_threads": threads, "providers": providers}


def _device(told: Mapping[str, Any], cpu: str) -> str:
    """The device that a lane occupies: its first provider's, on the CPU the one of the thread budget."""
    first: str = told["session"]["providers"][0]
    if first == "CPUExecutionProvider":
        return cpu
    return "cuda:0" if first == "CUDAExecutionProvider" else first.removesuffix("ExecutionProvider").lower()


def _check_memory(pack: Pack, role: VlmRole, told: Mapping[str, Any]) -> None:
    """Before it is taken: where memory is overcommitted, the system ends the process instead of saying no."""
    slots, free = told["slots"], free_memory()
    wanted = role.state_bytes(slots)
    if free is not None and wanted > free // 2 and told["session"]["providers"][0] == "CPUExecutionProvider":
        raise BadPackError(
            f"[native] {role.parts['decoder'].file} of {pack.path}: {slots} slots of {role.cache_length} tokens take "
            f"{gb(wanted)}, and {gb(free)} of memory are free here",
            hint="lower slots or cache_length of that role in pack.json, or use a machine with more memory",
        )


def _check_table(path: Path, table: Sequence[bytes], role: VlmRole) -> None:
    """Every token that the model can write has its bytes, and those that spell a boolean spell it."""
    size, said = role.architecture.vocab, role.verdict_tokens
    if len(table) < size:
        raise BadPackError(
            f"[token_bytes] {path} has {len(table)} tokens, the vocabulary of its model {size}",
            hint="export the pack again",
        )
    for word, ids in () if said is None else (("true", said.true), ("false", said.false)):
        for number in ids:
            if table[number].strip().lower() != word.encode():
                raise BadPackError(
                    f"[token_bytes] verdict_tokens.{word} names token {number}, which is {table[number]!r} in {path}",
                    hint="correct it in pack.json, or export the pack again",
                )


def _token_table(path: Path) -> tuple[list[bytes], list[int]]:
    raw = read_json(path, what="token_bytes", error=BadPackError, hint="export the pack again")
    try:
        tokens = [base64.b64decode(token, validate=True) for token in raw["tokens"]]
        return tokens, [operator.index(number) for number in raw["special"]]
    except (ValueError, KeyError, TypeError) as error:
        raise BadPackError(
            f"[token_bytes] {path} cannot be read: {error}", hint="export the pack again"
        ) from None
