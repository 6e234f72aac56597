"""From what a pack says of its roles to the backend that runs them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Protocol

from .backends import Backend
from .backends.mixed import MixedBackend
from .backends.outside import OutsideBackend, Role
from .backends.record import CallStore
from .config import EngineConfig
from .errors import BadPackError, BadRequestError
from .pack import Pack, load_pack
from .pack.manifest import ROLES
from .pack.spec import RoleSpec
from .roles.prompts import Prompts

__all__ = ["OpenedRole", "exact_roles", "open_backend", "open_role"]


class OpenedRole(Protocol):
    """A role that runs in Python: one of the methods of `Roles`, and what is said of it.

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
_LANE_OPTIONS = ("capacity", "device")


def open_role(role: Role, spec: RoleSpec, prompts: Prompts | None = None) -> Any:
    """Opens what runs a role outside the graphs of a pack; its models are loaded.

    Args:
        role: Which of the three.
        spec: Where it runs; an option is a keyword of the class that is opened.
        prompts: What a planner or critic is asked with; None: the built-in ones.

    Raises:
        BadRequestError: There is no such option.
        BadPackError: The models cannot be used, or an extra is missing.
    """
    module, classes = _OPENERS[spec.runtime]
    opener = getattr(import_module(module), classes.get(role, classes[""]))
    known = inspect.signature(opener).parameters
    anything = any(one.kind is one.VAR_KEYWORD for one in known.values())  # it checks them itself
    arguments: dict[str, Any] = dict(spec.options)
    for name in arguments:
        if not anything and name not in known and name not in _LANE_OPTIONS:
            names = [one for one in known if one not in ("role", "prompts", "directory", "url", "model")]
            raise BadRequestError(
                f"[{role}] {spec.runtime} has no option {name!r}", hint=f"options are {', '.join(names)}"
            )
    arguments = {name: value for name, value in arguments.items() if anything or name in known}
    if "role" in known:
        arguments["role"] = role
    if "prompts" in known and prompts is not None:
        arguments["prompts"] = prompts
    if spec.runtime == "openai":
        url, _, model = spec.place.rpartition("#")
        return opener(url, model, **arguments)
    return opener(spec.place, **arguments) if spec.runtime == "torch" else opener(**arguments)


def open_backend(pack: Pack, store: CallStore | None = None) -> Backend:
    """The backend of a pack, whatever runtimes its roles ask for.

    Args:
        pack: Whose roles.
        store: Answers of earlier runs, for roles that do not run on graphs.

    Raises:
        BadPackError: A role is missing or cannot be opened.
    """
    # Here: where everything runs elsewhere, nothing of the native runtime is needed.
    from .backends.native import NativeBackend

    prompts = None if pack.prompts is None else Prompts.from_folder(pack.prompts)
    backends: list[Backend] = []
    here = [role for role in ROLES if not isinstance(getattr(pack.manifest.roles, role), RoleSpec)]
    if here:
        backends.append(NativeBackend(pack, here))
    for role, spec in _elsewhere(pack).items():
        if spec.runtime == "native":
            backends.append(NativeBackend(_other(pack, role, spec), [role]))
        else:
            backends.append(_outside(role, spec, prompts, store))
    if len(backends) == 1 and here:
        return backends[0]
    runs_on = {f"{role} runs on": str(spec) for role, spec in _elsewhere(pack).items()}
    return MixedBackend(backends, {**pack.info(), **runs_on})


def exact_roles(backend: Backend, config: EngineConfig | None = None) -> dict[str, Callable[..., Any]]:
    """Methods of `Roles` whose calls give equal bits whenever they are made: those of roles on graphs, loaded here.

    For `roles.replay.replay`, as such calls are not recorded. `config`: of the engine that ran them.
    """
    from .backends.native import NativeBackend
    from .roles.native import NativeRoles

    chosen = config or EngineConfig()
    methods = {"planner": "plan", "generator": "generate", "critic": "judge"}
    found: dict[str, Callable[..., Any]] = {}
    for one in backend.backends if isinstance(backend, MixedBackend) else (backend,):
        if isinstance(one, NativeBackend):
            roles = NativeRoles(
                one.pack, one.encodes, constrained=chosen.constrained, providers=chosen.providers
            )
            found |= {methods[role]: getattr(roles, methods[role]) for role in one.encodes}
    return found


def _elsewhere(pack: Pack) -> dict[Any, RoleSpec]:
    roles = {role: getattr(pack.manifest.roles, role) for role in ROLES}
    return {role: spec for role, spec in roles.items() if isinstance(spec, RoleSpec)}


def _other(pack: Pack, role: str, spec: RoleSpec) -> Pack:
    other = load_pack(spec.place)
    if not isinstance(getattr(other.manifest.roles, role), RoleSpec):
        return other
    raise BadPackError(
        f"[{role}] {pack.name} takes it from {spec.place}, where it runs elsewhere again",
        hint="name where it runs in the first place",
    )


def _outside(role: Role, spec: RoleSpec, prompts: Prompts | None, store: CallStore | None) -> OutsideBackend:
    opened = open_role(role, spec, prompts)
    if hasattr(opened, "check"):  # a server: is it there?
        opened.check()
    said = {
        **opened.info(),
        **{name: str(spec.options[name]) for name in _LANE_OPTIONS if name in spec.options},
    }
    return OutsideBackend(
        opened,
        serves=(role,),
        capacity=int(said.get("capacity", "1")),
        device=said.get("device", spec.runtime),
        lossless="bitwise" if said.get("lossless") == "bitwise" else "replay",
        name=said.get("name", str(spec)),
        store=store,
    )
