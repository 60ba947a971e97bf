"""Names of a problem's actions, by which people know the items that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dts_gym.utils.validation import different_strings, integer

ActionNames = tuple[str, ...]


def checked_names(value: Any, num_actions: int) -> ActionNames | None:
    """Return ``value``, K different strings or None, as a tuple; else raise ValueError.

    Examples
    --------
    >>> checked_names(["Alien (1979)", "Up (2009)"], 2)
    ('Alien (1979)', 'Up (2009)')
    """
    return None if value is None else different_strings("action_names", value, num_actions, "one for each action")


def with_name(action: int, names: Sequence[str] | None) -> str:
    """The number of an action with its name, where there is one, as messages and tables show it.

    Examples
    --------
    >>> with_name(1, None), with_name(1, ["Alien (1979)", "Up (2009)"])
    ('1', "1 ('Up (2009)')")
    """
    return str(action) if names is None else f"{action} ({names[action]!r})"


def grown_names(names: Sequence[str] | None, added: Any, count: int) -> ActionNames | None:
    """Names of a problem's actions after ``count`` new ones; None where the others have none.

    Parameters
    ----------
    names : (K,) names of the actions before.
    added : names of the new ones; None: their numbers, as in ``"action 7"``.
    count : how many are new.

    Raises
    ------
    ValueError
        If ``added`` are not so many different new strings, or are given where the others have no names.

    Examples
    --------
    >>> grown_names(("Alien (1979)",), None, 2)
    ('Alien (1979)', 'action 1', 'action 2')
    """
    if names is None:
        if added is not None:
            raise ValueError(f"action_names must be left out where the problem's are None, got {added!r:.200}")
        return None
    if added is None:
        new = tuple(_numbered(len(names) + i, names) for i in range(integer("count", count, 1)))
    else:
        new = different_strings("action_names", added, count, "one for each new action")
    if twice := set(new).intersection(names):
        raise ValueError(f"action_names must be different strings, got {min(twice)!r:.200}, which another action has")
    return (*names, *new)


def renamed(names: Sequence[str] | None, action: int, name: Any) -> ActionNames | None:
    """Names of a problem's actions after one of them stands for another item; see `grown_names`.

    Examples
    --------
    >>> renamed(("Alien (1979)", "Up (2009)"), 0, "Heat (1995)")
    ('Heat (1995)', 'Up (2009)')
    """
    if names is None:
        if name is not None:
            raise ValueError(f"action_name must be left out where the problem has no names, got {name!r:.200}")
        return None
    others = (*names[:action], *names[action + 1 :])
    if name is None:
        name = _numbered(action, others)
    if not isinstance(name, str) or not name or name in others:
        raise ValueError(f"action_name must be a string that names no other action, got {name!r:.200}")
    return (*names[:action], str(name), *names[action + 1 :])


def _numbered(action: int, taken: Sequence[str]) -> str:
    """A name by the action's number that is not taken."""
    name, count = f"action {action}", 1
    while name in taken:
        count += 1
        name = f"action {action} ({count})"
    return name
