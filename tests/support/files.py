"""Altered copies of the files that torte writes."""

import json

from safetensors import safe_open
from safetensors.torch import save_file


def altered(path, change):
    """A copy of an exported file with its JSON changed."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        document = json.loads(file.metadata()["torte"])
    change(document["content"], tensors)
    other = path.with_name("altered.safetensors")
    save_file(tensors, other, metadata={"torte": json.dumps(document)})
    return other
