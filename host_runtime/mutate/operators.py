"""The faults: for each kind, where in a source it can be put, and how the source reads then.

Kinds follow what goes wrong in a memory controller. ``timing``, ``constant``: one too many or too few. ``comparison``:
the border. ``guard``: one of several conditions forgotten. ``condition``: the opposite. ``completion``: an event lost,
told twice, told late. ``address``: the neighbour. ``refresh``: left out. ``swap``, ``arithmetic``: operands. ``reset``:
what a register holds at first. ``statement``: forgotten.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator

from host_runtime.mutate.source import Edit, Place, Source

__all__ = ["KINDS", "Edits"]

Edits = tuple[Edit, ...]

_COMPARISONS = {ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
                ast.Eq: ("==", "!="), ast.NotEq: ("!=", "==")}  # fmt: skip
_TIMES = {"between", "cycles", "faw_cycles", "refresh_interval"}
_EVENTS = re.compile(
    r"(valid|ready|done|taken|next|granted|accept|issue|push|pop|given|held|busy|idle|start(ed)?|awaited|pending|released"
    r"|completions?|write|en|remove|enters|arriving|moves|move|forward)$"
)
_ADDRESSES = re.compile(
    r"(addr|address|row|column|bank|place|base|word|position|tile|group|token|byte|slot|index|step|skip|head|tail|first"
    r"|offset|start|end|lane|part)s?$"
)
_REFRESH = re.compile(r"(^|_)(refresh\w*|due|forced|spare|twice|owes|owed|since|rest|ended|REFAB|REFPB)$")


def _replace(source: Source, node: ast.expr | ast.stmt, text: str) -> Edits:
    return (Edit(*source.span(node), text),)


def _target(node: ast.expr) -> str:
    """Last name of what is assigned to: ``valid`` of ``self.steps.valid`` and of ``valid[0]``."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=value):
            return _target(value)
        case ast.Call(func=ast.Attribute(value=value, attr="bit_select" | "word_select")):
            return _target(value)
    return ""


def _assigned(place: Place) -> tuple[str, ast.expr] | None:
    """Name and value of ``name.eq(value)``."""
    match place.node:
        case ast.Call(func=ast.Attribute(value=target, attr="eq"), args=[value]):
            return _target(target), value
    return None


def _names(node: ast.AST) -> set[str]:
    found = set()
    for each in ast.walk(node):
        match each:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                found.add(name)
    return found


def _timing(source: Source, place: Place) -> Iterator[Edits]:
    node = place.node
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _TIMES
    match node:
        case ast.Attribute(attr=name, ctx=ast.Load()) if name in _TIMES:
            called_or_set = isinstance(place.parent, ast.Attribute) or (
                isinstance(place.parent, ast.Call) and place.parent.func is node
            )
            plain = not called_or_set
        case _:
            plain = False
    if called or plain:
        assert isinstance(node, ast.expr)
        for sign in "+-":
            yield _replace(source, node, f"({source.text(node)} {sign} 1)")


def _constant(source: Source, place: Place) -> Iterator[Edits]:
    match place.node:
        case ast.Constant(value=int(value)) as node if not isinstance(value, bool):
            for number in (value + 1, value - 1):
                yield _replace(source, node, str(number) if number >= 0 else f"({number})")


def _comparison(source: Source, place: Place) -> Iterator[Edits]:
    match place.node:
        case ast.Compare(left=left, ops=[operator], comparators=[right]) if type(operator) in _COMPARISONS:
            old, new = _COMPARISONS[type(operator)]
            start, end = source.span(left)[1], source.span(right)[0]
            yield (Edit(start, end, source.raw[start:end].decode().replace(old, new, 1)),)


def _guard(source: Source, place: Place) -> Iterator[Edits]:
    match place.node:
        case ast.BinOp(left=left, op=ast.BitAnd() | ast.BitOr(), right=right) as node:
            for kept in (left, right):
                yield _replace(source, node, f"({source.text(kept)})")
        case ast.BoolOp(values=values) as node:
            word = " and " if isinstance(node.op, ast.And) else " or "
            for dropped in values:
                rest = word.join(f"({source.text(value)})" for value in values if value is not dropped)
                yield _replace(source, node, f"({rest})")


def _condition(source: Source, place: Place) -> Iterator[Edits]:
    match place.node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="m"), attr="If" | "Elif"), args=[test]):
            yield _replace(source, test, f"({source.text(test)}) == 0")
        case ast.If(test=test) | ast.IfExp(test=test):
            yield _replace(source, test, f"not ({source.text(test)})")


def _completion(source: Source, place: Place) -> Iterator[Edits]:
    """Of an event: never; a cycle longer; a cycle late. Of a queue of the model: lost; twice."""
    assigned = _assigned(place)
    if assigned is not None and _EVENTS.search(assigned[0]):
        value = assigned[1]
        text = source.text(value)
        zero = isinstance(value, ast.Constant) and value.value == 0
        yield _replace(source, value, "1" if zero else "0")
        loops = (ast.GeneratorExp, ast.ListComp, ast.DictComp, ast.SetComp, ast.Lambda)
        if isinstance(value, ast.Constant) or place.inside(*loops):
            return
        start = source.span(place.statement)[0]
        indent = source.raw[source.line_start(start) : start].decode()
        before = Edit(start, start, f"late = Signal()\n{indent}m.d.sync += late.eq({text})\n{indent}")
        if not indent.strip():
            yield (before, *_replace(source, value, f"({text}) | late"))
            yield (before, *_replace(source, value, "late"))
    match place.node:
        case (
            ast.Expr(value=ast.Call(func=ast.Attribute(attr="append" | "popleft" | "_raise" | "pop"))) as node
        ):
            if not source.rtl:
                yield _replace(source, node, "pass")
                yield _replace(source, node, f"{source.text(node)}; {source.text(node)}")


