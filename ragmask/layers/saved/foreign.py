"""What is no saved model, and how one is made of it."""

import zipfile
from contextlib import suppress
from pathlib import Path

from ragmask.files import MODEL_FILE, holds_model, shown

_SUFFIXES = {
    **dict.fromkeys((".keras", ".h5", ".hdf5"), "keras"),
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".pt2"), "torch"),
    ".onnx": "onnx",
    **dict.fromkeys((".safetensors", ".npz"), "weights"),
    **dict.fromkeys((".parquet", ".arrow", ".arrows", ".feather", ".ipc", ".csv"), "data"),
}
_HDF5, _ARROW, _PARQUET = b"\x89HDF", b"ARROW1", b"PAR1"
_INSIDE = {"config.json": "keras", "data.pkl": "torch"}  # by names of what is in a zip file
_HOW = {
    "keras": (
        "is a model of Keras: make a saved model of it, "
        "ragmask.interop.keras.from_keras(keras.models.load_model({path!r})).save(FOLDER)"
    ),
    "torch": (
        "is a file of torch's: load it into its module, and save that as a model, "
        "ragmask.interop.torch.from_torch(module).save(FOLDER)"
    ),
    "onnx": (
        "is a model of ONNX, which ragmask does not read: take the Keras or torch model that it "
        "was made of, with ragmask.interop.keras.from_keras or ragmask.interop.torch.from_torch, "
        "or the weights of its recurrent layers, with LSTMWeights.from_onnx"
    ),
    "weights": (
        "holds weights alone: set them in a model of layers, model.set_weights(…), and save that, "
        "model.save(FOLDER)"
    ),
    "data": "is data: a saved model's folder is wanted here",
    "tensorflow": (
        "is TensorFlow's SavedModel, from which layers cannot be read: save the Keras model as "
        "a .keras file, and make a saved model of that with ragmask.interop.keras.from_keras"
    ),
    "transformers": (
        "is a model of transformers, whose layers ragmask does not have: a saved model is a "
        "folder that Model.save wrote"
    ),
}


def why_no_model(path: Path) -> str:
    """A path that is no saved model's folder, in words that say what to do instead."""
    name = shown(path)
    nothing = f"{name} holds no saved model: there is no {MODEL_FILE} in it"
    if path.is_dir():
        kind = _kind_of_folder(path)
        return nothing if kind is None else f"{name} {_HOW[kind]}"
    if not path.exists():
        return f"{nothing}, nor such a folder"
    if holds_model(path.parent):
        return f"{name} is a file of a saved model, which is the folder {shown(path.parent)}"
    kind = _SUFFIXES.get(path.suffix.lower()) or _kind_of_contents(path)
    if kind is None:
        return f"{name} is a file: a saved model is a folder, as Model.save writes it"
    return f"{name} {_HOW[kind].format(path=name)}"


def _kind_of_folder(path: Path) -> str | None:
    if (path / "saved_model.pb").is_file():
        return "tensorflow"
    weights = ("model.safetensors", "pytorch_model.bin", "adapter_model.safetensors")
    return "transformers" if any((path / one).is_file() for one in weights) else None


def _kind_of_contents(path: Path) -> str | None:
    with suppress(OSError, ValueError, zipfile.BadZipFile):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                names = [one.rpartition("/")[2] for one in packed.namelist()]
            return next((kind for inside, kind in _INSIDE.items() if inside in names), None)
        with path.open("rb") as file:
            head = file.read(len(_ARROW))
        if head.startswith(_HDF5):
            return "keras"
        if head.startswith((_ARROW, _PARQUET)):
            return "data"
    return None
