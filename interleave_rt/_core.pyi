"""The native core of interleave_rt; its face is the package itself."""

from collections.abc import Mapping, Sequence
import enum
from typing import Annotated, Any

import numpy
from numpy.typing import NDArray


class CoreError(Exception):
    """
    Raised by the core; args are (code, message), codes as in interleave_rt.errors.
    """

class PlanMode(enum.Enum):
    narrative = 0

    guidance = 1

class Keep(enum.Enum):
    last = 0

    best = 1

class SeedRule(enum.Enum):
    counter = 0

    reference = 1

class SpeculationMode(enum.Enum):
    off = 0

    depth = 1

    auto = 2

class Outcome(enum.Enum):
    finished = 0

    failed = 1

    cancelled = 2

    deadline = 3

class ErrorCode(enum.Enum):
    """The codes of CoreError, by name."""

    bad_request = 0

    bad_pack = 1

    limit_exceeded = 2

    backend_failed = 3

    deadline = 4

    cancelled = 5

    overloaded = 6

    internal = 7

class RequestSpec:
    """What a caller asks for; images are keys of put_image."""

    def __init__(self) -> None: ...

    @property
    def text(self) -> str: ...

    @text.setter
    def text(self, arg: str, /) -> None: ...

    @property
    def images(self) -> list[str]: ...

    @images.setter
    def images(self, arg: Sequence[str], /) -> None: ...

    @property
    def mode(self) -> PlanMode: ...

    @mode.setter
    def mode(self, arg: PlanMode, /) -> None: ...

    @property
    def seed(self) -> int: ...

    @seed.setter
    def seed(self, arg: int, /) -> None: ...

    @property
    def seed_rule(self) -> SeedRule: ...

    @seed_rule.setter
    def seed_rule(self, arg: SeedRule, /) -> None: ...

    @property
    def t_max(self) -> int: ...

    @t_max.setter
    def t_max(self, arg: int, /) -> None: ...

    @property
    def max_steps(self) -> int: ...

    @max_steps.setter
    def max_steps(self, arg: int, /) -> None: ...

    @property
    def keep(self) -> Keep: ...

    @keep.setter
    def keep(self, arg: Keep, /) -> None: ...

    @property
    def judge_last(self) -> bool: ...

    @judge_last.setter
    def judge_last(self, arg: bool, /) -> None: ...

    @property
    def width(self) -> int: ...

    @width.setter
    def width(self, arg: int, /) -> None: ...

    @property
    def height(self) -> int: ...

    @height.setter
    def height(self, arg: int, /) -> None: ...

    @property
    def denoising_steps(self) -> int: ...

    @denoising_steps.setter
    def denoising_steps(self, arg: int, /) -> None: ...

    @property
    def timeout_s(self) -> float:
        """Seconds from the submission on; 0 = no deadline."""

    @timeout_s.setter
    def timeout_s(self, arg: float, /) -> None: ...

    @property
    def speculation_mode(self) -> SpeculationMode: ...

    @speculation_mode.setter
    def speculation_mode(self, arg: SpeculationMode, /) -> None: ...

    @property
    def speculation_depth(self) -> int: ...

    @speculation_depth.setter
    def speculation_depth(self, arg: int, /) -> None: ...

    @property
    def stream_plan(self) -> bool: ...

    @stream_plan.setter
    def stream_plan(self, arg: bool, /) -> None: ...

    @property
    def early_verdict(self) -> bool: ...

    @early_verdict.setter
    def early_verdict(self, arg: bool, /) -> None: ...

    @property
    def skip_last_judge(self) -> bool: ...

    @skip_last_judge.setter
    def skip_last_judge(self, arg: bool, /) -> None: ...

    @property
    def encode_text_ahead(self) -> bool: ...

    @encode_text_ahead.setter
    def encode_text_ahead(self, arg: bool, /) -> None: ...

    @property
    def cache_vision(self) -> bool: ...

    @cache_vision.setter
    def cache_vision(self, arg: bool, /) -> None: ...

class PlanStep:
    """One step as the planner wrote it."""

    def __init__(self) -> None: ...

    @property
    def step_number(self) -> int: ...

    @step_number.setter
    def step_number(self, arg: int, /) -> None: ...

    @property
    def step_name(self) -> str: ...

    @step_name.setter
    def step_name(self, arg: str, /) -> None: ...

    @property
    def instruction(self) -> str | None: ...

    @instruction.setter
    def instruction(self, arg: str | None, /) -> None: ...

    @property
    def prompt(self) -> str | None: ...

    @prompt.setter
    def prompt(self, arg: str | None, /) -> None: ...

    @property
    def auxiliary_text(self) -> str | None: ...

    @auxiliary_text.setter
    def auxiliary_text(self, arg: str | None, /) -> None: ...

