"""Write docs/campaign_yaml.md from the JSON schema of campaign.yaml: `python -m docs.make_reference`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import reduce
from pathlib import Path
from typing import Any, Final

from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.config.presets import PRESETS

__all__ = ["PAGE", "main", "reference"]

Node = dict[str, Any]  # a part of the schema
Way = tuple[str, ...]  # the keys that lead to a value
Row = tuple[str, str, str, str]  # key, values, default, meaning

PAGE: Final = Path(__file__).resolve().parent / "campaign_yaml.md"
_SCHEMA: Final[Node] = CampaignConfig.model_json_schema()
_BOUNDS: Final = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_WORDS: Final = {"boolean": "`true`, `false`", "null": "`null`", "string": "text", "object": "mapping"}
_HEAD: Final = """\
# campaign.yaml

Written by `python -m docs.make_reference` from what `mlip-train schema` prints. A test says when it is stale.

Only `elements` must be given. A section may be given in part; the rest of it keeps its defaults. Defaults are
those of the preset `standard`; where another preset fills in something else, it is named after the default. An
unknown key is an error that names the most similar known key. What the sections are for: [guide](guide.md).
Between keys: `fit.max_epochs: 0` excludes starts from `zeros` (`previous` then solves anew, as `linear` does);
`gate.require` names `consistency`, which always runs, and checks that `physics` switches on; `fit.weighting` is
uniform beside a baseline (`mode: delta`); radii of pairs end within `basis.cutoff`.
"""


def reference() -> str:
    """Render the reference of campaign.yaml as Markdown."""
    properties = _keys(_SCHEMA)
    sections = {key: node for key, node in properties.items() if {"oneOf", "properties"} & _resolved(node).keys()}
    others = {key: node for key, node in properties.items() if key not in sections}
    parts = [_HEAD, "## Keys without a section\n", _table(_rows_of(others, ()))]
    for key, node in sections.items():
        parts += [f"## {key}\n", f"{_resolved(node)['description']}\n", _table(_rows_within(node, (key,)))]
    return "\n".join(parts)


def _resolved(node: Node) -> Node:
    """The definition that a node refers to, or the node itself."""
    return dict(_SCHEMA["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node)


def _keys(node: Node) -> Node:
    return dict(_resolved(node).get("properties", {}))


def _rows_of(properties: Node, way: Way) -> Iterator[Row]:
    """Rows of the keys of a mapping, each followed by those of what is inside of it."""
    for key, node in properties.items():
        here = (*way, key)
        yield f"`{'.'.join(here[1:] or here)}`", _values(node), _default(node, here), node.get("description", "")
        yield from _rows_within(node, here)


def _rows_within(node: Node, way: Way) -> Iterator[Row]:
    """Rows of what a value may hold: the keys of a mapping, or those of each kind of mapping."""
    inner = _resolved(node)
    for variant in map(_resolved, inner.get("oneOf", ())):
        keys = _keys(variant)
        kind = keys.pop("kind")["const"]
        default = "default" if node["default"].get("kind") == kind else ""
        yield f"`{'.'.join((*way[1:], 'kind'))}: {kind}`", "mapping", default, variant["description"]
        yield from _rows_of(keys, way)
    for choice in inner.get("anyOf", ()):
        yield from _rows_within(choice, way)
    yield from _rows_of(_keys(inner), way)
    if isinstance(of_each := inner.get("additionalProperties"), dict):
        yield from _rows_of(_keys(of_each), (*way, "PAIR"))


def _values(node: Node) -> str:
    """What may be given, in words."""
    inner = {"type": "object", **_resolved(node)}
    if "anyOf" in inner:
        return " or ".join(_values(choice) for choice in inner["anyOf"])
    if "enum" in inner or "const" in inner:
        return ", ".join(f"`{value}`" for value in inner.get("enum", [inner.get("const")]))
    if "items" in inner:
        return f"list of: {_values(inner['items'])}"
    limits = ", ".join(f"{sign} {inner[name]:.10g}" for name, sign in _BOUNDS.items() if name in inner)
    return f"{_WORDS.get(inner['type'], inner['type'])} {limits}".strip()


def _default(node: Node, way: Way) -> str:
    """What `standard` fills in, and other presets; nothing for a mapping whose keys have rows of their own."""
    if "default" not in node or _keys(node):
        return "" if _keys(node) else "must be given"
    others = {name: reduce(lambda inner, key: inner.get(key, {}), way, values) for name, values in PRESETS.items()}
    said = [f"{name} {_flow(value)}" for name, value in others.items() if value != {}]
    return "; ".join([_flow(node["default"]), *said])


def _flow(value: Any) -> str:
    return f"`{json.dumps(value, ensure_ascii=False).replace(chr(34), '')}`"


def _table(rows: Iterable[Row]) -> str:
    lines = (f"| {' | '.join(row)} |" for row in [("key", "value", "default", "meaning"), ("---",) * 4, *rows])
    return "\n".join([*lines, ""])


def main() -> None:
    """Write the page."""
    PAGE.write_text(reference())
    print(f"Wrote {PAGE}")


if __name__ == "__main__":
    main()
