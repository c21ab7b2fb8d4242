"""``--where``: choose rows by a condition, which pandas evaluates after every part of it has been checked.

``DataFrame.query`` can run code, so the condition is parsed first. Only columns, numbers, texts, comparisons,
arithmetic and ``and``, ``or``, ``not`` are passed on; calls, attributes and subscripts are refused.
"""

from __future__ import annotations

import ast
import warnings
from itertools import pairwise
from typing import Any, Literal

import pandas as pd

from ensemble.core.errors import EnsError, UnknownName
from ensemble.results.find_column import column, resolve, without_limits

EXAMPLE = "loss == 'unified' and seed == 0"
Kind = Literal["text", "number", "truth"]
LONGEST = 10_000  # characters


def where(frame: pd.DataFrame, condition: str) -> pd.DataFrame:
    """Return the rows for which ``condition`` is true, such as ``loss == 'unified' and seed == 0``.

    Columns are compared (``== != < <= > >=``, chains too) with numbers, texts in quotes, ``True``, ``False`` or other
    columns; ``loss in ('dice', 'ce')`` chooses among values; ``and``, ``or``, ``not`` and parentheses join conditions;
    numbers may be added, subtracted, multiplied and divided. Scores are shares: ``miou > 0.6``. A missing text is
    ``''``. A missing number differs from every number and is neither less nor greater.

    Args:
        frame: the results table.
        condition: the text, at most 10,000 characters.

    Returns:
        The rows, numbered from 0.

    Raises:
        EnsError: an unknown column, a column compared with another kind of value, or an expression that is not allowed.

    >>> frame = pd.DataFrame({"loss": ["dice", "ce", None], "seed": [0, 1, 1]})
    >>> where(frame, "loss != 'ce' and seed in (0, 1)")["seed"].tolist()
    [0, 1]
    """
    try:
        if len(condition) > LONGEST:
            raise ValueError
        with warnings.catch_warnings(action="ignore"):  # Python warns about a backslash in a text
            tree = ast.parse(condition.strip(), mode="eval")
        _Checked(frame).condition(tree.body)
        rows = _plain(frame).query(ast.unparse(tree), engine="python").index
    except EnsError:
        raise
    except Exception:  # pandas raises many kinds of errors; the condition is the cause of all of them
        raise _refused(condition.strip()[:60], frame) from None
    return frame.loc[rows].reset_index(drop=True)


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table without pandas' missing values, which compare neither true nor false."""
    columns: dict[str, Any] = {}
    for name in map(str, frame.columns):
        values: Any = frame[name]
        if _kind_of(name) == "text":
            columns[name] = values.astype(object).where(values.notna(), "")
        else:
            columns[name] = (
                values.astype("float64") if _kind_of(name) == "number" else values.fillna(False).astype(bool)
            )
    return pd.DataFrame(columns, index=frame.index)


def _kind_of(name: str) -> Kind:
    kinds: dict[str, Kind] = {"string": "text", "boolean": "truth"}
    return kinds.get(column(name).dtype, "number")


class _Checked:
    """Checks a syntax tree and gives every column in it the name it has in the table."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def condition(self, node: ast.expr) -> None:
        """Check an expression that is true or false."""
        match node:
            case ast.BoolOp(values=parts):
                for part in parts:
                    self.condition(part)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self.condition(operand)
            case ast.Compare(left=left, ops=ops, comparators=others):
                for (one, other), op in zip(pairwise([left, *others]), ops, strict=True):
                    self.comparison(one, op, other)
            case ast.Name() if self.value(node) == "truth":
                pass
            case _:
                raise _refused(ast.unparse(node), self.frame)

    def comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> None:
        """Check two sides of a comparison: both are of the same kind, and one of them holds a column."""
        choice = isinstance(op, ast.In | ast.NotIn)
        values = right.elts if isinstance(right, ast.List | ast.Tuple) and choice else [right]
        is_column = any(isinstance(part, ast.Name) for side in (left, right) for part in ast.walk(side))
        if isinstance(op, ast.Is | ast.IsNot) or not is_column or (choice and values == [right]):
            raise _refused(ast.unparse(ast.Compare(left, [op], [right])), self.frame)
        for value in values:
            kinds = (self.value(left), self.value(value))
            ordered = not isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn)
            if kinds[0] != kinds[1] or (ordered and "truth" in kinds):
                raise EnsError(
                    f"'{ast.unparse(ast.Compare(left, [op], [right]))}' compares {kinds[0]} with {kinds[1]}; write"
                    " texts in quotes and numbers without"
                )
            _check_share(left, value)
            _check_share(value, left)

    def value(self, node: ast.expr) -> Kind:
        """Check a value and return its kind."""
        match node:
            case ast.Name():
                try:
                    node.id = resolve(node.id, self.frame.columns)
                except UnknownName as error:
                    raise EnsError(f"{error} (a text needs quotes: '{node.id}')") from None
                return _kind_of(node.id)
            case ast.Constant(value=bool()):
                return "truth"
            case ast.Constant(value=str()):
                return "text"
            case ast.Constant(value=int() | float()):
                return "number"
            case ast.UnaryOp(op=ast.USub(), operand=operand) if self.value(operand) == "number":
                return "number"
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div(), right=right):
                if {self.value(left), self.value(right)} == {"number"}:
                    return "number"
            case _:
                pass
        raise _refused(ast.unparse(node), self.frame)


def _check_share(name: ast.expr, number: ast.expr) -> None:
    """Refuse per cent where the table holds shares: it would choose all rows or none without a word."""
    if not isinstance(name, ast.Name) or column(name.id).unit != "share" or not isinstance(number, ast.Constant):
        return
    if isinstance(number.value, int | float) and number.value > 1:
        raise EnsError(f"expected a share between 0 and 1 for {name.id}, got {ast.unparse(number)}; 60 % is 0.6")


def _refused(part: str, frame: pd.DataFrame) -> EnsError:
    names, part = ", ".join(without_limits(frame.columns)), " ".join(part.split())
    return EnsError(
        f'expected comparisons of columns joined by and, or, not, such as "{EXAMPLE}", got "{part}"; columns: {names}'
    )