class Verdict:
    """What the critic said of one image."""

    def __init__(self) -> None: ...

    @property
    def readable(self) -> bool: ...

    @readable.setter
    def readable(self, arg: bool, /) -> None: ...

    @property
    def accepted(self) -> bool: ...

    @accepted.setter
    def accepted(self, arg: bool, /) -> None: ...

    @property
    def p_success(self) -> float: ...

    @p_success.setter
    def p_success(self, arg: float, /) -> None: ...

    @property
    def refined(self) -> str | None: ...

    @refined.setter
    def refined(self, arg: str | None, /) -> None: ...

    @property
    def reasoning(self) -> str: ...

    @reasoning.setter
    def reasoning(self, arg: str, /) -> None: ...

class Attempt:
    """One generation of a step; `image` is its key."""

    def __init__(self) -> None: ...

    @property
    def number(self) -> int: ...

    @number.setter
    def number(self, arg: int, /) -> None: ...

    @property
    def prompt(self) -> str: ...

    @prompt.setter
    def prompt(self, arg: str, /) -> None: ...

    @property
    def seed(self) -> int: ...

    @seed.setter
    def seed(self, arg: int, /) -> None: ...

    @property
    def image(self) -> str: ...

    @property
    def image_hash(self) -> int: ...

    @property
    def verdict(self) -> Verdict | None: ...

    @verdict.setter
    def verdict(self, arg: Verdict | None, /) -> None: ...

    @property
    def refused_unreadable(self) -> bool: ...

    @refused_unreadable.setter
    def refused_unreadable(self, arg: bool, /) -> None: ...

class StepResult:
    """One committed step; `image` is the final image's key."""

    def __init__(self) -> None: ...

    @property
    def plan(self) -> PlanStep: ...

    @plan.setter
    def plan(self, arg: PlanStep, /) -> None: ...

    @property
    def attempts(self) -> list[Attempt]: ...

    @attempts.setter
    def attempts(self, arg: Sequence[Attempt], /) -> None: ...

    @property
    def image(self) -> str | None: ...

    @property
    def accepted(self) -> bool | None: ...

    @accepted.setter
    def accepted(self, arg: bool | None, /) -> None: ...

def seed_of(request_seed: int, rule: SeedRule, kind: str, step: int, attempt: int, retry: int) -> int:
    """
    The seed of one call: counter-based, independent of the order of calls.
    """

class PlanScanner:
    """Reads a planner's answer as its bytes arrive."""

    def __init__(self, max_steps: int, first_number: int) -> None:
        """
        `first_number`: 1 in narrative mode; 0 in guidance mode (any number may come first).
        """

    def feed(self, bytes: bytes) -> None: ...

    def closed(self) -> list[PlanStep]:
        """The steps that have closed so far."""

    def done(self) -> bool: ...

    def violation(self) -> str: ...

    def finish(self) -> tuple[list[PlanStep], bool, str]:
        """(steps, truncated, reasoning) if the answer ended here."""

class VerdictScanner:
    """Reads a critic's answer as its bytes arrive."""

    def __init__(self) -> None: ...

    def feed(self, bytes: bytes) -> None: ...

    def accepted(self) -> bool | None:
        """The boolean, as soon as it is complete."""

    def boolean_started_at(self) -> int | None: ...

    def done(self) -> bool: ...

    def violation(self) -> str: ...

    def finish(self) -> Verdict:
        """The verdict if the answer ended here."""

def load_runtime(address: int) -> None:
    """
    Gives the core ONNX Runtime: the address of OrtGetApiBase in the loaded library.
    """

def runtime_version() -> str: ...

def runtime_loaded() -> bool: ...

def gaussian_noise(seed: int, n: int) -> Annotated[NDArray[numpy.float32], dict(shape=(None,))]:
    """The generator's noise: float32 [n], a function of seed and index."""

def flow_sigmas(steps: int, tokens: int) -> Annotated[NDArray[numpy.float32], dict(shape=(None,))]:
    """Sigmas of the denoising schedule: float32 [steps + 1]."""

