"""YAML that strangers wrote: the safe loader, but for a few lines that would grow without end.

An anchor may stand for a list of anchors, and so on: ten lines can be a billion values as soon as somebody walks them.
"""

from typing import Any, Final

import yaml

MOST_VALUES: Final = 500_000
"""A description of a model holds some hundreds, with all aliases written out."""
MOST_WRITTEN: Final = 50_000
"""So many values are read in some seconds."""
LONGEST_NUMBER: Final = 100
"""Letters. Python takes for ever to make a number of very many digits, and writes out none of over 4300."""


class _Loader(yaml.SafeLoader):
    """Gives up where there are too many values, before they take time and memory."""

    left = MOST_WRITTEN

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """As the base class has it."""
        self.left -= 1
        if self.left < 0:
            raise yaml.YAMLError(f"it holds more than {MOST_WRITTEN} values")
        return super().compose_node(parent, index)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """As the base class has it."""
        if len(node.value) > LONGEST_NUMBER:
            raise yaml.YAMLError(f"it holds a number of {len(node.value)} digits")
        return super().construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def load(text: str | bytes) -> Any:
    """What a YAML document says, read in Python: the loader in C crashes where it is nested deeply.

    Raises yaml.YAMLError (yaml.MarkedYAMLError with the line), ValueError, TypeError or RecursionError where it is
    none, and yaml.YAMLError where its aliases stand for more than 500,000 values, or it holds more than 50,000.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _values_in(node) > MOST_VALUES:
            raise yaml.YAMLError(f"its aliases stand for more than {MOST_VALUES} values")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _values_in(root: yaml.Node) -> float:
    """How many values there are with all aliases written out; endless where something holds itself."""
    known: dict[int, float] = {}
    waiting = [root]
    while waiting:
        node = waiting[-1]
        below = _below(node)
        if id(node) not in known:
            known[id(node)] = float("inf")  # until all below it is counted
            waiting += [one for one in below if id(one) not in known]
        else:
            waiting.pop()
            known[id(node)] = 1 + sum(known[id(one)] for one in below)
    return known[id(root)]


def _below(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [one for pair in node.value for one in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
