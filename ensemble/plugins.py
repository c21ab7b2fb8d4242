"""Load architectures, losses and data formats of a user: a file given with ``--plugin``, or an installed package.

A plug-in registers its components in the same way as the built-in ones::

    from ensemble.losses import LOSSES

    @LOSSES.register("my-loss")
    def make_my_loss(counts_c, *, gamma: float = 2.0):
        \"\"\"One line for `ens list losses`.\"\"\"
        return MyLoss(gamma)

Packages name their factories in the entry-point groups ``ens.architectures``, ``ens.losses`` and ``ens.formats``.
"""

from __future__ import annotations

import importlib.util
import sys
from contextlib import ExitStack
from pathlib import Path

from ensemble.core.errors import EnsError
from ensemble.core.files import file_digest
from ensemble.core.reading import is_file

_loaded: dict[Path, str] = {}


def load_plugin(path: str | Path) -> str:
    """Run a Python file that registers components, once, and return its origin ``name.py digest``.

    The origin is part of the settings of members that use the plug-in, so a changed plug-in gives another member.

    Raises:
        EnsError: when the file does not exist, fails, or registers nothing.
    """
    file = Path(path).expanduser().resolve()
    if file.suffix != ".py" or not is_file(file):
        raise EnsError(
            f"expected a Python file that registers architectures, losses or data formats as plug-in, found none at"
            f" {path}"
        )
    origin = f"{file.name} {file_digest(file)[:8]}"
    if file in _loaded:
        if _loaded[file] != origin:
            raise EnsError(f"the plug-in {file} changed after it was loaded; start Python again")
        return origin
    from ensemble.architectures import ARCHITECTURES  # noqa: PLC0415  (torch takes two seconds)
    from ensemble.data.formats.registry import FORMATS  # noqa: PLC0415
    from ensemble.losses import LOSSES  # noqa: PLC0415

    name = f"ens_plugin_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with ExitStack() as stack:
        registered = [
            stack.enter_context(registry.registering(origin)) for registry in (ARCHITECTURES, LOSSES, FORMATS)
        ]
        sys.modules[name] = module  # as an import does, for dataclasses and type hints
        try:
            spec.loader.exec_module(module)
        except EnsError:
            raise
        except Exception as error:  # the user's own code can fail in any way
            raise EnsError(
                f"the plug-in {path} failed{_where(error, file)}: {type(error).__name__}: {error}"
            ) from error
    if not any(registered):
        raise EnsError(
            f"the plug-in {path} registers nothing; decorate a factory with @LOSSES.register(name),"
            " @ARCHITECTURES.register(name) or @FORMATS.register(name)"
        )
    _loaded[file] = origin
    return origin


def loaded_plugins() -> tuple[str, ...]:
    """Return the files of the plug-ins loaded so far, for another process that needs the same ones."""
    return tuple(str(file) for file in _loaded)


def _where(error: Exception, file: Path) -> str:
    """Return the last line of the file in the error's traceback."""
    if isinstance(error, SyntaxError):
        return f" in line {error.lineno}"
    lines: list[int] = []
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file):
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f" in line {lines[-1]}" if lines else ""