def hash_pixels(pixels: Annotated[NDArray[numpy.uint8], dict(shape=(None, None, 3), order='C', device='cpu', writable=False)]) -> int:
    """Content hash of uint8 [height, width, 3]."""

def resize_bicubic(pixels: Annotated[NDArray[numpy.uint8], dict(shape=(None, None, 3), order='C', device='cpu', writable=False)], width: int, height: int) -> Annotated[NDArray[numpy.uint8], dict(shape=(None, None, None), writable=False)]:
    """As Pillow's BICUBIC, bit for bit."""

def smart_resize(width: int, height: int, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """(width, height) that a vision encoder reads an image at."""

def build_info() -> dict[str, str]: ...

def llguidance_symbols() -> list[str]:
    """
    Names of the functions whose addresses load_llguidance wants, in that order.
    """

def load_llguidance(addresses: Sequence[int]) -> None:
    """
    Takes llguidance's functions and tries them on a grammar with a known answer.
    """

def llguidance_version() -> str:
    """Empty while it is not loaded."""

class GrammarText:
    """A grammar of answers, in llguidance's Lark dialect."""

    def __init__(self, name: str, whole: str, closing: str = '', reserve: int = 0) -> None: ...

    @property
    def name(self) -> str: ...

    @property
    def whole(self) -> str: ...

    @property
    def closing(self) -> str: ...

    @property
    def reserve(self) -> int: ...

class SessionOptions:
    """How ONNX Runtime runs the graphs of a role."""

    def __init__(self) -> None: ...

    @property
    def intra_op_threads(self) -> int: ...

    @intra_op_threads.setter
    def intra_op_threads(self, arg: int, /) -> None: ...

    @property
    def inter_op_threads(self) -> int: ...

    @inter_op_threads.setter
    def inter_op_threads(self, arg: int, /) -> None: ...

    @property
    def spinning(self) -> bool: ...

    @spinning.setter
    def spinning(self, arg: bool, /) -> None: ...

    @property
    def providers(self) -> list[str]: ...

    @providers.setter
    def providers(self, arg: Sequence[str], /) -> None: ...

    @property
    def provider_options(self) -> dict[str, list[tuple[str, str]]]: ...

    @provider_options.setter
    def provider_options(self, arg: Mapping[str, Sequence[tuple[str, str]]], /) -> None: ...

    @property
    def config(self) -> list[tuple[str, str]]: ...

    @config.setter
    def config(self, arg: Sequence[tuple[str, str]], /) -> None: ...

class VlmConfig:
    """A planner or critic on the native runtime."""

    def __init__(self) -> None: ...

    @property
    def family(self) -> str: ...

    @family.setter
    def family(self, arg: str, /) -> None: ...

    @property
    def decoder(self) -> str: ...

    @decoder.setter
    def decoder(self, arg: str, /) -> None: ...

    @property
    def vision(self) -> str: ...

    @vision.setter
    def vision(self, arg: str, /) -> None: ...

    @property
    def layers(self) -> int: ...

    @layers.setter
    def layers(self, arg: int, /) -> None: ...

    @property
    def hidden(self) -> int: ...

    @hidden.setter
    def hidden(self, arg: int, /) -> None: ...

    @property
    def kv_heads(self) -> int: ...

    @kv_heads.setter
    def kv_heads(self, arg: int, /) -> None: ...

    @property
    def head_dim(self) -> int: ...

    @head_dim.setter
    def head_dim(self, arg: int, /) -> None: ...

    @property
    def vocab(self) -> int: ...

    @vocab.setter
    def vocab(self, arg: int, /) -> None: ...

    @property
    def deepstack_levels(self) -> int: ...

    @deepstack_levels.setter
    def deepstack_levels(self, arg: int, /) -> None: ...

    @property
    def image_token_id(self) -> int: ...

    @image_token_id.setter
    def image_token_id(self, arg: int, /) -> None: ...

    @property
    def eos_token_ids(self) -> list[int]: ...

    @eos_token_ids.setter
    def eos_token_ids(self, arg: Sequence[int], /) -> None: ...

    @property
    def cache_length(self) -> int: ...

    @cache_length.setter
    def cache_length(self, arg: int, /) -> None: ...

    @property
    def slots(self) -> int: ...

    @slots.setter
    def slots(self, arg: int, /) -> None: ...

    @property
    def prefill_chunk(self) -> int: ...

    @prefill_chunk.setter
    def prefill_chunk(self, arg: int, /) -> None: ...

    @property
    def decode_graph(self) -> str: ...

    @decode_graph.setter
    def decode_graph(self, arg: str, /) -> None: ...

    @property
    def patch_size(self) -> int: ...

    @patch_size.setter
    def patch_size(self, arg: int, /) -> None: ...

    @property
    def merge_size(self) -> int: ...

    @merge_size.setter
    def merge_size(self, arg: int, /) -> None: ...

    @property
    def temporal_patch_size(self) -> int: ...

    @temporal_patch_size.setter
    def temporal_patch_size(self, arg: int, /) -> None: ...

    @property
    def image_mean(self) -> list[float]: ...

    @image_mean.setter
    def image_mean(self, arg: Sequence[float], /) -> None: ...

    @property
    def image_std(self) -> list[float]: ...

    @image_std.setter
    def image_std(self, arg: Sequence[float], /) -> None: ...

    @property
    def min_pixels(self) -> int: ...

    @min_pixels.setter
    def min_pixels(self, arg: int, /) -> None: ...

    @property
    def max_pixels(self) -> int: ...

    @max_pixels.setter
    def max_pixels(self, arg: int, /) -> None: ...

    @property
    def max_pixels_many(self) -> int: ...

    @max_pixels_many.setter
    def max_pixels_many(self, arg: int, /) -> None: ...

    @property
    def many(self) -> int: ...

    @many.setter
    def many(self, arg: int, /) -> None: ...

    @property
    def true_tokens(self) -> list[int]: ...

    @true_tokens.setter
    def true_tokens(self, arg: Sequence[int], /) -> None: ...

    @property
    def false_tokens(self) -> list[int]: ...

    @false_tokens.setter
    def false_tokens(self, arg: Sequence[int], /) -> None: ...

    @property
    def verdict_threshold(self) -> float: ...

    @verdict_threshold.setter
    def verdict_threshold(self, arg: float, /) -> None: ...

    @property
    def max_new_tokens(self) -> int: ...

    @max_new_tokens.setter
    def max_new_tokens(self, arg: int, /) -> None: ...

    @property
    def vision_cache(self) -> int: ...

    @vision_cache.setter
    def vision_cache(self, arg: int, /) -> None: ...

    @property
    def session(self) -> SessionOptions: ...

    @session.setter
    def session(self, arg: SessionOptions, /) -> None: ...

    @property
    def temperature(self) -> float: ...

    @temperature.setter
    def temperature(self, arg: float, /) -> None: ...

    @property
    def top_k(self) -> int: ...

    @top_k.setter
    def top_k(self, arg: int, /) -> None: ...

    @property
    def top_p(self) -> float: ...

    @top_p.setter
    def top_p(self, arg: float, /) -> None: ...

    @property
    def special_tokens(self) -> list[int]: ...

    @special_tokens.setter
    def special_tokens(self, arg: Sequence[int], /) -> None: ...

    @property
    def grammars(self) -> list[GrammarText]: ...

    @grammars.setter
    def grammars(self, arg: Sequence[GrammarText], /) -> None: ...

    def set_matcher_factory(self, factory: object) -> None:
        """
        Matchers from `factory(text)`, in Python and under the GIL, instead of llguidance's C interface.
        """

    @property
    def token_bytes(self) -> list[bytes]: ...

    @token_bytes.setter
    def token_bytes(self, arg: Sequence[bytes], /) -> None: ...

class GeneratorConfig:
    """An image generator on the native runtime."""

    def __init__(self) -> None: ...

    @property
    def family(self) -> str: ...

    @family.setter
    def family(self, arg: str, /) -> None: ...

    @property
    def parts(self) -> list[tuple[str, str]]:
        """Graphs as (name, path), by the names of the family."""

    @parts.setter
    def parts(self, arg: Sequence[tuple[str, str]], /) -> None: ...

    @property
    def latent_channels(self) -> int: ...

    @latent_channels.setter
    def latent_channels(self, arg: int, /) -> None: ...

    @property
    def text_dim(self) -> int: ...

    @text_dim.setter
    def text_dim(self, arg: int, /) -> None: ...

    @property
    def max_sequence_length(self) -> int: ...

    @max_sequence_length.setter
    def max_sequence_length(self, arg: int, /) -> None: ...

    @property
    def token_pixels(self) -> int: ...

    @token_pixels.setter
    def token_pixels(self, arg: int, /) -> None: ...

    @property
    def reference_time(self) -> int: ...

    @reference_time.setter
    def reference_time(self, arg: int, /) -> None: ...

    @property
    def default_width(self) -> int: ...

    @default_width.setter
    def default_width(self, arg: int, /) -> None: ...

    @property
    def default_height(self) -> int: ...

    @default_height.setter
    def default_height(self, arg: int, /) -> None: ...

    @property
    def default_steps(self) -> int: ...

    @default_steps.setter
    def default_steps(self, arg: int, /) -> None: ...

    @property
    def max_batch(self) -> int: ...

    @max_batch.setter
    def max_batch(self, arg: int, /) -> None: ...

    @property
    def slots(self) -> int: ...

    @slots.setter
    def slots(self, arg: int, /) -> None: ...

    @property
    def text_cache(self) -> int: ...

    @text_cache.setter
    def text_cache(self, arg: int, /) -> None: ...

    @property
    def latent_cache(self) -> int: ...

    @latent_cache.setter
    def latent_cache(self, arg: int, /) -> None: ...

    @property
    def session(self) -> SessionOptions: ...

    @session.setter
    def session(self, arg: SessionOptions, /) -> None: ...

class Answer:
    """One whole answer of a vision-language model."""

    @property
    def text(self) -> bytes: ...

    @property
    def tokens(self) -> list[int]: ...

    @property
    def offsets(self) -> list[int]:
        """Byte offset in text at which each token begins."""

    @property
    def verdict_p(self) -> list[float]:
        """p(success) at each token, from its logits."""

    @property
    def stop(self) -> str: ...

class NativeVlm:
    """A planner or critic called synchronously, without a lane."""

    def __init__(self, config: VlmConfig, slots: int = 1) -> None: ...

    def answers(self, questions: Sequence[tuple[Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], Sequence[Annotated[NDArray[numpy.uint8], dict(shape=(None, None, 3), order='C', device='cpu', writable=False)]], int, int]]) -> list[Answer]:
        """
        Answers (ids, images, seed, retry) tuples, `slots` at once; for measurements.
        """

    def constrain(self, on: bool) -> None:
        """
        Off: the next questions are asked as if the role had no grammar; for measurements.
        """

    def counters(self) -> dict[str, int]: ...

    def answer(self, ids: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], images: Sequence[Annotated[NDArray[numpy.uint8], dict(shape=(None, None, 3), order='C', device='cpu', writable=False)]], seed: int, retry: int = 0) -> Answer:
        """
        Decodes to the end of the answer. `ids` holds one image token for each image.
        """

