"""From what a pack says of its roles to the backend that runs them."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from interleave_rt import _core

from .backends import Backend
from .backends.apart import RoleApart
from .backends.mixed import MixedBackend
from .backends.outside import OutsideBackend, Role
from .backends.record import CallStore
from .backends.scripted import ScriptedBackend
from .checks import whole, within
from .config import EngineConfig, usable_cores
from .errors import BadPackError, BadRequestError, from_code
from .pack import Pack, load_pack
from .pack.manifest import ROLES
from .pack.spec import RoleSpec
from .roles.base import SharedRules
from .roles.prompts import Prompts

__all__ = ["OpenedRole", "PlainRoles", "exact_roles", "open_backend", "open_role", "share_devices"]


class OpenedRole(Protocol):
    """A role that runs in Python: one of the methods of `Roles`, and what is said of it.

    A generator may also say how many pictures it starts from: `references`, as of `Roles`.
    `info` gives `name`, `lossless` (`bitwise` or `replay`), `identity` (of the weights, where they are at hand),
    `device` (lanes of one device slow each other) and `capacity` (calls at once), as text.
    """

    def info(self) -> Mapping[str, str]: ...


# The modules are loaded when a role asks for them: their libraries are extras.
_OPENERS = {
    "torch": ("interleave_rt.backends.torch", {"generator": "TorchGenerator", "": "TorchVlm"}),
    "openai": ("interleave_rt.backends.openai", {"generator": "OpenAiGenerator", "": "OpenAiVlm"}),
    "scripted": ("interleave_rt.roles.scripted", {"": "ScriptedRole"}),
}
_LANE_OPTIONS = ("capacity", "device", "lease_s", "longest_call_s", "process")
_OF_ROLE: dict[str, tuple[str, ...]] = {"planner": ("declines",)}  # more options of one role
_TOLD = ("version", "lora")  # in results, beside where a role runs: of what its weights are
_GIVEN = ("role", "prompts", "directory", "url", "model", "stay")  # not by options


def open_role(role: Role, spec: RoleSpec, prompts: Prompts | None = None, stay: Any = None) -> Any:
    """Opens what runs a role outside the graphs of a pack; its models are loaded.

    Args:
        role: Which of the three.
        spec: Where it runs; an option is a keyword of the class that is opened.
        prompts: What a planner or critic is asked with; None: the built-in ones.
        stay: How a role in PyTorch shares its device.

    Raises:
        BadRequestError: There is no such option.
        BadPackError: The models cannot be used, or an extra is missing.
    """
    opener, known, anything = _opener(role, spec)
    arguments: dict[str, Any] = {
        name: value
        for name, value in spec.options.items()
        if name in known or (anything and name not in _lane_options(role))
    }
    if "role" in known:
        arguments["role"] = role
    if "prompts" in known and prompts is not None:
        arguments["prompts"] = prompts
    if stay is not None:
        arguments["stay"] = stay
    places = {"torch": [spec.place], "openai": [*spec.place.rpartition("#")[::2]]}
    try:
        return opener(*places.get(spec.runtime, []), **arguments)
    except _core.CoreError as error:
        code, message = error.args
        raise from_code(code, f"[{role}] {message}") from None
    except (TypeError, ValueError) as error:
        raise BadRequestError(
            f"[{role}] {spec} cannot be opened: {error}", hint="look at the values of its options"
        ) from error


def _opener(role: Role, spec: RoleSpec) -> tuple[Callable[..., Any], Mapping[str, Any], bool]:
    """What opens a role, its parameters, and whether it takes any option; raises where it does not take one of these."""
    module, classes = _OPENERS[spec.runtime]
    opener = getattr(import_module(module), classes.get(role, classes[""]))
    known = inspect.signature(opener).parameters
    anything = any(one.kind is one.VAR_KEYWORD for one in known.values())  # it checks them itself
    for name in spec.options:
        if name in _GIVEN or not (anything or name in known or name in _lane_options(role)):
            names = [one for one in known if one not in _GIVEN] + [*_lane_options(role)]
            raise BadRequestError(
                f"[{role}] {spec.runtime} has no option {name!r}", hint=f"options are {', '.join(names)}"
            )
    return opener, known, anything


def _lane_options(role: str) -> tuple[str, ...]:
    return (*_LANE_OPTIONS, *_OF_ROLE.get(role, ()))


def share_devices(pack: Pack, config: EngineConfig) -> Any:
    """How the roles of a pack that run in PyTorch share their devices (`Sharing`); None: there are none.

    Raises:
        LimitExceededError: They do not fit; the hint names what would.
    """
    specs = {role: spec for role, spec in pack.elsewhere.items() if spec.runtime == "torch"}
    if not specs:
        return None
    for role, spec in specs.items():
        _opener(role, spec)  # an option that does not exist is said first
    sharing = import_module("interleave_rt.backends.torch.sharing")
    models = {role: sharing.Opened(Path(spec.place), spec.options) for role, spec in specs.items()}
    return sharing.share(models, residency=config.residency, max_memory=config.max_memory)


def open_backend(pack: Pack, store: CallStore | None = None, config: EngineConfig | None = None) -> Backend:
    """The backend of a pack, whatever runtimes its roles ask for.

    Args:
        pack: Whose roles.
        store: Answers of earlier runs, for roles that do not run on graphs.
        config: Of the engine: what devices may hold, and CPU threads.

    Raises:
        BadPackError: A role is missing or cannot be opened.
    """
    # Here: where everything runs elsewhere, nothing of the native runtime is needed.
    from .backends.native import NativeBackend

    prompts = None if pack.prompts is None else Prompts.from_folder(pack.prompts)
    backends: list[Backend] = []
    here = [role for role in ROLES if role not in pack.elsewhere]
    config = config or EngineConfig()
    sharing = share_devices(pack, config)
    stays = {} if sharing is None else sharing.stays
    threads = {} if sharing is None else _threads(pack, config, sharing)
    try:
        for role, spec in pack.elsewhere.items():
            if spec.runtime == "native":
                backends.append(NativeBackend(_other(pack, role, spec), [role]))
            else:
                told = {**spec.options, **threads.get(role, {})}
                chosen = spec.model_copy(update={"options": told})
                backends.append(_outside(role, chosen, prompts, store, stays.get(role), pack.declines))
        if here:
            backends.append(NativeBackend(pack, here))
    except BaseException:
        for backend in backends:
            backend.detach()
        raise
    if len(backends) == 1 and here:
        return backends[0]
    shares_cpu = any(isinstance(one, OutsideBackend) and one.device == "cpu" for one in backends)
    for backend in backends:
        if isinstance(backend, NativeBackend):
            backend.shares_cpu = shares_cpu
    said = {**pack.info(), **({} if sharing is None else sharing.said())}
    for one in backends:
        if isinstance(one, OutsideBackend):
            said |= {f"{one.serves[0]} {name}": one.said[name] for name in _TOLD if name in one.said}
    overlaps = sharing is None or sharing.overlaps
    return MixedBackend(backends[::-1], said, overlaps=overlaps)


def _threads(pack: Pack, config: EngineConfig, sharing: Any) -> dict[str, dict[str, Any]]:
    """Option `threads` for each role on the CPU that does not say how many; none where PyTorch may choose.

    Two models are at work at a time, each in threads of its own that wait for one another at full speed: more of them
    than there are cores cost more than speculation saves.
    """
    there = sharing.demands.get("cpu", ())
    if len(there) < 2 or not sharing.overlaps or "OMP_NUM_THREADS" in os.environ:
        return {}
    roles = {role: pack.elsewhere[role].options for demand in there for role in demand.roles}
    # It holds for a whole process, so what one of its roles asks for is for all of them.
    given = [one["threads"] for one in roles.values() if "threads" in one and one.get("process") != "own"]
    half = max(1, (config.threads or usable_cores()) // 2)
    return {
        role: {"threads": given[0] if given and options.get("process") != "own" else half}
        for role, options in roles.items()
        if "threads" not in options
    }


def exact_roles(backend: Backend, config: EngineConfig | None = None) -> dict[str, Callable[..., Any]]:
    """Methods of `Roles` whose calls give equal bits whenever they are made: those of roles on graphs, loaded here.

    For `roles.replay.replay`, as such calls are not recorded. `config`: of the engine that ran them.

    Raises:
        BadRequestError: The graphs of a pack do not promise that.
    """
    from .backends.native import NativeBackend
    from .roles.native import NativeRoles
    from .roles.scripted import ScriptedRoles

    chosen = config or EngineConfig()
    found: dict[str, Callable[..., Any]] = {}
    for one in _parts(backend):
        if isinstance(one, ScriptedBackend):
            found |= _methods(ScriptedRoles(one.script), ROLES)
        if isinstance(one, NativeBackend):
            if one.pack.manifest.lossless != "bitwise":
                raise BadRequestError(
                    f"[replay] the graphs of {one.pack.name} need not give equal bits twice, and what they answer does "
                    "not leave C++, so it is not recorded",
                    hint="compare with a run of an engine with batching=False, or use a pack that says bitwise",
                )
            roles = NativeRoles(
                one.pack, one.encodes, constrained=chosen.constrained, providers=chosen.providers
            )
            found |= _methods(roles, one.encodes)
    return found


class PlainRoles(SharedRules):
    """The roles of a backend one call at a time, without an engine; those that run elsewhere are not opened again.

    Args:
        backend: Of `open_backend`.
        **settings: Of `NativeRoles`, for roles on graphs.
    """

    plan: Callable[..., Any]
    generate: Callable[..., Any]
    judge: Callable[..., Any]

    def __init__(self, backend: Backend, **settings: Any) -> None:
        from .backends.native import NativeBackend
        from .roles.native import NativeRoles

        self.references, self.image_sides = backend.references, backend.image_sides
        for one in _parts(backend):
            if isinstance(one, NativeBackend):
                vars(self).update(_methods(NativeRoles(one.pack, one.encodes, **settings), one.encodes))
            if isinstance(one, OutsideBackend):
                vars(self).update(_methods(one.roles, one.serves))


def _parts(backend: Backend) -> Sequence[Backend]:
    return backend.backends if isinstance(backend, MixedBackend) else (backend,)


def _methods(roles: Any, served: Sequence[str]) -> dict[str, Callable[..., Any]]:
    """The methods of some roles; of a planner also the one that makes several plans at once, where there is one."""
    names = {"planner": ("plan", "plans"), "generator": ("generate",), "critic": ("judge",)}
    wanted = [name for role in served for name in names[role]]
    return {name: getattr(roles, name) for name in wanted if hasattr(roles, name)}


def _other(pack: Pack, role: str, spec: RoleSpec) -> Pack:
    other = load_pack(spec.place)
    if not isinstance(getattr(other.manifest.roles, role), RoleSpec):
        return other
    raise BadPackError(
        f"[{role}] {pack.name} takes it from {spec.place}, where it runs elsewhere again",
        hint="name where it runs in the first place",
    )


def _outside(
    role: Role,
    spec: RoleSpec,
    prompts: Prompts | None,
    store: CallStore | None,
    stay: Any,
    declines: Sequence[str],
) -> OutsideBackend:
    options: Mapping[str, Any] = spec.options
    if "capacity" in options:
        whole(f"[{role}] capacity", options["capacity"], 1, 1024)
    for name in ("lease_s", "longest_call_s"):
        within(f"[{role}] {name}", options.get(name, 1.0), 0.05, 1e6)
    process = options.get("process", "shared")
    if process not in ("shared", "own"):
        raise BadRequestError(f"[{role}] process is {process!r}: give shared or own")
    what = (role, spec, prompts)
    # What stays where it is need not be told so; a seat cannot be handed to another process.
    opened: Any = RoleApart(open_role, *what) if process == "own" else open_role(*what, stay)
    try:
        if hasattr(opened, "check"):
            opened.check()  # a server that is not there is found now, not by the first request
        said = dict(opened.info())
        device = str(options.get("device", said.get("device", spec.runtime)))
        return OutsideBackend(
            opened,
            serves=(role,),
            capacity=int(options["capacity"] if "capacity" in options else said.get("capacity", 1)),
            device="cuda:0" if device == "cuda" else device,
            lease_s=float(options.get("lease_s", 10.0)),
            longest_call_s=float(options.get("longest_call_s", _longest(opened, spec))),
            name=said.get("name", str(spec)),
            store=store,
            declines=options.get("declines", declines),
        )
    except BaseException:
        if hasattr(opened, "close"):
            opened.close()
        raise


def _longest(opened: Any, spec: RoleSpec) -> float:
    """Seconds after which a call counts as hung: what a client may wait in all; an hour where nobody says."""
    if spec.runtime != "openai":
        return 3600.0
    told = {
        name: one.default for name, one in inspect.signature(type(opened)).parameters.items()
    } | spec.options
    return 60.0 + float(told["timeout_s"]) * (1 + int(told["retries"]))
