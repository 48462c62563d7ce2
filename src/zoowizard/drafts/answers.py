"""The answers file: a commented YAML file to fill in, written from the fields and read back against them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

from zoowizard.drafts.checks import did_you_mean, shown, what_it_is
from zoowizard.drafts.completeness import is_answered
from zoowizard.drafts.draft import Draft
from zoowizard.drafts.fields import Field, Need
from zoowizard.errors import WrongUse

if TYPE_CHECKING:
    from yaml.nodes import MappingNode, Node

BIGGEST_FILE: Final = 200_000
"""Bytes; twenty times what answers need, and still read in a moment."""
DEEPEST: Final = 12

LEGEND: Final = """\
# Answers for the package of {model}
#
# Fill in what stands after the colons and give the file to `zoowizard build --answers`. Lines that begin with # are
# only comments; take the # away to answer an optional question. An empty answer takes an earlier one back.
"""


class AnswersInvalid(WrongUse):
    """An answers file that cannot be taken. `problems` says for each field (or the file itself) what is wrong."""

    def __init__(self, path: Path, problems: Mapping[str, str]) -> None:
        """The message has one line for each problem, each naming the file and the field."""
        self.problems = dict(problems)
        super().__init__("\n".join(f"{path}: {field}: {problem}" for field, problem in self.problems.items()))


def template(draft: Draft, fields: Sequence[Field]) -> str:
    """The answers file for a draft: YAML, in groups, with help and examples; what is known is filled in."""
    model = draft.id if draft.checkpoint is None else draft.checkpoint.name
    lines = [LEGEND.format(model=_printable(model))]
    for group in dict.fromkeys(field.group for field in fields):
        lines.append(f"\n# ---- {group} ----\n")
        lines += [_entry(draft, field) for field in fields if field.group == group]
    return "\n".join(lines)


def _entry(draft: Draft, field: Field) -> str:
    known = draft.values.get(field.name)
    words = f"{field.label} ({field.need}). {field.help}"
    comment = [f"# {line}" for line in wrap(words, 112, break_long_words=False, break_on_hyphens=False)]
    comment.append(f"# Example: {field.example}")
    if field.choices and not field.open_choice:
        comment.append(f"# One of: {', '.join(field.choices)}")
    if known is not None and is_answered(known.value):
        comment.append(f"# From {_printable(known.origin)}:" if known.origin != "given" else "# As answered before:")
        entry = _yaml(field.name, known.value)
        if entry is None:
            entry = f"# {field.name}: (known, but its name is no UTF-8, which a YAML file cannot hold; leave it so)"
    else:
        entry = f"{field.name}:" if field.need is not Need.OPTIONAL else f"# {field.name}:"
    return "\n".join([*comment, entry, ""])


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _yaml(name: str, value: Any) -> str | None:
    import yaml

    if any("\ud800" <= letter <= "\udfff" for letter in json.dumps(value, ensure_ascii=False)):
        return None
    if isinstance(value, str):
        # Between double quotes YAML reads what JSON writes, whatever the text would mean without quotes.
        quoted = json.dumps(value, ensure_ascii=False)
        return f"{name}: " + "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in quoted)
    dumped: str = yaml.safe_dump({name: value}, allow_unicode=True, sort_keys=False, width=110)
    return dumped.rstrip("\n")


def changed(draft: Draft, answers: Mapping[str, Any]) -> dict[str, Any]:
    """Those answers that differ from what the draft knows: a filled-in value that nobody touched keeps its origin."""
    return {name: answer for name, answer in answers.items() if answer != draft.get(name)}


def read_answers(path: Path, fields: Sequence[Field], strict: bool = True) -> dict[str, Any]:
    """Read an answers file: field name → checked answer; None where it stands there without one, as it was left empty.

    A text given for a list, such as `authors: Ada Lovelace; Grace Hopper`, is read as at a prompt. A relative path
    counts from the folder of the file. Raises AnswersInvalid with all problems together; not where `strict` is false
    and the file can be read at all: then what is wrong is left out.
    """
    from yaml.nodes import ScalarNode

    known = {field.name: field for field in fields}
    answers: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    seen: dict[str, int] = {}
    for key_node, value_node in _root(path).value:
        name, line = str(key_node.value) if isinstance(key_node, ScalarNode) else "", key_node.start_mark.line + 1
        where = f"{_printable(name)} (line {line})"
        if name not in known:
            near = did_you_mean(name, known) if name else None
            wrong[where] = "is no field; " + (f"did you mean {near}?" if near else f"known are {', '.join(known)}")
        elif name in seen:
            wrong[where] = f"stands there twice, first in line {seen[name]}; keep one of them"
        else:
            seen[name] = line
            try:
                answer = _answer(known[name], value_node, path)
                problem = known[name].check(answer) if is_answered(answer) else None
            except ValueError as error:
                problem = str(error)
            if problem:
                wrong[where] = problem
            else:
                answers[name] = answer if is_answered(answer) else None
    if wrong and strict:
        raise AnswersInvalid(path, wrong)
    return answers


def _root(path: Path) -> "MappingNode":
    import yaml
    from yaml.nodes import MappingNode

    text = _text(path)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)  # not the C one: deep nesting makes that crash the process
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}" if mark else "file"
        raise AnswersInvalid(path, {place: _yaml_problem(error, text, mark.line if mark else 0)}) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise AnswersInvalid(path, {"file": "holds characters or nesting that YAML does not allow"}) from error
    if root is None:
        return MappingNode("tag:yaml.org,2002:map", [])
    if not isinstance(root, MappingNode):
        problem = "is no list of answers; write one `name: answer` a line (`zoowizard answers` writes such a file)"
        raise AnswersInvalid(path, {"file": problem})
    return root


def _text(path: Path) -> str:
    problem = None
    try:
        if not path.exists():
            problem = "does not exist; `zoowizard answers` writes one to fill in"
        elif not path.is_file():
            problem = "is no file; write the path of an answers file"
        elif path.stat().st_size > BIGGEST_FILE:
            problem = f"is too big for answers ({path.stat().st_size // 1000} kB); is it the right file?"
        else:
            return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        problem = f"cannot be read ({(error.strerror or str(error)).lower()})"
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problem = f"is not UTF-8 (line {line}); save it as UTF-8"
    raise AnswersInvalid(path, {"file": problem})


def _yaml_problem(error: Any, text: str, line: int) -> str:
    written = text.splitlines()[line] if line < len(text.splitlines()) else ""
    if "\t" in written[: len(written) - len(written.lstrip())] or "'\\t'" in str(error.problem):
        return "begins with a tab; YAML wants spaces there"
    if "the node content, but found ','" in str(error.problem):
        return f"has nothing before a comma in {shown(written.strip())}; write each entry once, with one comma between"
    if "that cannot start any token" in str(error.problem):
        return f"is no YAML: put the text in {shown(written.strip())} between quotes"
    if "mapping values are not allowed" in str(error.problem):
        return "is no YAML: a text with a colon in it must stand between quotes"
    reason = " ".join(str(part) for part in (error.context, error.problem) if part)
    near = f"near {shown(written.strip())}" if written.strip() else "above it"
    return f"is no YAML ({reason}); look for a missing quote, bracket or colon {near}"


def _answer(field: Field, node: "Node", path: Path) -> Any:
    from yaml.nodes import ScalarNode

    if isinstance(node, ScalarNode):
        kind = node.tag.rpartition(":")[2]
        if kind == "null":
            return None
        if (field.kind == "choice" and node.value in field.choices) or kind in ("timestamp", "binary"):
            return node.value  # `8` is the choice "8", and a date is the text as it was typed
        answer = _plain(node, 0, set())
        if isinstance(answer, str):
            return _from_text(field, answer, path)
        return answer
    answer = _plain(node, 0, set())
    if field.kind in ("people", "citations", "texts") and isinstance(answer, dict):
        answer = [answer]
    if field.kind in ("people", "citations") and isinstance(answer, list):
        answer = [one for item in answer for one in (field.parse(item) if isinstance(item, str) else [item])]
        answer = [_without_empty(item) for item in answer]
    elif field.as_json:
        answer = json.dumps(answer)
    elif field.kind not in ("people", "citations", "texts"):
        wanted = "number" if field.kind == "number" else "text"
        raise ValueError(f"is {what_it_is(answer)}; write one {wanted}")
    return answer


def _from_text(field: Field, text: str, path: Path) -> Any:
    if not text.strip():
        return None
    if field.kind == "path":
        typed = Path(text.strip()).expanduser()
        return str(typed if typed.is_absolute() else (path.absolute().parent / typed))
    if field.kind in ("people", "citations", "texts"):
        return field.parse(text)
    return text.strip() if field.kind == "paragraph" else text


def _without_empty(item: Any) -> Any:
    return {key: value for key, value in item.items() if is_answered(value)} if isinstance(item, dict) else item


def _plain(node: "Node", depth: int, above: set[int]) -> Any:
    """The plain value of a YAML node. Refuses what is deeper than answers are, references and doubled keys."""
    import yaml
    from yaml.nodes import MappingNode, ScalarNode, SequenceNode

    if depth > DEEPEST:
        raise ValueError("is nested too deeply; answers are lists of simple entries")
    if id(node) in above:
        raise ValueError("holds a YAML reference (*name); write the answer out")
    above.add(id(node))
    if isinstance(node, SequenceNode):
        return [_plain(child, depth + 1, above) for child in node.value]
    if isinstance(node, MappingNode):
        plain: dict[str, Any] = {}
        for key, child in node.value:
            if not isinstance(key, ScalarNode):
                raise ValueError(f"has a name that is no plain word in line {key.start_mark.line + 1}")
            if key.value in plain:
                raise ValueError(f"has {shown(key.value)} twice, again in line {key.start_mark.line + 1}")
            plain[key.value] = _plain(child, depth + 1, above)
        return plain
    loader = yaml.SafeLoader("")
    try:
        if node.tag.rpartition(":")[2] in ("timestamp", "binary"):
            return str(node.value)
        return loader.construct_object(node)
    except (yaml.YAMLError, ValueError):
        raise ValueError(f"holds {shown(str(node.value))}, which cannot be read; put it between quotes") from None
    finally:
        loader.dispose()
