"""YAML that strangers wrote: the safe loader, but for a few lines that would grow without end.

An anchor may stand for a list of anchors, and so on: ten lines can be a billion values as soon as somebody walks them.
"""

from typing import Any, Final

import yaml

MOST_VALUES: Final = 500_000
"""A description of a model holds some hundreds, with all aliases written out."""


def load(text: str | bytes) -> Any:
    """What a YAML document says, read in Python: the loader in C crashes where it is nested deeply.

    Raises yaml.YAMLError (yaml.MarkedYAMLError with the line), ValueError, TypeError or RecursionError where it is
    none, and yaml.YAMLError where its aliases stand for more than 500,000 values.
    """
    loader = yaml.SafeLoader(text)
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
