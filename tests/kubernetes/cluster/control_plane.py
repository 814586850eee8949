"""A Kubernetes control plane as plain processes: etcd, API server, controllers, scheduler."""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import urllib3

from tests.kubernetes.cluster.binaries import program
from tests.kubernetes.cluster.pki import Authority, new_key
from tests.kubernetes.cluster.remains import Program, Remains, wait_for

SERVICE_RANGE = "10.96.0.0/16"


_GIVEN: set[int] = set()
"""Ports that somebody has been told, and may not listen on yet."""


def free_port(host: str) -> int:
    """Return a port that the kernel says is free, each to one caller only."""
    while True:
        with socket.socket() as probe:
            probe.bind((host, 0))
            port: int = probe.getsockname()[1]
        if port not in _GIVEN:
            _GIVEN.add(port)
            return port


class ControlPlane:
    """One cluster's. `host` is the address that nodes reach the API server by."""

    def __init__(
        self,
        remains: Remains,
        name: str,
        host: str = "127.0.0.1",
        grace_s: int = 10,
        api_options: Sequence[str] = (),
    ) -> None:
        self.name, self.host, self.grace_s, self.api_options = name, host, grace_s, api_options
        self._remains = remains
        self.folder = remains.root / name
        self.folder.mkdir()
        self.authority = Authority(self.folder / "pki")
        self.port = free_port(host)
        self.url = f"https://{host}:{self.port}"
        self._context = ssl.create_default_context(cafile=str(self.authority.certificate))
        self.kubeconfig = self.config_of("admin", "admin", "system:masters")
        pki = self.authority.folder
        self._context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        self.programs: dict[str, Program] = {}
        self._start()

    def _start(self) -> None:
        client, peer = (f"http://127.0.0.1:{free_port('127.0.0.1')}" for _ in range(2))
        self._run(
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=warn",
            "--unsafe-no-fsync",
            # As kubeadm has it, only slower: else what rests has no bookmarks for ten minutes.
            "--experimental-watch-progress-notify-interval=20s",
        )
        self._run_api_server(client)
        wait_for(self.ready, f"API server of {self.name}", 120)
        self._run(
            "kube-controller-manager",
            f"--kubeconfig={self.config_of('controllers', 'system:kube-controller-manager')}",
            "--leader-elect=false",
            "--secure-port=0",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={self.authority.folder / 'accounts.key'}",
            f"--root-ca-file={self.authority.certificate}",
            f"--node-monitor-grace-period={self.grace_s}s",
            "--node-monitor-period=1s",
            "--kube-api-qps=300",
            "--kube-api-burst=600",
            "--concurrent-deployment-syncs=20",
            "--concurrent-replicaset-syncs=20",
            "--concurrent-job-syncs=20",
        )
        self._run(
            "kube-scheduler",
            f"--kubeconfig={self.config_of('scheduler', 'system:kube-scheduler')}",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=300",
            "--kube-api-burst=600",
        )
        # Before it is there, no pod is admitted.
        wait_for(self._default_account, "the default service account", 60)

    def _run_api_server(self, etcd: str) -> None:
        pki = self.authority
        hosts = ["127.0.0.1", self.host, "localhost", "kubernetes.default.svc"]
        certificate, key = pki.issue("server", "kube-apiserver", hosts=hosts)
        kubelet = pki.issue("to-kubelets", "kube-apiserver-kubelet-client", ["system:masters"])
        accounts = pki.folder / "accounts.key"
        new_key(accounts)
        self._run(
            "kube-apiserver",
            f"--etcd-servers={etcd}",
            f"--bind-address={self.host}",
            f"--secure-port={self.port}",
            "--endpoint-reconciler-type=none",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--client-ca-file={pki.certificate}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--kubelet-certificate-authority={pki.certificate}",
            f"--kubelet-client-certificate={kubelet[0]}",
            f"--kubelet-client-key={kubelet[1]}",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={accounts}",
            f"--service-account-signing-key-file={accounts}",
            "--allow-privileged=true",
            *self.api_options,
        )

    def config_of(self, name: str, user: str, *groups: str) -> Path:
        """Return a kubeconfig file for a user, made with a certificate of its own."""
        certificate, key = self.authority.issue(name, user, groups)
        file = self.folder / f"{name}.kubeconfig"
        named = [("cluster", "clusters"), ("user", "users"), ("context", "contexts")]
        parts = {
            "cluster": {
                "server": self.url,
                "certificate-authority-data": _text(self.authority.certificate),
            },
            "user": {
                "client-certificate-data": _text(certificate),
                "client-key-data": _text(key),
            },
            "context": {"cluster": self.name, "user": self.name},
        }
        file.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": self.name,
                    **{plural: [{"name": self.name, one: parts[one]}] for one, plural in named},
                }
            )
        )
        return file

    def connections(self, **options: object) -> urllib3.PoolManager:
        """Return connections that may do anything."""
        pki = self.authority
        files = {"cert_file": pki.folder / "admin.crt", "key_file": pki.folder / "admin.key"}
        mine = {name: str(file) for name, file in files.items()}
        return urllib3.PoolManager(ca_certs=str(pki.certificate), **mine, **options)

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        kind: str = "application/json",
    ) -> Any:
        """Return what the API server answers, as an administrator.

        Raises:
            urllib.error.HTTPError: it refuses.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - our own API server
            self.url + path, data=data, method=method, headers={"Content-Type": kind}
        )
        with urllib.request.urlopen(  # noqa: S310 - as above
            request, timeout=20, context=self._context
        ) as answer:
            content = answer.read()
        return json.loads(content) if content[:1] in b"{[" else content.decode()

    def ready(self) -> bool:
        """Say whether the API server is ready; it may have ended, which is an error."""
        if not self.programs["kube-apiserver"].alive:
            raise RuntimeError(f"the API server ended: {self.programs['kube-apiserver'].log}")
        try:
            return bool(self.ask("GET", "/readyz") == "ok")
        except (OSError, ValueError):
            return False

    def _default_account(self) -> bool:
        try:
            self.ask("GET", "/api/v1/namespaces/default/serviceaccounts/default")
        except urllib.error.HTTPError:
            return False
        return True

    def _run(self, name: str, *arguments: object) -> None:
        self.programs[name] = self._remains.start(
            name, [program(name), *arguments], self.folder / f"{name}.log", dict(os.environ)
        )

    def stop_api_server(self) -> None:
        """End the API server; etcd and the controllers stay."""
        self.programs["kube-apiserver"].stop()

    def start_api_server(self) -> None:
        """Start it again on its port."""
        self._remains.restart(self.programs["kube-apiserver"])
        wait_for(self.ready, f"API server of {self.name}", 120)


def _text(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
