"""The Hugging Face Hub over plain HTTP: what a repository holds, and its files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx
from pydantic import BaseModel, Field, ValidationError

from openhearth.errors import DownloadError, IntegrityError, ModelUnavailableError
from openhearth.models.catalog import CatalogEntry, HubSource
from openhearth.models.reference import HubReference
from openhearth.models.sources.files import disk_errors, git_blob_id, publish, require_space, sha256_of, wrong_bytes
from openhearth.models.sources.http import check_reachable, download, forget, get_json, open_client
from openhearth.models.sources.job import Job
from openhearth.models.sources.web import fetch_files

_REQUIRED = ("config.json", "tokenizer.json")
_OPTIONAL = ("tokenizer_config.json", "generation_config.json", "special_tokens_map.json", "chat_template.jinja")
_INDEX = "model.safetensors.index.json"
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository. Large files carry a `sha256`; small ones git's blob id."""

    path: str
    size: int
    sha256: str | None
    blob_id: str | None

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class HubListing:
    """A repository at one `commit`."""

    repo: str
    commit: str
    files: tuple[HubFile, ...]


def fetch_from_hub(source: HubSource, entry: CatalogEntry, folder: Path, job: Job) -> Path:
    """Bring a catalog entry's files into `folder`."""
    with open_hub(job) as client:
        check_reachable(client, _endpoint(job), job)
        base = f"{_endpoint(job)}/{source.repo}/resolve/{quote(source.revision, safe='')}"
        return fetch_files(client, {file.name: f"{base}/{file.name}" for file in entry.files}, entry, folder, job)


def fetch_repository(reference: HubReference, folder: Path, job: Job) -> Path:
    """Bring a repository's model into a folder beneath `folder` named by its commit.

    Returns that folder, or the file in it when the reference names one.
    """
    with open_hub(job) as client:
        check_reachable(client, _endpoint(job), job)
        listing = list_repository(client, reference, job)
        chosen = choose_files(listing, reference.file)
        target = folder / listing.commit
        with disk_errors(folder):
            target.mkdir(parents=True, exist_ok=True)
        missing = [file for file in chosen if not (target / file.name).exists()]
        require_space(target, sum(file.size for file in missing), f"The download of {job.title}")
        total, done = sum(file.size for file in chosen), 0
        for file in chosen:
            if file in missing:
                _fetch_one(client, listing, file, target, job, done, total)
            done += file.size
    return target / chosen[0].name if reference.file else target


def open_hub(job: Job) -> httpx.Client:
    """A client for the hub, with the user's token if there is one."""
    secret = job.settings.model.hub_token
    return open_client(job, token=secret.get_secret_value() if secret else os.environ.get("HF_TOKEN"))


def list_repository(client: httpx.Client, reference: HubReference, job: Job) -> HubListing:
    """What the repository holds. Raises DownloadError."""
    url = f"{_endpoint(job)}/api/models/{reference.repo}/revision/{reference.revision}"
    answer = get_json(client, f"{url}?blobs=true", job)
    try:
        repository = _Repository.model_validate(answer)
    except ValidationError as error:
        raise DownloadError(f"{url} answered with something unexpected.") from error
    files = [
        HubFile(s.rfilename, (s.lfs or s).size or 0, s.lfs.sha256 if s.lfs else None, s.blobId)
        for s in repository.siblings
    ]
    return HubListing(reference.repo, repository.sha, tuple(files))


def choose_files(listing: HubListing, wanted: str | None) -> list[HubFile]:
    """The one GGUF file that is wanted, or the safetensors weights and what belongs to them.

    Raises ModelUnavailableError, telling what there is instead. Pickled weights are never chosen.
    """
    files = {file.path: file for file in listing.files}
    ggufs = sorted(path for path in files if path.endswith(".gguf"))
    if wanted is not None:
        if wanted in files:
            return [files[wanted]]
        raise ModelUnavailableError(f"hf:{listing.repo} holds no {wanted}.", hint=_offer(listing.repo, ggufs))
    weights = [f for path, f in files.items() if path.startswith("model") and path.endswith(".safetensors")]
    if not weights:
        pickled = any(path.endswith(_PICKLED) for path in files)
        why = " Its weights are pickled, and a pickle can run any code." if pickled and not ggufs else ""
        raise ModelUnavailableError(
            f"hf:{listing.repo} holds no safetensors weights.{why}", hint=_offer(listing.repo, ggufs)
        )
    for name in _REQUIRED:
        if name not in files:
            raise ModelUnavailableError(f"hf:{listing.repo} holds no {name}.", hint=_offer(listing.repo, ggufs))
    companions = [files[name] for name in (*_REQUIRED, *_OPTIONAL, _INDEX) if name in files]
    return [*companions, *sorted(weights, key=lambda file: file.path)]


def _fetch_one(
    client: httpx.Client, listing: HubListing, file: HubFile, folder: Path, job: Job, done: int, total: int
) -> None:
    part = folder / f"{file.name}.part"
    url = f"{_endpoint(job)}/{listing.repo}/resolve/{listing.commit}/{quote(file.path)}"
    what = f"Downloading {job.title}"
    download(client, url, part, size=file.size or None, job=job, report=lambda n: job.progress(what, done + n, total))
    try:
        _verify(file, part, job)
    except IntegrityError:
        forget(part)
        raise
    publish(part, folder / file.name)
    forget(part)


def _verify(file: HubFile, part: Path, job: Job) -> None:
    if file.sha256 is not None:
        found = sha256_of(part, job)
        if found != file.sha256:
            raise wrong_bytes(file.name, file.sha256, found)
    elif file.blob_id is not None:
        found = git_blob_id(part)
        if found != file.blob_id:
            raise IntegrityError(
                f"{file.name} has the wrong bytes: expected git blob {file.blob_id}, found {found}.",
                hint="It was deleted. Repeat the command.",
            )


def _offer(repo: str, ggufs: list[str]) -> str:
    if not ggufs:
        return "Choose another repository, one with model.safetensors, config.json and tokenizer.json."
    return f"It holds GGUF files; name one, as in hf:{repo}:{ggufs[0]}" + (f" ({len(ggufs)} in all)." if ggufs else ".")


def _endpoint(job: Job) -> str:
    return job.settings.model.hub_endpoint.rstrip("/")


class _Lfs(BaseModel):
    sha256: str
    size: int


class _Sibling(BaseModel):
    rfilename: str
    size: int | None = None
    blobId: str | None = None
    lfs: _Lfs | None = None


class _Repository(BaseModel):
    sha: str = Field(pattern=r"^[0-9a-f]{6,64}$")
    siblings: list[_Sibling]
