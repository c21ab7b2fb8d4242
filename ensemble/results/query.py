"""``--where``: rows chosen by a condition a person types, read as a syntax tree of which little is allowed.

Nothing is ever evaluated: the text is parsed, and the few kinds of nodes below become comparisons of columns. Whatever
else Python knows (calls, attributes, arithmetic, subscripts) is refused in one sentence.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ensemble.core.errors import EnsError, UnknownName
from ensemble.results.columns import column, resolve, without_limits

Mask = NDArray[np.bool_]
EXAMPLE = "loss == 'unified' and seed == 0"

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.eq,  # negated, so that a missing value differs from every text and number
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def where(frame: pd.DataFrame, condition: str) -> pd.DataFrame:
    """Rows for which ``condition`` is true, such as ``loss == 'unified' and seed == 0``.

    Columns are compared (``== != < <= > >=``, chains too) with numbers, texts in quotes, ``True``, ``False``, ``None``
    for a missing value, or other columns; ``loss in ('dice', 'ce')`` chooses among values, ``'dice' in loss`` looks
    for a part of a text; ``and``, ``or``, ``not`` and parentheses join conditions. Scores are shares: ``miou > 0.6``.
    A missing value equals None only, and is neither less nor greater than anything.

    Args:
        frame: the results table.
        condition: the text, at most 10,000 characters.

    Returns:
        The rows, numbered from 0.

    Raises:
        EnsError: anything but that, an unknown column, or a column compared with what it cannot hold.

    >>> frame = pd.DataFrame({"loss": ["dice", "ce", None], "seed": [0, 1, 1]})
    >>> where(frame, "loss != 'ce' and seed in (0, 1)")["seed"].tolist()
    [0, 1]
    """
    try:
        if len(condition) > 10_000:
            raise ValueError
        with warnings.catch_warnings(action="ignore"):  # of a backslash in a text
            tree = ast.parse(condition.strip(), mode="eval")
        mask = _mask(tree.body, frame)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, EnsError):
            raise
        raise _refused(condition.strip()[:60], frame) from None
    chosen: Any = frame[mask]
    return chosen.reset_index(drop=True)


def _refused(part: str, frame: pd.DataFrame) -> EnsError:
    names, part = ", ".join(without_limits(frame.columns)), " ".join(part.split())
    return EnsError(
        f'expected comparisons of columns joined by and, or, not, such as "{EXAMPLE}", got "{part}"; columns: {names}'
    )


def _mask(node: ast.expr, frame: pd.DataFrame) -> Mask:
    match node:
        case ast.BoolOp(op=op, values=values):
            parts = [_mask(value, frame) for value in values]
            return (np.logical_and if isinstance(op, ast.And) else np.logical_or).reduce(parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return ~_mask(operand, frame)
        case ast.Compare(left=left, ops=ops, comparators=others):
            sides = pairwise([left, *others])
            return np.logical_and.reduce([_compare(a, op, b, frame) for (a, b), op in zip(sides, ops, strict=True)])
        case ast.Name() if column(_name(node, frame)).dtype == "boolean":
            return _values(node, frame)[0] == np.True_
        case _:
            raise _refused(ast.unparse(node), frame)


def _compare(left: ast.expr, op: ast.cmpop, right: ast.expr, frame: pd.DataFrame) -> Mask:
    if isinstance(op, ast.In | ast.NotIn):
        found = _contains(left, right, frame)
        return ~found if isinstance(op, ast.NotIn) else found
    if isinstance(op, ast.Is | ast.IsNot):
        raise _refused(f"{ast.unparse(left)} is {ast.unparse(right)}", frame)
    (a, kind_a), (b, kind_b) = _values(left, frame), _values(right, frame)
    ordered = not isinstance(op, ast.Eq | ast.NotEq)
    kinds = {kind_a, kind_b}
    if len(kinds - {"missing"}) > 1 or (ordered and kinds & {"missing", "truth"}):
        raise EnsError(
            f"expected the same kind on both sides of '{ast.unparse(left)} {_SIGNS[type(op)]} {ast.unparse(right)}',"
            f" got {kind_a} and {kind_b}; write texts in quotes and numbers without"
        )
    _check_share(left, right, frame)
    found = _each(_COMPARE[type(op)], a, b, len(frame), ordered)
    return ~found if isinstance(op, ast.NotEq) else found


_SIGNS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip


def _each(compare: Callable[[Any, Any], Any], a: Any, b: Any, rows: int, ordered: bool) -> Mask:
    """Compare row by row; a missing value (None) equals a missing one only."""
    pairs = zip(np.broadcast_to(a, rows), np.broadcast_to(b, rows), strict=True)
    return np.array([not (ordered and (x is None or y is None)) and compare(x, y) for x, y in pairs], dtype=np.bool_)


def _contains(left: ast.expr, right: ast.expr, frame: pd.DataFrame) -> Mask:
    """``column in (values)``, or ``'part' in column``."""
    if isinstance(right, ast.List | ast.Tuple | ast.Set):
        nothing = np.zeros(len(frame), np.bool_)
        return np.logical_or.reduce([nothing, *(_compare(left, ast.Eq(), item, frame) for item in right.elts)])
    (part, kind), (texts, kind_of_texts) = _values(left, frame), _values(right, frame)
    if not isinstance(right, ast.Name) or (kind, kind_of_texts) != ("text", "text"):
        raise _refused(f"{ast.unparse(left)} in {ast.unparse(right)}", frame)
    return _each(lambda x, y: x in y, part, texts, len(frame), ordered=True)


def _values(node: ast.expr, frame: pd.DataFrame) -> tuple[Any, str]:
    """Values of a column or a literal, None where missing, and their kind: text, number, truth or missing."""
    match node:
        case ast.Name():
            name = _name(node, frame)
            kind = {"string": "text", "boolean": "truth"}.get(column(name).dtype, "number")
            values = frame[name].astype(object)
            return values.where(frame[name].notna(), None).to_numpy(), kind
        case ast.Constant(value=None):
            return np.array(None), "missing"
        case ast.Constant(value=bool() as value):
            return np.array(value, dtype=object), "truth"
        case ast.Constant(value=str() as value):
            return np.array(value, dtype=object), "text"
        case ast.Constant(value=int() | float() as value):
            return np.array(value, dtype=object), "number"
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return np.array(-value, dtype=object), "number"
        case _:
            raise _refused(ast.unparse(node), frame)


def _name(node: ast.Name, frame: pd.DataFrame) -> str:
    try:
        return resolve(node.id, frame.columns)
    except UnknownName as error:
        raise EnsError(f"{error} (a text needs quotes: '{node.id}')") from None


def _check_share(left: ast.expr, right: ast.expr, frame: pd.DataFrame) -> None:
    """Per cent where the table holds shares would silently choose all or nothing."""
    for name, number in ((left, right), (right, left)):
        if isinstance(name, ast.Name) and column(_name(name, frame)).unit == "share" and _number(number) > 1:
            raise EnsError(f"expected a share between 0 and 1 for {name.id}, got {ast.unparse(number)}; 60 % is 0.6")


def _number(node: ast.expr) -> float:
    value = node.value if isinstance(node, ast.Constant) else 0
    return min(value, 2) if isinstance(value, int | float) and not isinstance(value, bool) else 0
