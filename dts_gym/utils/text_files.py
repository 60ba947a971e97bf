"""JSON and YAML that a user or an earlier run wrote: whatever is wrong with a text is a ValueError."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

_TOO_DEEP = "its lists or mappings are nested too deeply"


def parse_json(text: str | bytes) -> Any:
    """The content of a JSON text.

    Raises
    ------
    ValueError
        If the text is not JSON, or is nested deeper than Python's stack.

    Examples
    --------
    >>> parse_json('{"dim": 5}')
    {'dim': 5}
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """The content of a YAML file.

    Numbers are those of YAML 1.2: ``1e-1`` is 0.1, ``010`` is 10 and ``0o10`` is 8. A key that is repeated is an error,
    as YAML says; ``<<`` merges a mapping into another, whose own keys win.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If the file is not YAML, has a key twice in one mapping, or is nested deeper than Python's stack.
    """
    import yaml

    try:
        return yaml.load(Path(path).read_bytes(), _loader())
    except RecursionError:
        raise ValueError(f"{os.fspath(path)!r} must be YAML: {_TOO_DEEP}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)!r} must be YAML: {error}") from error


@cache
def _loader() -> Any:
    """The class that `read_yaml` passes to PyYAML, which reads the numbers of YAML 1.1 and accepts repeated keys."""
    import yaml

    integer, real = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own form
            first: [(tag, pattern) for tag, pattern in known if tag not in (integer, real)]
            for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            for key, count in Counter(keys).items():
                if count > 1:
                    raise yaml.constructor.ConstructorError(None, None, f"the key {key[1]!r} twice", node.start_mark)
            return node

    def read_integer(loader: Any, node: Any) -> int:
        text = loader.construct_scalar(node)
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text if base == 10 else text[2:], base)

    def read_real(loader: Any, node: Any) -> float:
        return float(re.sub(r"\.(?=inf|nan)", "", loader.construct_scalar(node).lower()))

    starts = list("-+.0123456789")
    number = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    Loader.add_implicit_resolver(integer, re.compile(r"^([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), starts)
    Loader.add_implicit_resolver(real, re.compile(rf"^({number}|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"), starts)
    Loader.add_constructor(integer, read_integer)
    Loader.add_constructor(real, read_real)
    return Loader
