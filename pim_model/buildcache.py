"""Content-addressed build directories, built once and published atomically.

Everything the project generates (kernel libraries, Verilog, Verilated models) goes into
``build_root() / f"{what}-{digest(...)}"``. The digest names everything the result depends on, so a directory
that exists is complete and right, and is never rebuilt or changed::

    target = build_root() / f"kernels-{digest(source, flags, compiler_version)}"
    with once(target) as work:
        if work is not None:  # nobody has built it yet: do it here, any other process waits
            compile_into(work)
    load(target / "kernels.so")
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["build_root", "digest", "once"]


def build_root() -> Path:
    """Directory of everything generated; it may not exist yet.

    The environment variable ``IANUS_BUILD`` if set; else ``build/`` of the checkout this package runs from
    (a ``pyproject.toml`` beside the package directory); else the user's cache directory.
    """
    if override := os.environ.get("IANUS_BUILD"):
        return Path(override).expanduser().resolve()
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").is_file():
        return checkout / "build"
    import platformdirs  # needed by installed packages only, so a checkout runs without it

    return Path(platformdirs.user_cache_dir("ianus"))


def digest(*parts: bytes | str | Path) -> str:
    """Name a build by its inputs: 16 hexadecimal characters of BLAKE2s.

    A ``str`` counts by its text, ``bytes`` as they are, a ``Path`` by the content of that file (not its name;
    pass the name as a ``str`` where it matters). Order and boundaries count: ``("ab", "c")`` differs from
    ``("a", "bc")``.
    """
    hasher = hashlib.blake2s(digest_size=8)
    for part in parts:
        if isinstance(part, Path):
            kind, data = b"f", part.read_bytes()
        elif isinstance(part, str):
            kind, data = b"s", part.encode()
        elif isinstance(part, bytes):
            kind, data = b"b", part
        else:
            raise TypeError(f"Digest part must be bytes, a str or a Path, not {part!r}")
        hasher.update(kind + len(data).to_bytes(8, "little"))
        hasher.update(data)
    return hasher.hexdigest()


@contextmanager
def once(directory: Path) -> Iterator[Path | None]:
    """Let exactly one process or thread build ``directory``.

    Yields None if ``directory`` exists. Otherwise yields an empty working directory beside it, and renames
    that to ``directory`` when the block ends; a reader thus sees nothing or everything. Others that want the
    same directory wait in a lock meanwhile (released by the kernel if the builder dies).

    If the block raises, the working directory is kept as ``<directory>.failed`` (replacing an older one) for
    its logs, and the exception goes on; the next caller tries again.
    """
    if directory.is_dir():
        yield None
        return
    directory.parent.mkdir(parents=True, exist_ok=True)
    lock_path = directory.with_name(directory.name + ".lock")
    # The lock file stays: deleting it would let two processes hold locks on two files of the same name.
    with open(lock_path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if directory.is_dir():
            yield None
            return
        work = Path(tempfile.mkdtemp(prefix=directory.name + ".", suffix=".tmp", dir=directory.parent))
        work.chmod(0o755)
        try:
            yield work
        except BaseException:
            failed = directory.with_name(directory.name + ".failed")
            shutil.rmtree(failed, ignore_errors=True)
            work.rename(failed)
            raise
        work.rename(directory)
