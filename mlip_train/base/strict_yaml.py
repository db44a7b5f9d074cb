"""Reading YAML without losing a word of it."""

import io

import yaml

from mlip_train.errors import ConfigError

__all__ = ["load_yaml"]


class _StrictLoader(yaml.SafeLoader):
    """YAML whose keys are text, and never stand twice: PyYAML would keep the last without a word.

    It reads the words on, off, yes and no as truth values, which as keys (on, or nobelium) they never are.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:bool":
                key.tag = "tag:yaml.org,2002:str"
        keys = [
            self.construct_object(key, deep=True) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"
        ]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def load_yaml(text: str, origin: str) -> object:
    """Read YAML, refusing duplicate keys.

    Raises
    ------
    ConfigError
        Naming the origin, the line and the problem.
    """
    try:
        stream = io.StringIO(text)
        stream.name = origin  # for the messages
        return yaml.load(stream, _StrictLoader)  # noqa: S506 - a SafeLoader
    # Beside its own errors, PyYAML lets through whatever its constructors ran into.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise ConfigError(f"{origin} is not readable YAML: {error or type(error).__name__}") from error
