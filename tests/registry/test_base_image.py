"""The base image: the same bytes each time, and a Python that runs where nothing else is."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from edgefleet.edge.contract import parse_digest
from edgefleet.model import oci
from infra.images import base

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgefleet" / "images"


@pytest.fixture(scope="module")
def built() -> oci.Base:
    return base.build(base.REQUIREMENTS, CACHE)


def blob(image: oci.Base, number: int) -> bytes:
    item = image.layers[number]
    content = image.blobs[parse_digest(item.digest)]
    return gzip.decompress(content) if item.media_type.endswith("+gzip") else content


def test_two_builds_from_two_installations_are_the_same_image(
    built: oci.Base, tmp_path: Path
) -> None:
    again = base.build(base.REQUIREMENTS, tmp_path / "cache")
    assert oci.base_image(again).digest == oci.base_image(built).digest


def test_it_is_a_python_its_packages_and_our_sources(built: oci.Base) -> None:
    config = json.loads(built.config)
    assert config["config"]["Entrypoint"] == ["/usr/local/bin/python", "-m", "edgefleet.edge"]
    assert config["config"]["User"] == "10001:10001"
    tars = [blob(built, number) for number in range(3)]
    assert config["rootfs"]["diff_ids"] == [oci.digest_of(one) for one in tars]
    names = []
    for content in tars:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            entries = archive.getmembers()
        assert {(0, 0, 0)} == {(entry.uid, entry.gid, entry.mtime) for entry in entries}
        names.append({entry.name for entry in entries})
    python, site, sources = names
    assert {"usr/local/bin/python", "etc/passwd", "tmp"} <= python
    assert {"app/site/numpy/__init__.py", "app/site/onnxruntime/__init__.py"} <= site
    assert "app/edgefleet/edge/server.py" in sources
    # Libraries that a package brings are in its own layer only.
    assert not [name for name in python if "openblas" in name]


def test_it_runs_as_its_user_and_loads_the_edge_server(built: oci.Base, tmp_path: Path) -> None:
    chroot = shutil.which("chroot")
    if os.geteuid() != 0 or chroot is None:
        pytest.skip("only root may enter the image's tree (chroot)")
    root = tmp_path / "root"
    root.mkdir(mode=0o755)
    for number in range(3):
        unpack = ["tar", "--extract", "--directory", str(root)]
        subprocess.run(unpack, input=blob(built, number), check=True)
    config = json.loads(built.config)["config"]
    python, module = config["Entrypoint"][0], config["Entrypoint"][2]
    user = f"--userspec={config['User']}"
    check = f"import onnxruntime, numpy, {module}.server, os, sys; print(os.getuid(), sys.prefix)"
    done = subprocess.run(
        [chroot, user, str(root), python, "-c", check],
        env=dict(one.split("=", 1) for one in config["Env"]),
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "10001 /usr/local\n"), done.stderr
