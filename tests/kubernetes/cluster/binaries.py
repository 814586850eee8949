"""Where the programs of a test cluster come from: built once by Go, or found on the machine.

`python tests/kubernetes/binaries.py` (make setup-kubernetes) installs Debian's packages that are
missing and builds Kubernetes and kwok from the modules beside this file into a folder of the
user's cache that is named by what they are built from: a second run finds them, a changed version
gets a folder of its own. A folder named by KUBEBUILDER_ASSETS is asked first, PATH last.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

MODULES = Path(__file__).parent / "modules"
VERSION = "v1.36.3"
PARTS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
)
# The program that proves a package is there, by Debian package.
PACKAGES = {
    "etcd-server": "etcd",
    "containerd": "containerd",
    "runc": "runc",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "docker-registry": "docker-registry",
    "iptables": "iptables",
    "iproute2": "ip",
    "nginx-light": "/usr/sbin/nginx",
    "prometheus": "prometheus",
    "skopeo": "skopeo",
}
_STAMPS = "".join(
    f" -X {package}.gitVersion={VERSION} -X {package}.gitMajor=1 -X {package}.gitMinor=36"
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
)
# What is built, from which folder and package of it. Without C, so that it runs on any Linux.
BUILDS = {
    "pause": ("pause", "."),
    "kwok": ("kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    "kubeone": ("kubeone", "."),
}
FLAGS = ("-trimpath", "-buildvcs=false", f"-ldflags=-s -w{_STAMPS}")


class Missing(RuntimeError):
    """A program that the test cluster needs is not on this machine."""


def cached() -> Path:
    """The folder of the programs built from these modules, by this Go, with these flags."""
    seen = hashlib.sha256(repr(FLAGS).encode())
    for file in sorted(MODULES.rglob("*")):
        if file.is_file():
            seen.update(file.relative_to(MODULES).as_posix().encode() + b"\0" + file.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "edgefleet" / "kubernetes" / seen.hexdigest()[:16]


def program(name: str) -> Path:
    """The path of a program.

    Raises:
        Missing: it is neither in KUBEBUILDER_ASSETS, nor built, nor on the PATH.
    """
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    for folder in ([Path(assets)] if assets else []) + [cached()]:
        if (folder / name).exists():
            return folder / name
    found = shutil.which(name)
    if found is None:
        raise Missing(f"{name} is not on this machine: run `make setup-kubernetes` as root")
    return Path(found)


def setup() -> None:
    """Install and build what is missing, saying what takes long."""
    missing = [package for package, proof in PACKAGES.items() if shutil.which(proof) is None]
    if missing:
        if os.geteuid() != 0:
            raise Missing(f"install as root: apt-get install {' '.join(missing)}")
        install = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        subprocess.run(["apt-get", "update", "--quiet"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL, env=quiet)
    folder = cached()
    folder.mkdir(parents=True, exist_ok=True)
    for name, (module, package) in BUILDS.items():
        if not (folder / name).exists():
            _build(folder / name, MODULES / module, package)
    for part in PARTS:
        (folder / part).unlink(missing_ok=True)
        (folder / part).symlink_to("kubeone")


def _build(target: Path, module: Path, package: str) -> None:
    if shutil.which("go") is None:
        raise Missing(f"Go 1.26 or newer builds {target.name}: install it")
    begun = time.monotonic()
    print(f"building {target.name} (several minutes when nothing of it was built before)")
    unfinished = target.with_suffix(".new")
    order = ["go", "build", *FLAGS, "-o", str(unfinished), package]
    subprocess.run(order, check=True, cwd=module, env={**os.environ, "CGO_ENABLED": "0"})
    unfinished.rename(target)
    print(f"{target.name}: {time.monotonic() - begun:.0f} s, {target.stat().st_size >> 20} MiB")


if __name__ == "__main__":
    try:
        setup()
    except Missing as missing:
        sys.exit(f"error: {missing}")