class NativeGenerator:
    """The generator called synchronously at batch 1."""

    def __init__(self, config: GeneratorConfig) -> None: ...

    def generate(self, ids: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], mask: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], source: Annotated[NDArray[numpy.uint8], dict(shape=(None, None, 3), order='C', device='cpu', writable=False)] | None, seed: int, width: int = 0, height: int = 0, steps: int = 0) -> Annotated[NDArray[numpy.uint8], dict(shape=(None, None, None), writable=False)]:
        """Makes one image: uint8 [height, width, 3], read-only."""

class ScriptedConfig:
    """Three made-up roles: their answers and their latencies."""

    def __init__(self) -> None: ...

    @property
    def planner_cap(self) -> int: ...

    @planner_cap.setter
    def planner_cap(self, arg: int, /) -> None: ...

    @property
    def generator_cap(self) -> int: ...

    @generator_cap.setter
    def generator_cap(self, arg: int, /) -> None: ...

    @property
    def critic_cap(self) -> int: ...

    @critic_cap.setter
    def critic_cap(self, arg: int, /) -> None: ...

    @property
    def shared(self) -> bool:
        """All lanes on one device."""

    @shared.setter
    def shared(self, arg: bool, /) -> None: ...

    @property
    def steps(self) -> int:
        """
        Steps of every plan; min_steps and max_steps for plans of different lengths.
        """

    @steps.setter
    def steps(self, arg: int, /) -> None: ...

    @property
    def seed(self) -> int: ...

    @seed.setter
    def seed(self, arg: int, /) -> None: ...

    @property
    def min_steps(self) -> int: ...

    @min_steps.setter
    def min_steps(self, arg: int, /) -> None: ...

    @property
    def max_steps(self) -> int: ...

    @max_steps.setter
    def max_steps(self, arg: int, /) -> None: ...

    @property
    def text_only_prob(self) -> float: ...

    @text_only_prob.setter
    def text_only_prob(self, arg: float, /) -> None: ...

    @property
    def unreadable_plan_prob(self) -> float: ...

    @unreadable_plan_prob.setter
    def unreadable_plan_prob(self, arg: float, /) -> None: ...

    @property
    def unreadable_verdict_prob(self) -> float: ...

    @unreadable_verdict_prob.setter
    def unreadable_verdict_prob(self, arg: float, /) -> None: ...

    @property
    def unreadable_refined_prob(self) -> float: ...

    @unreadable_refined_prob.setter
    def unreadable_refined_prob(self, arg: float, /) -> None: ...

    @property
    def failing_prob(self) -> float: ...

    @failing_prob.setter
    def failing_prob(self, arg: float, /) -> None: ...

    @property
    def accept_prob(self) -> float: ...

    @accept_prob.setter
    def accept_prob(self, arg: float, /) -> None: ...

    @property
    def accept_by_refinement(self) -> list[float]: ...

    @accept_by_refinement.setter
    def accept_by_refinement(self, arg: Sequence[float], /) -> None: ...

    @property
    def image_size(self) -> int: ...

    @image_size.setter
    def image_size(self, arg: int, /) -> None: ...

    @property
    def planner_ms(self) -> float: ...

    @planner_ms.setter
    def planner_ms(self, arg: float, /) -> None: ...

    @property
    def first_step_ms(self) -> float: ...

    @first_step_ms.setter
    def first_step_ms(self, arg: float, /) -> None: ...

    @property
    def generator_ms(self) -> float: ...

    @generator_ms.setter
    def generator_ms(self, arg: float, /) -> None: ...

    @property
    def denoise_steps(self) -> int: ...

    @denoise_steps.setter
    def denoise_steps(self, arg: int, /) -> None: ...

    @property
    def critic_ms(self) -> float: ...

    @critic_ms.setter
    def critic_ms(self, arg: float, /) -> None: ...

    @property
    def verdict_ms(self) -> float: ...

    @verdict_ms.setter
    def verdict_ms(self, arg: float, /) -> None: ...

    @property
    def jitter(self) -> float: ...

    @jitter.setter
    def jitter(self, arg: float, /) -> None: ...

    @property
    def slowdown(self) -> float: ...

    @slowdown.setter
    def slowdown(self, arg: float, /) -> None: ...