def _address(source: Source, place: Place) -> Iterator[Edits]:
    assigned = _assigned(place)
    if assigned is None and not source.rtl:
        match place.node:
            case ast.Assign(targets=[target], value=ast.BinOp() | ast.Name() | ast.Attribute() as value):
                assigned = _target(target), value
    if assigned is not None and _ADDRESSES.search(assigned[0]):
        given = assigned[1]
        if not isinstance(given, ast.Constant):
            for sign in "+-":
                yield _replace(source, given, f"({source.text(given)}) {sign} 1")


def _refresh(source: Source, place: Place) -> Iterator[Edits]:
    assigned = _assigned(place)
    if assigned is not None and _REFRESH.search(assigned[0]) and not isinstance(assigned[1], ast.Constant):
        yield _replace(source, assigned[1], "0")
    match place.node:
        case ast.Expr(value=value) | ast.AugAssign(value=value) as node if not isinstance(value, ast.List):
            if {"REFAB", "REFPB", "refresh"} & _names(node):
                yield _replace(source, node, "pass")
        case ast.If(test=test) if any(_REFRESH.search(name) for name in _names(test)):
            yield _replace(source, test, "False")
        case ast.Call(func=ast.Attribute(value=ast.Name(id="m"), attr="If" | "Elif"), args=[test]):
            if any(_REFRESH.search(name) for name in _names(test)):
                yield _replace(source, test, "0")


def _swap(source: Source, place: Place) -> Iterator[Edits]:
    def swapped(one: ast.expr, other: ast.expr) -> Edits:
        return (
            *_replace(source, one, f"({source.text(other)})"),
            *_replace(source, other, f"({source.text(one)})"),
        )

    match place.node:
        case ast.Call(func=ast.Name(id="Mux"), args=[_, one, other]):
            yield swapped(one, other)
        case ast.Call(func=ast.Name(id="Cat"), args=[one, other]):
            yield swapped(one, other)
        case ast.BinOp(
            left=left, op=ast.Sub() | ast.LShift() | ast.RShift() | ast.FloorDiv() | ast.Mod(), right=right
        ):
            yield swapped(left, right)
        case ast.IfExp(body=one, orelse=other):
            yield swapped(one, other)


def _arithmetic(source: Source, place: Place) -> Iterator[Edits]:
    match place.node:
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as operator, right=right):
            old, new = ("+", "-") if isinstance(operator, ast.Add) else ("-", "+")
            start, end = source.span(left)[1], source.span(right)[0]
            yield (Edit(start, end, source.raw[start:end].decode().replace(old, new, 1)),)


def _reset(source: Source, place: Place) -> Iterator[Edits]:
    match place.node:
        case ast.keyword(arg="init", value=ast.Constant(value=int(value)) as node):
            yield _replace(source, node, str(value ^ 1))
        case ast.Call(func=ast.Name(id="Signal"), args=args, keywords=keywords) as node if source.rtl:
            plain = all(isinstance(arg, ast.Constant) or _names(arg) & {"range", "len"} for arg in args)
            if (
                plain
                and not any(keyword.arg == "init" for keyword in keywords)
                and _registered(source, place)
            ):
                end = source.span(node)[1] - 1
                yield (Edit(end, end, ", init=1" if args or keywords else "init=1"),)
        case ast.Assign(targets=[ast.Attribute()], value=ast.Constant(value=bool(value)) as node):
            if place.function.endswith(("__init__", "_reset")):
                yield _replace(source, node, str(not value))
        case ast.Assign(targets=[ast.Attribute()], value=ast.Constant(value=int(value)) as node):
            if place.function.endswith(("__init__", "_reset")):
                yield _replace(source, node, str(value + 1))


def _registered(source: Source, place: Place) -> bool:
    """Whether a signal is a register: another initial value of any other is no fault."""
    match place.statement:
        case ast.Assign(targets=[ast.Name(id=name)]):
            names = [name]
        case ast.Assign(targets=[ast.Tuple(elts=elements)], value=ast.Tuple(elts=values)):
            names = [_target(e) for e, v in zip(elements, values, strict=False) if v is place.node]
        case _:
            return False
    return any(
        isinstance(each.node, ast.AugAssign)
        and source.text(each.node.target) == "m.d.sync"
        and any(re.search(rf"(?<![\w.]){name}\b[^,]*\.eq\(", source.text(each.node.value)) for name in names)
        for each in source.places
    )


def _statement(source: Source, place: Place) -> Iterator[Edits]:
    match place.node:
        case ast.AugAssign(value=ast.List(elts=elements)) if source.rtl:
            for element in elements:
                start, end = source.span(element)
                rest = re.match(rb"\s*,", source.raw[end:])
                yield (Edit(start, end + (rest.end() if rest else 0), ""),)
        case ast.AugAssign() as node:
            yield _replace(source, node, "pass")
        case ast.Assign(targets=[ast.Attribute(value=ast.Name(id="m"), attr="next")]) as node:
            yield _replace(source, node, "pass")
        case ast.Expr(value=ast.Call()) as node if not source.rtl:
            yield _replace(source, node, "pass")


KINDS: dict[str, Callable[[Source, Place], Iterator[Edits]]] = {
    "timing": _timing,
    "constant": _constant,
    "comparison": _comparison,
    "guard": _guard,
    "condition": _condition,
    "completion": _completion,
    "address": _address,
    "refresh": _refresh,
    "swap": _swap,
    "arithmetic": _arithmetic,
    "reset": _reset,
    "statement": _statement,
}
