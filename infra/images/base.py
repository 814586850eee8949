"""The base image of all packages, made from this machine's Python, without a container engine.

Three layers: a Python (interpreter, standard library and every shared library that it and the
packages load, moved below /usr/local), the packages of requirements-edge.txt checked by hash, and
the edge server's own sources. Same inputs, same bytes, same digest. It carries this machine's C
library: build it where security updates are applied, or with the Dockerfile beside this file, which
makes the same layout from an official Python image and is not tried by the tests.

    python infra/images/base.py --push             to EDGEFLEET_REGISTRY_URL
    python infra/images/base.py --layout FOLDER    to an OCI layout folder
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib.util
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgefleet import wiring
from edgefleet.adapters.oci_layout import OciLayout
from edgefleet.errors import EdgefleetError, Refused
from edgefleet.model import oci
from edgefleet.settings import Settings

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements-edge.txt"
UID = 10001
PYTHON = PurePosixPath("usr/local/bin/python")
SITE = PurePosixPath("app/site")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_PASSWD = f"root:x:0:0::/:/sbin/nologin\nedge:x:{UID}:{UID}::/tmp:/sbin/nologin\n"
_GROUP = f"root:x:0:\nedge:x:{UID}:\n"
# Of the standard library: what no server uses, among it all that needs a display or an installer.
_LEFT_OUT = frozenset(
    ("test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "pydoc_data")
)
# Of installed packages: what differs between installers and machines.
_TRACES = frozenset(("RECORD", "INSTALLER", "REQUESTED", ".lock"))
_LDD_AT_ONCE = 100
_NEEDED = re.compile(r"^\s*(?:(\S+) => )?(/\S+) \(0x", re.MULTILINE)
_MISSING = re.compile(r"^\s*(\S+) => not found", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class File:
    """A file of a layer: bytes, or where they are."""

    content: Path | bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link of a layer."""

    target: str


Tree = Mapping[PurePosixPath, File | Link]


def build(requirements: Path, cache: Path) -> oci.Base:
    """Return the base image of the Python that runs this, with the packages of a requirements file.

    Raises:
        Refused: a package cannot be installed, or a shared library is missing.
    """
    site = installed(requirements, cache)
    trees = (python_tree(site), dict(_files(site, SITE, skip=frozenset(("tests", "bin")))))
    with ThreadPoolExecutor() as threads:
        tars = [*threads.map(tar, trees), oci.source_layer()]
        blobs = [*threads.map(packed, tars[:-1]), tars[-1]]
    kinds = [f"{oci.LAYER_TYPE}+gzip"] * len(trees) + [oci.LAYER_TYPE]
    config = {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {
            "Entrypoint": [f"/{PYTHON}", "-m", "edgefleet.edge"],
            "Env": [
                "PATH=/usr/local/bin:/usr/bin:/bin",
                f"PYTHONPATH=/{oci.APP_DIR}:/{SITE}",
                "PYTHONDONTWRITEBYTECODE=1",
            ],
            "User": f"{UID}:{UID}",
            "WorkingDir": f"/{oci.APP_DIR}",
        },
        "rootfs": {"type": "layers", "diff_ids": [oci.digest_of(one) for one in tars]},
    }
    return oci.Base(
        layers=tuple(
            oci.descriptor(kind, blob, {oci.LAYER_KIND: "base"})
            for kind, blob in zip(kinds, blobs, strict=True)
        ),
        config=json.dumps(config, sort_keys=True, separators=(",", ":")).encode(),
        blobs={oci.digest_of(blob): blob for blob in blobs},
    )