class ScriptedRoles:
    """
    The answers of the scripted lanes as plain functions, for a reference loop. Images are known by hash_pixels; 0 = no image.
    """

    def __init__(self, config: ScriptedConfig) -> None: ...

    def plan(self, text: str, mode: PlanMode, max_steps: int, seed: int) -> tuple[list[PlanStep], bool]:
        """(steps, truncated); no steps: the answer is unreadable."""

    def generate(self, prompt: str, source_hash: int, seed: int, width: int = 0, height: int = 0, denoising_steps: int = 0) -> Annotated[NDArray[numpy.uint8], dict(shape=(None, None, None), writable=False)]: ...

    def judge(self, original: str, used: str, before_hash: int, after_hash: int, seed: int) -> Verdict: ...

class SimTask:
    """One simulated request: its answers, and its work in us."""

    def __init__(self, plan: float, closes: Sequence[float], steps: Sequence[Sequence[tuple[float, float, float, int]]], t_max: int = 5) -> None: ...

class SimLane:
    """A lane of the simulator."""

    def __init__(self, role: int, capacity: int, device: str, machine: str = '', batching: Sequence[float] = [], cancel_us: int = 0, warm_us: int = 0) -> None: ...

class SimLoad:
    """A load, and what it runs on."""

    def __init__(self) -> None: ...

    @property
    def lanes(self) -> int: ...

    @lanes.setter
    def lanes(self, arg: list[SimLane], /) -> None: ...

    def set_rates(self, machine: str, rates: Sequence[Sequence[float]]) -> None:
        """
        [mask][role]: the rate of a role while exactly the roles of the mask are active.
        """

    @property
    def speculation_mode(self) -> SpeculationMode: ...

    @speculation_mode.setter
    def speculation_mode(self, arg: SpeculationMode, /) -> None: ...

    @property
    def speculation_depth(self) -> int: ...

    @speculation_depth.setter
    def speculation_depth(self, arg: int, /) -> None: ...

    def set_devices(self, stream_plan: bool, early_verdict: bool, skip_last_judge: bool) -> None: ...

    def set_overlap(self, critic_slowdown: float | None, generator_rate: float | None) -> None:
        """What the policy is told beforehand; None: it measures."""

    def set_limits(self, max_live: int, max_queued: int) -> None: ...

    @property
    def seed(self) -> int: ...

    @seed.setter
    def seed(self, arg: int, /) -> None: ...

    @property
    def reader_us(self) -> int: ...

    @reader_us.setter
    def reader_us(self, arg: int, /) -> None: ...

    @property
    def submit_us(self) -> int: ...

    @submit_us.setter
    def submit_us(self, arg: int, /) -> None: ...

    @property
    def judge_last(self) -> bool: ...

    @judge_last.setter
    def judge_last(self, arg: bool, /) -> None: ...

    @property
    def cancel_parts(self) -> int: ...

    @cancel_parts.setter
    def cancel_parts(self, arg: int, /) -> None: ...

    @property
    def concurrency(self) -> int: ...

    @concurrency.setter
    def concurrency(self, arg: int, /) -> None: ...

    @property
    def arrivals(self) -> list[int]: ...

    @arrivals.setter
    def arrivals(self, arg: Sequence[int], /) -> None: ...

    @property
    def max_events(self) -> int: ...

    @max_events.setter
    def max_events(self, arg: int, /) -> None: ...

