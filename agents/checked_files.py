"""Checks of an agent's file before it is believed: whose it is, and whether its arrays can be that agent's state."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dts_gym.registry import agent_class, agent_id_of, agent_ids, is_built_in
from dts_gym.utils.validation import finite_array

if TYPE_CHECKING:
    from dts_gym.agents.saving import Saved
    from dts_gym.problem.problem import BanditProblem

UNSEALED = (1,)  # formats of files without a digest, which are read still
FORMAT = 2


def signature_of(cls: type) -> dict[str, str]:
    """What a file says of an agent's class: its name, the id under which it is registered, and where it is defined."""
    return {"agent": cls.__name__, "id": agent_id_of(cls), "defined": f"{cls.__module__}:{cls.__qualname__}"}


def class_of(cls: type[Saved], saved: Mapping[str, Any]) -> type[Any]:
    """The class that a file is of: ``cls`` itself, or where that is abstract the registered one that the file names.

    A class of the same name, defined elsewhere, is another class. The package's own classes are known by their ids,
    wherever their modules have moved.

    Raises
    ------
    ValueError
        If the file is not of that class, or its class is not registered here; the message goes on from "of".
    """
    name, number = saved.get("agent"), saved.get("format")
    if number not in (FORMAT, *UNSEALED) or not isinstance(name, str):
        raise ValueError(f"an agent in format {FORMAT}, got {name!r:.100} in format {number!r:.100}")
    own = _registered(saved) if number == FORMAT else _of_that_name(name)
    if not inspect.isabstract(cls):
        if own is cls or (own is None and signature_of(cls)["defined"] == saved.get("defined", _place(cls, name))):
            return cls
        raise ValueError(f"{cls.__name__}, as defined in {cls.__module__}, got one of {saved.get('defined', name)!r}")
    if own is None or not issubclass(own, cls):
        raise ValueError(
            f"a registered {cls.__name__}, got one of {saved.get('defined', name)!r}: import the module that registers "
            "it, or call load of its own class"
        )
    return own


def _registered(saved: Mapping[str, Any]) -> type[Any] | None:
    """The class registered under a file's id, None where none is or it is another one."""
    agent_id, defined = str(saved.get("id")), str(saved.get("defined"))
    if agent_id not in agent_ids():
        return None
    own = is_built_in(agent_id) and defined.startswith("dts_gym.")
    try:
        found: type[Any] = agent_class(agent_id)
    except Exception as error:  # a registration of the user's may fail in any way when it is imported
        raise ValueError(f"an agent that can be imported, got {agent_id!r}, which cannot: {error!r:.200}") from error
    return found if own or signature_of(found)["defined"] == defined else None


def _of_that_name(name: str) -> type[Any] | None:
    """The first registered class of a name, for files that say no more; registrations that fail are passed over."""
    for agent_id in agent_ids():
        try:
            found: type[Any] = agent_class(agent_id)
        except Exception:  # it is not the class that is looked for, or the caller says that this is not registered
            continue
        if found.__name__ == name:
            return found
    return None


def _place(cls: type, name: str) -> str | None:
    """Where a class is defined if it has that name, for files that say no more."""
    return signature_of(cls)["defined"] if cls.__name__ == name else None


def check_state(agent: Saved, fresh: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    """Refuse arrays that ``agent``, which was restored from them, cannot have had.

    Parameters
    ----------
    agent : the restored agent.
    fresh : its state before anything was learned.
    saved : the arrays of the file.

    Raises
    ------
    ValueError
        If an array is missing, superfluous, or not the one that the agent now has; if it is not finite, or of another
        shape than a fresh agent's apart from axes that grow from 0; or if played actions repeat or are none of the
        problem's.

    Notes
    -----
    Only the package's own agents are checked: what a user's class keeps, and how, is not known here.
    """
    if not type(agent).__module__.startswith("dts_gym."):
        return
    for name, array in saved.items():
        _check_array(name, array, fresh.get(name))
    _check_actions(agent.problem, {name: array for name, array in saved.items() if name.endswith("actions")})
    restored = agent._state()
    if names := restored.keys() ^ saved.keys():
        raise ValueError(f"state must have the arrays {sorted(restored)}, got a difference in {sorted(names)}")
    for name, array in restored.items():
        if array.dtype != saved[name].dtype or not _same(np.asarray(array), saved[name]):
            raise ValueError(f"{name} must be what the agent had, got {_kind(saved[name])}, read as {_kind(array)}")


def _check_array(name: str, array: Any, fresh: Any) -> None:
    if array.dtype.kind == "f":
        finite_array(name, array, (None,) * array.ndim)
    if fresh is None or "modes." in name or (name == "search.path" and fresh.shape == (0,)):
        return  # there are as many as were found, and `restore` checks them
    alike = array.ndim == fresh.ndim and all(m in (0, n) for m, n in zip(fresh.shape, array.shape, strict=True))
    if array.dtype != fresh.dtype or not alike:
        raise ValueError(f"{name} must be {_kind(fresh)} but for axes that grow from 0, got {_kind(array)}")


def _check_actions(problem: BanditProblem, played: Mapping[str, Any]) -> None:
    count = problem.num_actions if problem.features == "disjoint" else 1
    first = next(iter(played.values()), None)
    for name, actions in played.items():
        listed = actions.tolist()
        if (
            len(set(listed)) < len(listed)
            or any(not 0 <= action < count for action in listed)
            or not _same(actions, first)
        ):
            raise ValueError(f"{name} must be the played actions, each once, in 0..{count - 1}, got {actions!r:.100}")


def _same(one: Any, other: Any) -> bool:
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))


def _kind(array: Any) -> str:
    return f"{array.dtype} of shape {array.shape}"
