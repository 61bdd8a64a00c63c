"""What stands in ``deploy/``, read as the programs read it that it is for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEPLOY: Final = Path(__file__).resolve().parents[3] / "deploy"
_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def settings(text: str) -> dict[str, str]:
    """Variables of an env file; those that are commented out as an example too."""
    told = re.findall(r"(?m)^#?([A-Z][A-Z0-9_]*)=(.*)$", text)
    return dict(told)


def filled(value: Any, told: Mapping[str, str]) -> Any:
    """Put variables into what was read of a compose file; KeyError where a needed one is missing."""

    def one(found: re.Match[str]) -> str:
        name, how, otherwise = found.groups()
        if told.get(name):
            return told[name]
        if how == "-":
            return str(otherwise)
        raise KeyError(name)

    match value:
        case str():
            return _VARIABLE.sub(one, value).replace("$$", "$")
        case dict():
            return {key: filled(inner, told) for key, inner in value.items()}
        case list():
            return [filled(inner, told) for inner in value]
    return value


def compose(told: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The compose file; with ``told`` its variables are put in."""
    import yaml

    read = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return read if told is None else filled(read, told)  # type: ignore[no-any-return]


def variables() -> Iterator[tuple[str, bool]]:
    """Variables of the compose file, and whether each is needed."""
    for name, how, _ in _VARIABLE.findall((DEPLOY / "compose.yaml").read_text("utf-8")):
        yield name, how == "?"


def kubernetes() -> list[dict[str, Any]]:
    """Objects of the Kubernetes manifest."""
    import yaml

    read: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "kubernetes.yaml").read_text("utf-8"))["items"]
    return read
