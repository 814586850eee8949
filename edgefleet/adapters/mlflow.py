"""MLflow's model registry as the port `Models`.

A registration is one run: the ONNX file as an MLflow model with its signature, and the submission's
card and data sets beside it. The registered version carries the SHA-256 of every file, so what is
fetched is what was registered or nothing. The tag that asks for a release comes last: a
registration that broke off is seen by nobody, and registering the same bytes again completes it.
MLflow's client takes three seconds to import, so that happens at the first call.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgefleet.adapters.mlflow_submission import (
    MODEL_DIR,
    content,
    digests,
    params,
    place,
    read_card,
    sha256,
    write_mlflow_model,
)
from edgefleet.edge.contract import MODEL_FILE, Card
from edgefleet.errors import Refused, Unreachable
from edgefleet.fleet.trigger import CANDIDATE, RELEASE_TAG, REQUESTED
from edgefleet.ports import ModelVersion
from edgefleet.spec import On

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as Registered
    from mlflow.tracking import MlflowClient

EXPERIMENT: Final = "edgefleet"
CONTENT_TAG: Final = "edgefleet.content"
FILES_TAG: Final = "edgefleet.files"
_PAGE: Final = 200
_TAG_CHARS: Final = 5000
"""MLflow refuses longer values."""

_CLIENT: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # MLflow's own defaults try for minutes; the caller's retries are the ones that count.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
_GONE: Final = 404
_BUSY: Final = 429
_SERVER: Final = 500


class MlflowModels:
    """The models registered at one MLflow server."""

    def __init__(self, url: str, auth: str = "") -> None:
        """Remember the server, and `user:password` for it; nothing is dialled."""
        self._url = url
        self._auth = auth
        self._known: MlflowClient | None = None

    def versions(self, model: str) -> tuple[ModelVersion, ...]:
        """Return all versions of a model, newest first; an unknown model has none."""
        with self._asking(f"versions of model {model}"):
            aliases = self._aliases(model)
            if aliases is None:
                return ()
            found = self._found(f"name='{model}'")
        return tuple(_version(one, aliases) for one in found)

    def asking(self, model: str, on: On, after: int | None) -> tuple[ModelVersion, ...]:
        """Return the versions that ask for a release in that way, oldest first: one request.

        One more for each 200 that ask at once.
        """
        with self._asking(f"registrations of model {model}"):
            if on == "alias":
                alias = (self._aliases(model) or {}).get(CANDIDATE)
                found = [self._client.get_model_version(model, alias)] if alias else []
            elif on == "tag":
                found = self._found(f"name='{model}' AND tags.`{RELEASE_TAG}`='{REQUESTED}'")
            else:
                # The tag comes with the version itself; without it nothing could be fetched.
                complete = f"name='{model}' AND tags.`{CONTENT_TAG}` LIKE '%'"
                if after is None:
                    found = self._found(complete, newest=1)
                else:
                    found = self._found(f"{complete} AND version_number > {after}")
        return tuple(_version(one, {}) for one in reversed(found))

    def register(self, folder: Path, metrics: Mapping[str, float]) -> ModelVersion:
        """Register a checked submission folder; the same content again is the version it has.

        Raises:
            Refused: the folder lacks the model or its card.
        """
        card = read_card(folder)
        files = digests(folder)
        identity = content(files)
        same = [v for v in self.versions(card.model) if v.tags.get(CONTENT_TAG) == identity]
        with self._asking(f"registration of model {card.model}"):
            if same:
                version = same[-1].version
            else:
                tags = {CONTENT_TAG: identity, FILES_TAG: json.dumps(files, sort_keys=True)}
                version = self._store(folder, card, metrics, tags)
            if not same or RELEASE_TAG not in same[-1].tags:
                self._client.set_model_version_tag(card.model, version, RELEASE_TAG, REQUESTED)
            made = self._client.get_model_version(card.model, version)
            return _version(made, self._aliases(card.model) or {})

    def fetch(self, model: str, version: str, folder: Path) -> None:
        """Download a submission folder; all files are checked before the first is put there.

        Raises:
            Refused: there is no such version, it lacks a part, or a file's bytes are others.
        """
        subject = f"model {model} version {version}"
        with self._asking(subject):
            found = self._client.get_model_version(model, version)
        files: dict[str, str] = json.loads(found.tags.get(FILES_TAG, "{}"))
        if not files:
            problem = f"carries no tag {FILES_TAG}: edgefleet did not register it"
            raise Refused(subject, problem, "Register its submission with `edgefleet register`")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as draft:
            got: dict[str, Path] = {}
            for name, expected in files.items():
                got[name] = self._download(subject, found.run_id, name, Path(draft))
                if (digest := sha256(got[name])) != expected:
                    problem = f"{name} has sha256 {digest}, registered was {expected}"
                    raise Refused(subject, problem, "Register the submission again")
            for name, file in got.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                file.replace(folder / name)

    def record(self, model: str, version: str, tags: Mapping[str, str]) -> None:
        """Write what became of a version; a value over MLflow's limit is cut."""
        with self._asking(f"model {model} version {version}"):
            for name, value in tags.items():
                self._client.set_model_version_tag(model, version, name, value[:_TAG_CHARS])

    def alias(self, model: str, alias: str, version: str) -> None:
        """Point an alias at a version."""
        with self._asking(f"model {model} version {version}"):
            self._client.set_registered_model_alias(model, alias, version)

    @property
    def _client(self) -> MlflowClient:
        if self._known is None:
            for name, value in _CLIENT.items():
                os.environ.setdefault(name, value)
            if self._auth:
                # MLflow's client looks nowhere else, at each request.
                user, _, password = self._auth.partition(":")
                os.environ["MLFLOW_TRACKING_USERNAME"] = user
                os.environ["MLFLOW_TRACKING_PASSWORD"] = password
            from mlflow.tracking import MlflowClient  # noqa: PLC0415 - three seconds

            self._known = MlflowClient(self._url, self._url)
        return self._known

    def _aliases(self, model: str) -> Mapping[str, str] | None:
        """Return version by alias, None for a model that nobody has registered."""
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - as above

        try:
            return dict(self._client.get_registered_model(model).aliases)
        except MlflowException as error:
            if error.get_http_status_code() == _GONE:
                return None
            raise

    def _found(self, wanted: str, newest: int | None = None) -> list[Registered]:
        """Return the versions of a search, newest first; all pages of it, or so many versions."""
        found: list[Registered] = []
        token = None
        while True:
            page = self._client.search_model_versions(
                wanted,
                max_results=newest or _PAGE,
                order_by=["version_number DESC"],
                page_token=token,
            )
            found += page
            token = page.token
            if not token or newest:
                return found

    def _store(
        self, folder: Path, card: Card, metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> str:
        """Upload everything, then create the version; return its number."""
        client = self._client
        if self._aliases(card.model) is None:
            client.create_registered_model(card.model)
        run = client.create_run(self._experiment(), run_name=f"{card.model} submission")
        run_id = run.info.run_id
        for name, value in params(card).items():
            client.log_param(run_id, name, value)
        for name, number in metrics.items():
            client.log_metric(run_id, name, number)
        with tempfile.TemporaryDirectory() as draft:
            write_mlflow_model(Path(draft) / MODEL_DIR, folder, card)
            client.log_artifacts(run_id, str(Path(draft) / MODEL_DIR), MODEL_DIR)
        for name in digests(folder):
            if name != MODEL_FILE:
                client.log_artifact(run_id, str(folder / name), str(Path(place(name)).parent))
        client.set_terminated(run_id)
        source = f"{run.info.artifact_uri}/{MODEL_DIR}"
        made = client.create_model_version(
            card.model, source, run_id, tags=dict(tags), await_creation_for=0
        )
        return str(made.version)

    def _download(self, subject: str, run_id: str, name: str, draft: Path) -> Path:
        path = place(name)
        # A folder for each: MLflow keeps a file's name and drops the folders above it.
        target = draft / hashlib.sha256(name.encode()).hexdigest()
        target.mkdir()
        with self._asking(subject):
            there = {
                one.path for one in self._client.list_artifacts(run_id, str(Path(path).parent))
            }
            if path not in there:
                problem = f"its run {run_id} lacks the artifact {path}"
                raise Refused(subject, problem, "Register the submission again")
            return Path(self._client.download_artifacts(run_id, path, str(target)))

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        return str(found.experiment_id if found else self._client.create_experiment(EXPERIMENT))

    @contextmanager
    def _asking(self, subject: str) -> Iterator[None]:
        """Turn the client's errors into ours: no answer is Unreachable, a no is Refused."""
        self._client  # noqa: B018 - sets the environment before MLflow is imported
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - as above
        from requests import RequestException  # noqa: PLC0415 - comes with MLflow

        try:
            yield
        except MlflowException as error:
            status = error.get_http_status_code()
            if status >= _SERVER or status == _BUSY:
                raise self._silent(subject, error) from error
            remedy = f"Look at the model's page at {self._url}"
            raise Refused(subject, f"MLflow says: {error.message}", remedy) from error
        except RequestException as error:
            raise self._silent(subject, error) from error

    def _silent(self, subject: str, error: Exception) -> Unreachable:
        return Unreachable(f"MLflow at {self._url} gave no answer to {subject}: {error}")


def _version(found: Registered, aliases: Mapping[str, str]) -> ModelVersion:
    return ModelVersion(
        model=found.name,
        version=str(found.version),
        registered_at=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
        tags=dict(found.tags),
        aliases=tuple(sorted(a for a, version in aliases.items() if version == found.version)),
    )
