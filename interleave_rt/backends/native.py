"""A pack's roles as C++ lanes over ONNX Runtime; the manifest says everything that the lanes are told."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from interleave_rt import _core
from interleave_rt.config import EngineConfig
from interleave_rt.errors import BadPackError, BadRequestError, InterleaveError, from_code
from interleave_rt.pack import Pack
from interleave_rt.pack.grammar import answer_grammar
from interleave_rt.pack.manifest import ROLES, GeneratorRole, Part, VlmRole
from interleave_rt.pack.tokens import TextEncoder
from interleave_rt.request import Options

from .constrain import Constraint, find_constraint
from .ort import load_runtime
from .proof import require_proof

__all__ = ["NativeBackend", "generator_config", "native_role", "vlm_config"]

Role = TypeVar("Role", VlmRole, GeneratorRole)


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
        self._constraint = Constraint(None)

    def info(self) -> Mapping[str, str]:
        """Name, version and promise of the pack, and whether its answers are constrained."""
        return {**self.pack.info(), "constrained": str(self._constraint)}

    def check(self, options: Options) -> None:
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
        pack, budget = self.pack, config.budget()
        self._constraint = find_constraint(config.constrained)
        try:
            for name, role in self._vlms.items():
                vlm = vlm_config(pack, role, config, self._constraint)
                add = core.add_planner if name == "planner" else core.add_critic
                add(vlm, _device(vlm.session, budget.vlm_device), name)
            if self._generator is not None:
                made = generator_config(pack, self._generator, config)
                core.add_generator(made, _device(made.session, budget.generator_device), "generator")
            _ = self.texts  # read now: the first request must not wait for the tokenizer
        except _core.CoreError as error:
            raise from_code(*error.args) from None

    def encode(self, core: _core.Engine, job: _core.TextJob) -> None:
        """Text to token ids: templates and tokenizer live in Python, off the critical path but for refinements."""
        try:
            ids, mask = self.texts.encode(job)
        except InterleaveError as error:
            core.fail_text(job.id, error.code, error.message)
        else:
            core.finish_text(job.id, ids, mask)

    def detach(self) -> None:
        """There is nothing of it in Python but the tokenizer worker, which is the engine's."""

    @cached_property
    def texts(self) -> TextEncoder:
        """Tokenizers and templates of the pack; also what the reference loop encodes with."""
        return TextEncoder.of_pack(self.pack.path, self.pack.manifest)


def native_role(pack: Pack, name: str, kind: type[Role]) -> Role:
    """The planner, critic or generator of a pack, to be run here.

    Raises:
        BadPackError: There is none, or its `runtime` is another.
    """
    role = getattr(pack.manifest.roles, name)
    if not isinstance(role, kind):
        raise BadPackError(f"[native] {pack.path} has no {name}", hint="use a pack with that role")
    if role.runtime != "native":
        raise BadPackError(
            f"[native] the {name} of {pack.path} asks for the runtime {role.runtime!r}; what there is to serve it is: native",
            hint=f"export the {name} to graphs and set roles.{name}.runtime to 'native', or use another pack",
        )
    return role


