"""Pictures at rest: one contract, two stores (a local directory, S3-compatible), and the keys of what they hold."""

import importlib

from fluxfarm.settings import Settings
from fluxfarm.storage.contract import CHUNK, ObjectStore
from fluxfarm.storage.keys import input_key, object_key, prediction_prefix
from fluxfarm.storage.local import LocalStore

__all__ = ["CHUNK", "LocalStore", "ObjectStore", "input_key", "object_key", "open_store", "prediction_prefix"]


def open_store(settings: Settings) -> ObjectStore:
    """The store that the settings name; nothing is read or written yet."""
    if settings.s3_bucket is None:
        return LocalStore(settings.objects_directory)
    # By name, because boto3 costs 40 MB that API processes with a local store do without.
    s3 = importlib.import_module("fluxfarm.storage.s3")
    store: ObjectStore = s3.S3Store(settings)
    return store
