"""A real node: containerd and a kubelet in a network namespace of their own."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgefleet.model.oci import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE, digest_of
from tests.kubernetes.cluster.binaries import program
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.cluster.network import Cable, Network
from tests.kubernetes.cluster.remains import CGROUPS, Program, Remains, run, wait_for

PAUSE = "test.local/pause:1"


@dataclass
class RealNode:
    """Made and Ready when the constructor returns."""

    remains: Remains
    plane: ControlPlane
    network: Network
    name: str
    registries: Mapping[str, str]
    """Registry as images name it -> URL that is asked instead (a mirror, or itself)."""
    labels: Mapping[str, str] = field(default_factory=dict)
    kubelet_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cable: Cable = self.network.cable()
        self.folder = self.remains.root / self.name
        for folder in ("cni", "kubelet", "logs"):
            (self.folder / folder).mkdir(parents=True)
        self.socket = self.folder / "c.sock"
        self._registries()
        self.containerd = self._containerd()
        self._pause()
        self.kubelet = self._kubelet()
        wait_for(self.ready, f"node {self.name} Ready", 60)
        self.proxy = self._proxy()

    def ctr(self, *words: object, check: bool = True) -> str:
        """Run containerd's own client."""
        return run("ctr", "-a", self.socket, "-n", "k8s.io", *words, check=check).stdout

    def ready(self) -> bool:
        """Say whether the API server thinks so."""
        try:
            node = self.plane.ask("GET", f"/api/v1/nodes/{self.name}")
        except OSError:
            return False
        conditions = node["status"].get("conditions", ())
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def condition(self, kind: str) -> str:
        """Return the status of one of the node's conditions."""
        found = self.plane.ask("GET", f"/api/v1/nodes/{self.name}")["status"]["conditions"]
        return next(str(c["status"]) for c in found if c["type"] == kind)

    def restart_kubelet(self, **options: Any) -> None:
        """Stop the kubelet and start it with other settings than usual, none: as before."""
        self.kubelet.stop()
        file = self.folder / "kubelet.json"
        file.write_text(json.dumps({**self._kubelet_config, **options}))
        self.remains.restart(self.kubelet)

    def restart_daemons(self) -> None:
        """Start both that were killed; a kubelet that finds no containerd ends at once."""
        self.remains.restart(self.containerd)
        self._wait_containerd()
        self.remains.restart(self.kubelet)

    def _registries(self) -> None:
        for registry, url in self.registries.items():
            folder = self.folder / "certs.d" / registry
            folder.mkdir(parents=True)
            hosts = f'server = "{url}"\n[host."{url}"]\n  capabilities = ["pull", "resolve"]\n'
            (folder / "hosts.toml").write_text(hosts)

    def _containerd(self) -> Program:
        bridge = {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "dataDir": str(self.folder / "ipam"),
                "ranges": [[{"subnet": f"{self.cable.pods}.0/24"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        net = {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}
        (self.folder / "cni" / "10-pods.conflist").write_text(json.dumps(net))
        cri = 'plugins."io.containerd.grpc.v1.cri"'
        config = f"""\
version = 2
root = "{self.folder}/containerd/root"
state = "{self.folder}/containerd/state"
[grpc]
  address = "{self.socket}"
[{cri}]
  sandbox_image = "{PAUSE}"
  # Without CAP_SYS_RESOURCE nobody may lower a process's OOM score.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
[{cri}.registry]
  config_path = "{self.folder}/certs.d"
[{cri}.cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{self.folder}/cni"
[{cri}.containerd]
  default_runtime_name = "runc"
[{cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[{cri}.containerd.runtimes.runc.options]
  SystemdCgroup = false
  Root = "{self.folder}/containerd/runc"
"""
        (self.folder / "containerd.toml").write_text(config)
        argv = [*self.cable.inside, program("containerd"), "-c", self.folder / "containerd.toml"]
        started = self.remains.start("containerd", argv, self.folder / "containerd.log", os.environ)
        self._wait_containerd()
        return started

    def _wait_containerd(self) -> None:
        ask = ("ctr", "-a", self.socket, "version")
        wait_for(lambda: run(*ask, check=False).returncode == 0, "containerd", 30)

    def _pause(self) -> None:
        archive = self.folder / "pause.tar"
        archive.write_bytes(pause_image(program("pause").read_bytes()))
        self.ctr("images", "import", archive)

    def _kubelet(self) -> Program:
        pki = self.plane.authority
        user = f"system:node:{self.name}"
        kubeconfig = self.plane.config_of(self.name, user, "system:nodes")
        serving = pki.issue(
            f"{self.name}-serving", user, ["system:nodes"], [self.cable.address, self.name]
        )
        cgroup = f"ef-{self.name}-{os.getpid()}"
        self._cgroups(cgroup)
        config: dict[str, Any] = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(pki.certificate)},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(serving[0]),
            "tlsPrivateKeyFile": str(serving[1]),
            "address": self.cable.address,
            "healthzPort": 0,
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{cgroup}",
            "enforceNodeAllocatable": ["pods"],
            "makeIPTablesUtilChains": False,
            "resolvConf": "",
            "nodeStatusUpdateFrequency": "2s",
            "nodeStatusReportFrequency": "10s",
            "nodeLeaseDurationSeconds": 8,
            "syncFrequency": "2s",
            "evictionHard": {
                "memory.available": "50Mi",
                "nodefs.available": "1%",
                "imagefs.available": "1%",
            },
            "evictionPressureTransitionPeriod": "5s",
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "podLogsDir": str(self.folder / "logs"),
            "volumePluginDir": str(self.folder / "volume-plugins"),
            "maxPods": 40,
            **self.kubelet_options,
        }
        self._kubelet_config = config
        (self.folder / "kubelet.json").write_text(json.dumps(config))
        argv = [
            *self.cable.inside,
            program("kubelet"),
            f"--config={self.folder / 'kubelet.json'}",
            f"--kubeconfig={kubeconfig}",
            f"--root-dir={self.folder / 'kubelet'}",
            f"--cert-dir={self.folder / 'kubelet-pki'}",
            f"--hostname-override={self.name}",
            f"--node-ip={self.cable.address}",
            f"--node-labels={','.join(f'{k}={v}' for k, v in self.labels.items())}",
        ]
        return self.remains.start("kubelet", argv, self.folder / "kubelet.log", os.environ)

    def _proxy(self) -> Program:
        """Start what makes services reachable on the node."""
        kubeconfig = self.plane.config_of(f"{self.name}-proxy", "system:kube-proxy")
        argv = [
            *self.cable.inside,
            program("kube-proxy"),
            f"--kubeconfig={kubeconfig}",
            f"--hostname-override={self.name}",
            "--proxy-mode=iptables",
            f"--bind-address={self.cable.address}",
            "--healthz-bind-address=127.0.0.1:10256",
            "--metrics-bind-address=127.0.0.1:10249",
            "--nodeport-addresses=primary",
            "--iptables-min-sync-period=100ms",
            # Else it sets limits of the whole machine.
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0s",
            "--conntrack-tcp-timeout-close-wait=0s",
        ]
        return self.remains.start("kube-proxy", argv, self.folder / "kube-proxy.log", os.environ)

    def _cgroups(self, name: str) -> None:
        """Make the kubelet's own root in every hierarchy: it does not make one itself."""
        self.remains.note("cgroup", name)
        for hierarchy in CGROUPS.iterdir():
            if (hierarchy / "tasks").exists() and not hierarchy.is_symlink():
                (hierarchy / name).mkdir(exist_ok=True)
        cpuset = CGROUPS / "cpuset"
        if cpuset.exists():
            for file in ("cpuset.cpus", "cpuset.mems"):
                (cpuset / name / file).write_text((cpuset / file).read_text())


def pause_image(binary: bytes) -> bytes:
    """Return an OCI archive of the image that holds a pod's namespaces: one file."""
    tar = _tar({"pause": binary})
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/pause"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(tar)]},
        }
    ).encode()

    def pointer(kind: str, content: bytes) -> dict[str, Any]:
        return {"mediaType": kind, "digest": digest_of(content), "size": len(content)}

    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": pointer(CONFIG_TYPE, config),
            "layers": [pointer(LAYER_TYPE, tar)],
        }
    ).encode()
    entry = {
        **pointer(MANIFEST_TYPE, manifest),
        "annotations": {
            "io.containerd.image.name": PAUSE,
            "org.opencontainers.image.ref.name": PAUSE,
        },
    }
    blobs = {f"blobs/sha256/{digest_of(b)[7:]}": b for b in (tar, config, manifest)}
    index = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    return _tar({"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": index, **blobs})


def _tar(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()