class SimCall:
    """One call as it went; times in us."""

    @property
    def task(self) -> int: ...

    @property
    def role(self) -> int: ...

    @property
    def step(self) -> int: ...

    @property
    def attempt(self) -> int: ...

    @property
    def speculative(self) -> bool: ...

    @property
    def cancelled(self) -> bool: ...

    @property
    def used(self) -> bool: ...

    @property
    def started_us(self) -> int: ...

    @property
    def ended_us(self) -> int: ...

    @property
    def verdict_us(self) -> int: ...

    @property
    def cancel_us(self) -> int: ...

class SimRequest:
    """One request as it went; times in us."""

    @property
    def submitted_us(self) -> int: ...

    @property
    def ended_us(self) -> int: ...

    @property
    def refused(self) -> bool: ...

    @property
    def attempts(self) -> int: ...

    @property
    def images_us(self) -> list[int]: ...

    @property
    def steps(self) -> int: ...

class SimReport:
    """What became of a load."""

    @property
    def requests(self) -> list[SimRequest]: ...

    @property
    def calls(self) -> list[SimCall]: ...

    @property
    def busy_us(self) -> list[int]: ...

    @property
    def ended_us(self) -> int: ...

    @property
    def events(self) -> int: ...

    @property
    def complete(self) -> bool: ...

    @property
    def judged(self) -> list[int]: ...

    @property
    def accepted(self) -> list[int]: ...

