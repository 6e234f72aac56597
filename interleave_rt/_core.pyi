"""The native core of interleave_rt; its face is the package itself."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy
import numpy.typing
from numpy.typing import NDArray


class CoreError(Exception):
    """
    Raised by the core; args are (code, message), codes as in interleave_rt.errors.
    """

def seed_of(request_seed: int, rule: str, kind: str, step: int, attempt: int, retry: int) -> int:
    """
    The seed of one call (plan, generate, judge), by the rule counter or reference: independent of the order of calls.
    """

class PlanScanner:
    """Reads a planner's answer as its bytes arrive."""

    def __init__(self, max_steps: int, first_number: int) -> None:
        """
        `first_number`: 1 in narrative mode; 0 in guidance mode (any number may come first).
        """

    def feed(self, bytes: bytes) -> None: ...

    def closed(self) -> list[dict[str, Any]]:
        """The steps that have closed so far."""

    def done(self) -> bool: ...

    def violation(self) -> str: ...

    def finish(self) -> dict[str, Any]:
        """
        As interleave_rt.wire.WrittenPlan, with its reasoning: the answer has ended, and what carries no tag is read.
        """

class VerdictScanner:
    """Reads a critic's answer as its bytes arrive."""

    def __init__(self) -> None: ...

    def feed(self, bytes: bytes) -> None: ...

    def accepted(self) -> bool | None:
        """The boolean, as soon as it is complete."""

    def boolean_started_at(self) -> int | None: ...

    def done(self) -> bool: ...

    def violation(self) -> str: ...

    def finish(self) -> dict[str, Any] | None:
        """
        The verdict: the answer has ended, and what carries no tag is read. None: unreadable.
        """

def load_runtime(address: int) -> None:
    """
    Gives the core ONNX Runtime: the address of OrtGetApiBase in the loaded library.
    """

def runtime_version() -> str: ...

def gaussian_noise(seed: int, n: int) -> Annotated[NDArray[numpy.float32], dict(shape=(None,))]:
    """The generator's noise: float32 [n], a function of seed and index."""

def flow_sigmas(steps: int, tokens: int, shift: float = 0.0, terminal: float = 0.0, line: Sequence[float] = []) -> Annotated[NDArray[numpy.float32], dict(shape=(None,))]:
    """
    Sigmas of the denoising schedule: float32 [steps + 1]; shift 0: on the line through two points (tokens, mu), or FLUX.2's own; terminal 0: none.
    """

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

def time_graph(path: str, shapes: Mapping[str, Sequence[int]], threads: int, runs: int) -> float:
    """
    Seconds of the quickest of some runs on the CPU, on zeros; `shapes` of inputs and outputs by name, where dimensions that the graph leaves open are not 1.
    """

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

    def __init__(self, config: dict[str, Any], slots: int = 1) -> None: ...

    def answers(self, questions: Sequence[tuple[Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], Sequence[Annotated[NDArray[numpy.uint8], dict(shape=(None, None, 3), order='C', device='cpu', writable=False)]], int, int]]) -> list[Answer]:
        """
        Answers (ids, images, seed, retry) tuples, `slots` at once; for measurements.
        """

    def constrain(self, on: bool) -> None:
        """
        Off: the next questions are asked as if the role had no grammar; for measurements.
        """

    def counters(self) -> dict[str, Any]: ...

    def answer(self, ids: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], images: Sequence[Annotated[NDArray[numpy.uint8], dict(shape=(None, None, 3), order='C', device='cpu', writable=False)]], seed: int, retry: int = 0) -> Answer:
        """
        Decodes to the end of the answer. `ids` holds one image token for each image.
        """

class NativeGenerator:
    """The generator called synchronously at batch 1."""

    def __init__(self, config: dict[str, Any]) -> None: ...

    def generate(self, ids: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], mask: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], sources: Sequence[Annotated[NDArray[numpy.uint8], dict(shape=(None, None, 3), order='C', device='cpu', writable=False)]], seed: int, width: int = 0, height: int = 0, steps: int = 0) -> Annotated[NDArray[numpy.uint8], dict(shape=(None, None, None), writable=False)]:
        """Makes one image: uint8 [height, width, 3], read-only."""

class ScriptedRoles:
    """
    The answers of the scripted lanes as plain functions, for a reference loop. Images are known by hash_pixels; 0 = no image.
    """

    def __init__(self, script: dict[str, Any]) -> None: ...

    def plan(self, text: str, mode: str, max_steps: int, seed: int) -> dict[str, Any]:
        """As interleave_rt.wire.WrittenPlan."""

    def generate(self, prompt: str, source_hash: int, seed: int, width: int = 0, height: int = 0, denoising_steps: int = 0) -> Annotated[NDArray[numpy.uint8], dict(shape=(None, None, None), writable=False)]: ...

    def judge(self, original_prompt: str, prompt: str, before_hash: int, after_hash: int, seed: int) -> dict[str, Any] | None:
        """None: the answer is unreadable."""

