"""Where compiled code is kept between processes: wherever one may write, or nowhere."""

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    InTreeCacheLocator,
    UserProvidedCacheLocator,
    UserWideCacheLocator,
)


def kept(function: Callable[..., Any], **options: Any) -> Any:
    """Compile a function by Numba, and keep the code; where that is impossible, compile alone.

    Args:
        function: A function of this package.
        options: What ``numba.njit`` takes.
    """
    dispatcher: Any = numba.njit(**options)(function)
    # Numba's own cache is an error where no folder can be written to, or a file in it is damaged.
    with suppress(RuntimeError, OSError):
        dispatcher._cache = _Cache(function)
    return dispatcher


@cache
def _stamp() -> str:
    """Return what changes with any source here: compiled code has that of other files in it."""
    found = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()


class _Stamped:
    def get_source_stamp(self) -> str:
        return _stamp()


class _Provided(_Stamped, UserProvidedCacheLocator):
    pass


class _InTree(_Stamped, InTreeCacheLocator):
    pass


class _UserWide(_Stamped, UserWideCacheLocator):
    pass


class _Temporary(_UserWide):
    """A folder of the user's alone among the temporary ones: code is loaded from it."""

    def __init__(self, py_func: Any, py_file: str) -> None:
        super().__init__(py_func, py_file)
        self._folder = Path(tempfile.gettempdir(), f"rexnet-{os.getuid()}")
        self._cache_path = str(self._folder / self.get_suitable_cache_subpath(py_file))

    def ensure_cache_path(self) -> None:
        with suppress(FileExistsError):
            self._folder.mkdir(mode=0o700)
        found = self._folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise PermissionError(f"{self._folder} is open to others")
        super().ensure_cache_path()


class _Kept(CompileResultCacheImpl):
    _locator_classes: Any = (_Provided, _InTree, _UserWide, _Temporary)


class _Cache(FunctionCache):
    """A cache that can fail: what it cannot read or write is compiled."""

    _impl_class = _Kept

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # noqa: BLE001 (a damaged file raises almost anything)
            with suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        # A full disk, or a folder that is gone.
        with suppress(OSError):
            super().save_overload(sig, data)