def vlm_config(
    pack: Pack, role: VlmRole, config: EngineConfig, constraint: Constraint | None = None
) -> _core.VlmConfig:
    """What the core is told of a planner or critic; without a `constraint` the configuration's own is found."""
    made = _core.VlmConfig()
    made.family = role.family
    parts = role.parts
    made.decoder, made.vision = _graph(pack, parts["decoder"]), _graph(pack, parts["vision"])
    arch, vision, generation = role.architecture, role.vision_config, role.generation
    for name in ("layers", "hidden", "kv_heads", "head_dim", "vocab", "deepstack_levels", "image_token_id"):
        setattr(made, name, getattr(arch, name))
    made.eos_token_ids = list(arch.eos_token_ids)
    for name in ("patch_size", "merge_size", "temporal_patch_size", "min_pixels", "max_pixels"):
        setattr(made, name, getattr(vision, name))
    made.image_mean, made.image_std = vision.image_mean, vision.image_std
    made.max_pixels_many, made.many = vision.max_pixels_many, vision.many
    made.max_new_tokens = generation.max_new_tokens
    made.temperature, made.top_k, made.top_p = generation.temperature, generation.top_k, generation.top_p
    made.cache_length, made.prefill_chunk = role.cache_length, role.prefill_chunk
    step = parts.get("decode_graph")
    made.decode_graph = _graph(pack, step) if step else ""
    made.slots = role.slots if _may_batch(pack, config, role.batch_invariant) else 1
    made.token_bytes, made.special_tokens = _token_table(pack.path / role.token_bytes)
    if role.verdict_tokens is not None:
        made.true_tokens = list(role.verdict_tokens.true)
        made.false_tokens = list(role.verdict_tokens.false)
        made.verdict_threshold = role.verdict_threshold
    made.session = _session(pack, role, config, config.budget().vlm)
    _constrain(made, pack, role, constraint or find_constraint(config.constrained))
    return made


def _constrain(made: _core.VlmConfig, pack: Pack, role: VlmRole, constraint: Constraint) -> None:
    """Gives the role the grammars of the answers that it is asked for."""
    spec = role.grammar
    if constraint.version is None or not spec.constrain:
        return
    grammars = []
    for name in ("narrative", "guidance", "critic"):
        if name in role.templates:
            path = pack.path / spec.files[name] if name in spec.files else None
            text = answer_grammar(
                name, path, reasoning=spec.reasoning, max_new_tokens=role.generation.max_new_tokens
            )
            grammars.append(_core.GrammarText(text.name, text.whole, text.closing, spec.reserve))
    made.grammars = grammars


def generator_config(pack: Pack, role: GeneratorRole, config: EngineConfig) -> _core.GeneratorConfig:
    """What the core is told of a generator."""
    made = _core.GeneratorConfig()
    made.family = role.family
    made.parts = [(name, _graph(pack, part)) for name, part in role.parts.items()]
    for name in ("latent_channels", "text_dim", "max_sequence_length", "token_pixels", "reference_time"):
        setattr(made, name, getattr(role, name))
    made.default_width, made.default_height = role.image.width, role.image.height
    made.default_steps = role.scheduler.num_inference_steps
    made.slots = role.slots if _may_batch(pack, config, role.batch_invariant) else 1
    made.max_batch = made.slots
    made.session = _session(pack, role, config, config.budget().generator)
    return made


def _may_batch(pack: Pack, config: EngineConfig, invariant: bool) -> bool:
    """A graph whose rows depend on their neighbours is batched only where the pack gives up bit-equality."""
    return config.batching and (invariant or pack.manifest.lossless == "scheduling-only")


def _graph(pack: Pack, part: Part) -> str:
    """The path of a graph; its inputs and outputs must be those of the family's contract."""
    for name, kind in part.types.items():
        raise BadPackError(
            f"[native] {name} of {part.file} is {kind}: the native runtime knows the contract's types alone",
            hint="export that graph with inputs and outputs of the contract's types",
        )
    return str(pack.path / part.file)


def _session(
    pack: Pack, role: VlmRole | GeneratorRole, config: EngineConfig, threads: int
) -> _core.SessionOptions:
    providers = tuple(config.providers or role.providers)
    require_proof(pack, providers, batching=config.batching)
    made = _core.SessionOptions()
    made.intra_op_threads = threads
    made.inter_op_threads = 1
    made.spinning = False
    made.providers = list(providers)
    return made


def _device(session: _core.SessionOptions, cpu: str) -> str:
    """The device that a lane occupies: its first provider's, on the CPU the one of the thread budget."""
    first = session.providers[0]
    return cpu if first == "CPUExecutionProvider" else first.removesuffix("ExecutionProvider").lower()


def _token_table(path: Path) -> tuple[list[bytes], list[int]]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return [base64.b64decode(token, validate=True) for token in raw["tokens"]], list(raw["special"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadPackError(
            f"[token_bytes] {path} cannot be read: {error}", hint="export the pack again"
        ) from None