def simulate_load(load: SimLoad, tasks: Sequence[SimTask]) -> SimReport: ...

class EngineConfig:
    """Limits of one engine; every queue and store has one."""

    def __init__(self) -> None: ...

    @property
    def max_live(self) -> int: ...

    @max_live.setter
    def max_live(self, arg: int, /) -> None: ...

    @property
    def max_queued(self) -> int: ...

    @max_queued.setter
    def max_queued(self, arg: int, /) -> None: ...

    @property
    def image_bytes(self) -> int: ...

    @image_bytes.setter
    def image_bytes(self, arg: int, /) -> None: ...

    @property
    def text_cache(self) -> int: ...

    @text_cache.setter
    def text_cache(self, arg: int, /) -> None: ...

    @property
    def max_unforgotten(self) -> int: ...

    @max_unforgotten.setter
    def max_unforgotten(self, arg: int, /) -> None: ...

    @property
    def lane_grace_s(self) -> float:
        """How long a request waits for a missing lane."""

    @lane_grace_s.setter
    def lane_grace_s(self, arg: float, /) -> None: ...

    @property
    def critic_slowdown(self) -> float | None:
        """s_c of a shared device, at least 1; None: learned."""

    @critic_slowdown.setter
    def critic_slowdown(self, arg: float | None, /) -> None: ...

    @property
    def generator_rate(self) -> float | None:
        """r_g of a shared device, over 0 and at most 1; None: learned."""

    @generator_rate.setter
    def generator_rate(self, arg: float | None, /) -> None: ...

    @property
    def batching(self) -> bool:
        """S8: several calls of a role at once on one lane."""

    @batching.setter
    def batching(self, arg: bool, /) -> None: ...

