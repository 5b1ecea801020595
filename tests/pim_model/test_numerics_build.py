"""The build cache, and compiling the kernels with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pim_model import buildcache
from pim_model.buildcache import build_root, digest, once
from pim_model.numerics import native

ROOT = Path(__file__).resolve().parents[2]


def test_build_root_of_a_checkout_and_its_override(monkeypatch, tmp_path):
    monkeypatch.delenv("IANUS_BUILD", raising=False)
    assert build_root() == ROOT / "build"
    monkeypatch.setenv("IANUS_BUILD", str(tmp_path / "elsewhere"))
    assert build_root() == tmp_path / "elsewhere"


def test_build_root_of_an_installed_package_is_the_user_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("IANUS_BUILD", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(
        buildcache, "__file__", str(tmp_path / "site-packages" / "pim_model" / "buildcache.py")
    )
    assert build_root().name == "ianus"
    assert ROOT not in build_root().parents


def test_digest_depends_on_content_kind_order_and_boundaries(tmp_path):
    file = tmp_path / "a"
    file.write_text("ab")
    digests = {
        digest("ab"),
        digest(b"ab"),
        digest(file),
        digest("a", "b"),
        digest("b", "a"),
        digest("ab", ""),
    }
    assert len(digests) == 6
    assert all(len(d) == 16 and int(d, 16) >= 0 for d in digests)
    before = digest(file)
    assert digest(file) == before
    file.write_text("ac")
    assert digest(file) != before
    with pytest.raises(TypeError, match=r"^Digest part must be bytes, a str or a Path, not 3$"):
        digest(3)  # type: ignore[arg-type]


def test_once_publishes_when_the_block_ends_and_only_once(tmp_path):
    target = tmp_path / "deep" / "thing-1"
    with once(target) as work:
        assert work is not None
        (work / "out").write_text("first")
        assert not target.exists()
    assert (target / "out").read_text() == "first"
    with once(target) as work:
        assert work is None


def fail(target: Path, text: str) -> None:
    with once(target) as work:
        assert work is not None
        (work / "log").write_text(text)
        raise RuntimeError(text)


def test_once_keeps_a_failed_build_for_its_log_and_tries_again(tmp_path):
    target = tmp_path / "thing"
    for text in ("one", "two"):
        with pytest.raises(RuntimeError, match=text):
            fail(target, text)
        assert not target.exists()
        assert (tmp_path / "thing.failed" / "log").read_text() == text
    with once(target) as work:
        assert work is not None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["thing", "thing.failed", "thing.lock"]


def test_processes_that_race_build_once(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from pim_model.buildcache import once\n"
        "target = Path(sys.argv[1])\n"
        "with once(target) as work:\n"
        "    if work is not None:\n"
        "        time.sleep(0.3); (work / 'out').write_text('complete')\n"
        "print('built' if work else 'found', (target / 'out').read_text())\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "thing")]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(3)]
    said = sorted(racer.communicate(timeout=60)[0].strip() for racer in racers)
    assert said == ["built complete", "found complete", "found complete"]


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """An empty build root, and ``native.load`` as if never called."""
    monkeypatch.setenv("IANUS_BUILD", str(tmp_path / "build"))
    return native.load.__wrapped__


def test_without_a_compiler_there_is_one_warning(fresh, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.warns(RuntimeWarning, match=r"^No C\+\+ compiler .* runs in numpy"):
        assert fresh() is None


def test_a_failed_compilation_shows_the_log(fresh, monkeypatch, tmp_path):
    if native.compiler() is None:
        pytest.skip("no C++ compiler")
    broken = tmp_path / "broken.cpp"
    broken.write_text("int kernel() { return undeclared_name; }")
    monkeypatch.setattr(native, "SOURCE", broken)
    with pytest.raises(native.KernelBuildError, match="undeclared_name"):
        fresh()
    (log,) = (tmp_path / "build").glob("kernels-*.failed/compile.log")
    assert "undeclared_name" in log.read_text()


def test_compilation_is_clean_and_kept(fresh, tmp_path):
    if native.compiler() is None:
        pytest.skip("no C++ compiler")
    assert fresh() is not None
    (directory,) = (p for p in (tmp_path / "build").iterdir() if p.is_dir())
    built = (directory / "kernels.so").stat().st_mtime_ns
    assert len((directory / "compile.log").read_text().splitlines()) == 1, "the compiler warned"
    assert fresh() is not None
    assert (directory / "kernels.so").stat().st_mtime_ns == built
