"""One checkpoint's safetensors files, seen as one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.loading.hf_values import read_json
from openhearth.models.loading.safetensors import SafetensorsFile, TensorEntry

INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"


class Shards:
    """The file `path`, or those of the folder `path`: the ones that its index names, or the only one there is.

    Raises ModelUnavailableError for what is missing, MalformedFileError for an index that does not fit its files.
    """

    def __init__(self, path: Path) -> None:
        self._files: dict[str, SafetensorsFile] = {}
        self._places: dict[str, SafetensorsFile] = {}
        try:
            self._open(path)
        except BaseException:
            self.close()
            raise

    def names(self) -> Iterable[str]:
        return self._places.keys()

    def path(self, name: str) -> Path:
        return self._places[name].path

    def entry(self, name: str) -> TensorEntry:
        return self._places[name].tensors[name]

    def tensor(self, name: str) -> torch.Tensor:
        """The tensor on the file's own memory."""
        return self._places[name].tensor(name)

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def _open(self, path: Path) -> None:
        if path.is_file():
            self._whole(path)
        elif (path / INDEX_NAME).is_file():
            self._sharded(path / INDEX_NAME)
        else:
            files = [path / SINGLE_NAME] if (path / SINGLE_NAME).is_file() else sorted(path.glob("*.safetensors"))
            if len(files) != 1:
                problem = f"{len(files)} safetensors files and no {INDEX_NAME}" if files else "no safetensors file"
                raise ModelUnavailableError(
                    f"{path} holds {problem}.", hint="Name the file itself, or fetch the index."
                )
            self._whole(files[0])

    def _whole(self, path: Path) -> None:
        file = self._files[path.name] = SafetensorsFile(path)
        self._places = dict.fromkeys(file.tensors, file)

    def _sharded(self, index: Path) -> None:
        places = read_json(index).get("weight_map")
        if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
            raise MalformedFileError(f"{index}: weight_map does not map names to files.", hint="Fetch it again.")
        for file in dict.fromkeys(places.values()):
            # A shard lies beside its index: a path would let the index read anything on this machine.
            if Path(file).name != file or file in ("", ".", "..") or "\\" in file or "\0" in file:
                raise MalformedFileError(f"{index}: {file!r} is not a file name.", hint="Do not trust this model.")
            self._files[file] = SafetensorsFile(index.parent / file)
        for name, file in places.items():
            if name not in self._files[file].tensors:
                raise MalformedFileError(f"{index}: {file} does not hold {name!r}.", hint="Fetch both again.")
        self._places = {name: self._files[file] for name, file in places.items()}