class TextJob:
    """Work for the text worker."""

    @property
    def id(self) -> int: ...

    @property
    def kind(self) -> str: ...

    @property
    def mode(self) -> PlanMode: ...

    @property
    def image_count(self) -> int: ...

    @property
    def text(self) -> str: ...

    @property
    def original(self) -> str: ...

class Span:
    """One run of a call on a lane, times on the engine's clock."""

    @property
    def lane(self) -> str: ...

    @property
    def role(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def step(self) -> int: ...

    @property
    def attempt(self) -> int: ...

    @property
    def retry(self) -> int: ...

    @property
    def speculative(self) -> bool: ...

    @property
    def queued_us(self) -> int: ...

    @property
    def started_us(self) -> int: ...

    @property
    def cancel_us(self) -> int | None:
        """When it was given up; None: it never was."""

    @property
    def ended_us(self) -> int | None:
        """None while it runs."""

    @property
    def outcome(self) -> str: ...

    @property
    def used(self) -> bool: ...

class Decision:
    """Whether to start a call ahead of a verdict, and why."""

    @property
    def at_us(self) -> int: ...

    @property
    def started(self) -> bool: ...

    @property
    def reason(self) -> str: ...

    @property
    def p(self) -> float: ...

    @property
    def gain_us(self) -> float: ...

    @property
    def depth(self) -> int: ...

    @property
    def role(self) -> str: ...

    @property
    def step(self) -> int: ...

    @property
    def attempt(self) -> int: ...

    @property
    def beyond(self) -> int:
        """Unverified verdicts before the call."""

    @property
    def undisturbed(self) -> float:
        """Probability that no committed call wants the slot meanwhile."""

    @property
    def others(self) -> int:
        """Other requests, running and queued."""

    @property
    def critic_slowdown(self) -> float | None:
        """s_c; None: not known."""

    @property
    def generator_rate(self) -> float | None:
        """r_g; None: not known."""

    @property
    def verdict_us(self) -> float | None:
        """Cv; None: not known."""

    @property
    def generate_us(self) -> float | None:
        """G; None: not known."""

class Engine:
    """Scheduler, lanes, images and readers. Thread-safe."""

    def __init__(self, config: EngineConfig) -> None: ...

    def add_planner(self, config: VlmConfig, device: str, name: str) -> None: ...

    def add_critic(self, config: VlmConfig, device: str, name: str) -> None: ...

    def add_generator(self, config: GeneratorConfig, device: str, name: str) -> None: ...

    def add_scripted(self, config: ScriptedConfig) -> None:
        """Adds three scripted lanes. They need no text worker."""

    def set_draining(self, draining: bool) -> None: ...

    def live(self) -> int:
        """Requests that were accepted and not read to their end."""

    def close(self) -> None:
        """Cancels what is under way and joins all threads."""

    def now_us(self) -> int:
        """The clock of traces, in microseconds."""

    def lanes(self) -> list[tuple[str, int, str]]:
        """(role, capacity, device) of every lane."""

    def counters(self) -> dict[str, Any]: ...

    def put_image(self, pixels: Annotated[NDArray[numpy.uint8], dict(shape=(None, None, 3), order='C', device='cpu', writable=False)]) -> str:
        """Stores uint8 [height, width, 3]; returns its key."""

    def release_image(self, key: str) -> None:
        """Takes one put_image back."""

    def submit(self, spec: RequestSpec) -> int: ...

    def next_event(self, request: int, timeout_ms: int) -> tuple[Any, ...] | None:
        """
        The next event as (kind, ...), or None: ('plan_step', index, PlanStep), ('attempt_image', step, Attempt, pixels), ('verdict', step, attempt, Verdict), ('step_committed', step, StepResult), ('ended', Outcome, code, message, truncated).
        """

    def cancel(self, request: int) -> None: ...

    def forget(self, request: int) -> None:
        """Gives up trace and images; a running request is cancelled."""

    def trace(self, request: int) -> list[Span]: ...

    def decisions(self, request: int) -> list[Decision]: ...

    def encode_latencies_us(self, texts: Sequence[str], original: str | None = None, pause_ms: float = 1.0) -> list[float]:
        """
        Has the text worker encode generator prompts, or with `original` a critic's pairs, one after the other; microseconds until each was back with the lanes. For measurements.
        """

    def poll_text(self, timeout_ms: int, most: int) -> list[TextJob]: ...

    def finish_text(self, job: int, ids: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], mask: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None) -> None: ...

    def fail_text(self, job: int, code: str, message: str) -> None: ...
