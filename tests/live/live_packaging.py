"""Each way of installing the package makes `twistd p2p` known, and leaves Twisted whole."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 300.0  # seconds for one command: what hangs must fail


def run(*command: str | Path, cwd: Path, **settings: str) -> str:
    """Run a command that must succeed, untouched by the environment of the tests. Returns what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=kept | settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, f"{done.args} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def pip(*arguments: str | Path, cwd: Path, **settings: str) -> None:
    run(sys.executable, "-m", "pip", *arguments, cwd=cwd, **settings)


def unwanted(folder: str, names: list[str]) -> list[str]:
    """What a fresh checkout would not have."""
    pattern = re.compile(r"\.(?!ci$).*|.*\.egg-info|__pycache__|_trial_temp.*|build|dist|dropin\.cache|twistd\..*")
    return [name for name in names if pattern.fullmatch(name) or Path(folder, name, "pyvenv.cfg").exists()]


def copy_tree(target: Path) -> Path:
    return Path(shutil.copytree(ROOT, target, ignore=unwanted))


def needs_to_build() -> list[str]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r"^requires = \[(.*)\]$", text, re.MULTILINE)
    assert found is not None
    return re.findall(r'"([^"]+)"', found[1])


def needs_to_run() -> list[str]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config["options"]["install_requires"].split()


@attrs.frozen
class Built:
    """The distributions, built as a release builds them, and settings with which pip needs no network."""

    sdist: Path
    wheel: Path
    offline: dict[str, str]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build sdist and wheel from a copy of the tree, in which Twisted has left its plugin cache.

    What is needed is fetched here, once; each environment then installs it for itself from the same folder.
    """
    folder = tmp_path_factory.mktemp("built")
    wheels = folder / "wheels"
    pip("download", "-q", "-d", wheels, *needs_to_build(), *needs_to_run(), cwd=folder)
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": wheels.as_uri()}
    tree = copy_tree(folder / "tree")
    (tree / "twisted" / "plugins" / "dropin.cache").write_bytes(b"")
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", tree, cwd=folder, **offline)
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    (wheel,) = (folder / "dist").glob("*.whl")
    return Built(sdist, wheel, offline)


def test_wheel_contents(built: Built) -> None:
    """The wheel brings the plugin and the types, and no file of Twisted's own that it would overwrite."""
    with zipfile.ZipFile(built.wheel) as archive:
        names = archive.namelist()
    assert "twisted/plugins/p2p_plugin.py" in names
    assert "twisted_p2p/py.typed" in names
    assert [name for name in names if name.startswith("twisted/")] == ["twisted/plugins/p2p_plugin.py"]
    assert [name for name in names if name.startswith("tests")] == []


def test_wheel_is_complete(built: Built) -> None:
    """Every module of the package is in the wheel."""
    with zipfile.ZipFile(built.wheel) as archive:
        packed = [name for name in archive.namelist() if name.startswith("twisted_p2p/") and name.endswith(".py")]
    assert sorted(packed) == sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "twisted_p2p").rglob("*.py"))


def test_sdist_contents(built: Built) -> None:
    """The source distribution brings tests and docs, and no plugin cache."""
    with tarfile.open(built.sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    for name in ("tests/test_layers.py", "docs/dependencies.md", "twisted/plugins/p2p_plugin.py", "LICENSE"):
        assert name in names
    assert [name for name in names if name.endswith(("dropin.cache", ".pyc"))] == []


@pytest.mark.parametrize("way", ["tree", "editable", "wheel"])
def test_twistd_lists_p2p(way: str, built: Built, tmp_path: Path) -> None:
    """After `pip install .`, `pip install -e .` or from the wheel, twistd lists p2p, and p2p loads."""
    tree = copy_tree(tmp_path / "tree")
    venv.create(tmp_path / "venv", symlinks=True)
    programs = tmp_path / "venv" / "bin"
    what = {"tree": ["."], "editable": ["-e", "."], "wheel": [built.wheel]}[way]
    pip("--python", programs / "python", "install", "-q", *what, cwd=tree, **built.offline)
    if way != "editable":
        shutil.rmtree(tree)

    empty = tmp_path / "empty"
    empty.mkdir()
    where = run(programs / "python", "-c", "import twisted_p2p; print(twisted_p2p.__file__)", cwd=empty)
    assert Path(where.strip()).is_relative_to(tree if way == "editable" else tmp_path / "venv")
    assert re.search(r"^ +p2p +\S", run(programs / "twistd", "--help", cwd=empty), re.MULTILINE)
    assert "Usage: twistd" in run(programs / "twistd", "p2p", "--help", cwd=empty)