def installed(requirements: Path, cache: Path) -> Path:
    """Return a folder with the packages; installed once for each requirements file and Python.

    Raises:
        Refused: the installer failed.
    """
    seen = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:16]
    target = cache / f"site-{seen}"
    if target.is_dir():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    arriving = cache / f".arriving-{os.getpid()}-{seen}"
    options = ("--quiet", "--require-hashes", "--no-deps", "--target", str(arriving))
    command = [*_installer(), *options, "-r", str(requirements)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            problem = f"{' '.join(command[:4])} failed: {done.stderr.strip()[-500:]}"
            raise Refused(str(requirements), problem, "Mend what it names, then build again")
        try:
            arriving.rename(target)
        except OSError:
            # Another build was faster; the same files are there.
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(arriving, ignore_errors=True)
    return target


def python_tree(site: Path) -> Tree:
    """Return the files of a Python that runs by itself; `site` is what else it will load.

    Raises:
        Refused: a shared library that they need is missing.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # A virtual environment's interpreter is a link; its standard library is the base's anyway.
    interpreter = Path(sys.executable).resolve()
    stdlib = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}))
    home = PurePosixPath("usr/local/lib") / version
    skip = _LEFT_OUT | {"site-packages", "dist-packages"}
    tree: dict[PurePosixPath, File | Link] = {
        path: file
        for path, file in _files(stdlib, home, skip)
        if not path.relative_to(home).parts[0].startswith("config-")
    }
    loaded = [interpreter, *_objects(stdlib, skip), *_objects(site, frozenset())]
    for path, source in _libraries(loaded, site).items():
        tree[path] = File(source, 0o755)
    tree[PYTHON] = File(interpreter, 0o755)
    for name in ("python3", version):
        tree[PYTHON.with_name(name)] = Link(PYTHON.name)
    tree[PurePosixPath("etc/passwd")] = File(_PASSWD.encode())
    tree[PurePosixPath("etc/group")] = File(_GROUP.encode())
    return tree


def tar(tree: Tree) -> bytes:
    """Return a tar: sorted, owned by root, without times, folders included; /tmp is for all."""
    folders = {parent for path in tree for parent in path.parents if parent.parts}
    if PYTHON in tree:
        folders.add(PurePosixPath("tmp"))
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(folders | set(tree)):
            entry, file = tarfile.TarInfo(str(path)), tree.get(path)
            if file is None:
                entry.type = tarfile.DIRTYPE
                entry.mode = 0o1777 if entry.name == "tmp" else 0o755
                archive.addfile(entry)
            elif isinstance(file, Link):
                entry.type, entry.mode, entry.linkname = tarfile.SYMTYPE, 0o777, file.target
                archive.addfile(entry)
            else:
                content = file.content
                body = content if isinstance(content, bytes) else content.read_bytes()
                entry.mode, entry.size = file.mode, len(body)
                archive.addfile(entry, io.BytesIO(body))
    return stream.getvalue()


def packed(content: bytes) -> bytes:
    """Return a tar as a layer that travels: the fastest level, without a time."""
    return gzip.compress(content, compresslevel=1, mtime=0)


def _files(
    root: Path, to: PurePosixPath, skip: frozenset[str]
) -> Iterator[tuple[PurePosixPath, File]]:
    """Yield the files below `root`, without folders of those names, bytecode and archives."""
    for file in _walk(root, skip):
        if file.suffix not in {".pyc", ".a"} and file.name not in _TRACES:
            mode = 0o755 if file.stat().st_mode & 0o100 else 0o644
            yield to / file.relative_to(root).as_posix(), File(file, mode)


def _walk(root: Path, skip: frozenset[str]) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - skip - {"__pycache__"})
        yield from (Path(folder) / name for name in sorted(names))


def _objects(root: Path, skip: frozenset[str]) -> Iterator[Path]:
    return (file for file in _walk(root, skip) if ".so" in file.suffixes)


def _libraries(objects: Sequence[Path], site: Path) -> dict[PurePosixPath, Path]:
    """Return the shared libraries that `objects` load, by their place in the image.

    The loader stays where the kernel looks for it. All others go beside the C library, a folder
    that its loader searches by itself: run paths of this machine lead nowhere in the image.
    """
    found: dict[str, Path] = {}
    for start in range(0, len(objects), _LDD_AT_ONCE):
        command = ["ldd", *map(str, objects[start : start + _LDD_AT_ONCE])]
        text = subprocess.run(command, check=False, capture_output=True, text=True).stdout
        missing = sorted(set(_MISSING.findall(text)))
        if missing:
            problem = f"not found on this machine: {', '.join(missing)}"
            raise Refused("base image", problem, "Install what holds them, then build again")
        for name, place in _NEEDED.findall(text):
            path = Path(os.path.normpath(place))
            # Packages bring libraries of their own, and find them beside themselves.
            if not path.is_relative_to(site):
                found.setdefault(name or str(path), path)
    beside = PurePosixPath(found["libc.so.6"].parent)
    return {
        PurePosixPath(name if name.startswith("/") else beside / name).relative_to("/"): path
        for name, path in found.items()
    }


def _installer() -> Iterable[str]:
    """Return the installer's command: uv where there is one, it is several times faster."""
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv:
        return (uv, "pip", "install", "--python", sys.executable, "--only-binary", ":all:")
    if importlib.util.find_spec("pip") is None:
        raise Refused(sys.executable, "has neither uv nor pip", "Install one of them")
    return (sys.executable, "-m", "pip", "install", "--only-binary", ":all:")


def main(arguments: Sequence[str]) -> int:
    """Build, store, and say where; return the exit code."""
    parser = argparse.ArgumentParser(description="Build the base image of all packages.")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--push", action="store_true", help="to EDGEFLEET_REGISTRY_URL")
    target.add_argument("--layout", type=Path, help="to an OCI layout folder")
    options = parser.parse_args(arguments)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    try:
        registry = wiring.registry(Settings()) if options.push else None
        image = oci.base_image(build(REQUIREMENTS, home / "edgefleet" / "images"))
        tags = (image.digest.removeprefix("sha256:")[:12], "latest")
        if registry is not None:
            registry.push_base(image, tags)
        for tag in tags if options.layout else ():
            OciLayout(options.layout).store(image, tag)
    except EdgefleetError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    size = sum(map(len, image.blobs.values()))
    print(f"{image.digest} ({size / 1e6:.1f} MB, tags {', '.join(tags)})")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