def simulate_load(load: dict[str, Any], tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """What becomes of simulated requests; work and times in microseconds."""

class TextJob:
    """Work for the text worker."""

    @property
    def id(self) -> int: ...

    @property
    def kind(self) -> str: ...

    @property
    def mode(self) -> str: ...

    @property
    def image_count(self) -> int: ...

    @property
    def text(self) -> str: ...

    @property
    def original(self) -> str: ...

class Engine:
    """Scheduler, lanes, images and readers. Thread-safe."""

    def __init__(self, config: dict[str, Any]) -> None: ...

    def set_draining(self, draining: bool) -> None: ...

    def live(self) -> int:
        """Requests that were accepted and not read to their end."""

    def close(self) -> None:
        """Cancels what is under way and joins all threads."""

    def now_us(self) -> int:
        """The clock of traces, in microseconds."""

    def lanes(self) -> list[dict[str, Any]]: ...

    def counters(self) -> dict[str, Any]: ...

    def add_planner(self, config: dict[str, Any], device: str, name: str) -> None: ...

    def add_critic(self, config: dict[str, Any], device: str, name: str) -> None: ...

    def add_generator(self, config: dict[str, Any], device: str, name: str) -> None: ...

    def add_scripted(self, script: dict[str, Any]) -> None:
        """Adds three scripted lanes. They need no text worker."""

    def submit(self, request: dict[str, Any], images: Sequence[numpy.typing.NDArray[numpy.uint8]] = ()) -> int:
        """Takes a request with its pictures, uint8 [height, width, 3]."""

    def next_event(self, request: int, timeout_ms: int) -> dict[str, Any] | None:
        """
        The next event as interleave_rt.wire reads it, or None. The `pixels` of an attempt_image are a read-only array that outlives the engine.
        """

    def cancel(self, request: int) -> None: ...

    def forget(self, request: int) -> None:
        """Gives up the trace; a running request is cancelled."""

    def watch(self, request: int) -> None:
        """From now on next_news tells of it."""

    def next_news(self, timeout_ms: int) -> list[int]:
        """Watched requests that have something new to read."""

    def trace(self, request: int) -> dict[str, list[dict[str, Any]]]:
        """`spans` and `decisions`, times on the engine's clock."""

    def encode_latencies_us(self, texts: Sequence[str], original: str | None = None, pause_ms: float = 1.0) -> list[float]:
        """
        Has the text worker encode generator prompts, or with `original` a critic's pairs, one after the other; microseconds until each was back with the lanes. For measurements.
        """

    def poll_text(self, timeout_ms: int, most: int) -> list[TextJob] | None:
        """Texts to encode; None: the engine is closed."""

    def finish_text(self, job: int, ids: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], mask: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None, cut: bool = False) -> None:
        """`cut`: the text was longer than its encoder reads."""

    def fail_text(self, job: int, code: str, message: str) -> None: ...

class ExternalLane:
    """
    A lane whose calls the caller runs. Thread-safe; outlives its engine. What returns a bool says whether the call is still wanted.
    """

    def poll(self, timeout_ms: int, most: int) -> tuple[list[dict[str, Any]], list[int]]:
        """
        Waits for calls or cancels: (calls, ids of calls under way that were cancelled).
        """

    def step_closed(self, call: int, step: dict[str, Any]) -> bool:
        """The next step of a plan can be read, the answer goes on."""

    def verdict_known(self, call: int, accepted: bool, p_success: float) -> bool:
        """The boolean of a verdict can be read, the answer goes on."""

    def wrote(self, call: int, answer: bytes, stop: str) -> bool:
        """
        What its model wrote, for the trace, and why it wrote no more; before its end.
        """

    def cut_prompt(self, call: int) -> bool:
        """Its model does not read its prompt to the end; before its end."""

    def progress(self, call: int) -> bool:
        """Keeps the lease of the call."""

    def wanted(self, call: int) -> bool: ...

    def finish_plan(self, call: int, plan: dict[str, Any]) -> bool:
        """As interleave_rt.wire.WrittenPlan.as_dict()."""

    def finish_image(self, call: int, pixels: Annotated[NDArray[numpy.uint8], dict(shape=(None, None, 3), order='C', device='cpu', writable=False)]) -> bool:
        """uint8 [height, width, 3]."""

    def finish_verdict(self, call: int, verdict: dict[str, Any] | None) -> bool:
        """As interleave_rt.wire.Verdict.as_dict(); None: it could not be read."""

    def fail(self, call: int, code: str, message: str) -> bool: ...

    def cancelled(self, call: int) -> bool:
        """A cancelled call was given up."""

    @property
    def closed(self) -> bool:
        """The engine is closed."""

    def counters(self) -> dict[str, Any]: ...

def add_external_lane(engine: Engine, role: str, capacity: int, device: str, name: str, lease_s: float) -> ExternalLane:
    """
    A worker that is silent, or keeps a call without a sign, for longer than `lease_s` loses its calls.
    """
