"""Objects in an S3-compatible store, through boto3; imported only where one is configured."""

import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from fluxfarm.errors import ObjectMissing, SettingsError, Unavailable
from fluxfarm.settings import Settings
from fluxfarm.storage.contract import CHUNK, ObjectStore
from fluxfarm.storage.keys import checked_key, checked_prefix

CONNECT_SECONDS = 3
READ_SECONDS = 20
ATTEMPTS = 3
CONNECTIONS = 32
DELETE_AT_ONCE = 1000
LONGEST_LINK_SECONDS = 7 * 24 * 3600
"""What signature version 4 allows."""

MISSING = frozenset({"NoSuchKey", "404"})
PAST_THE_END = frozenset({"InvalidRange", "416"})


class S3Store(ObjectStore):
    """One bucket; `link` signs for the public endpoint, everything else talks to the endpoint."""

    def __init__(self, settings: Settings) -> None:
        assert settings.s3_bucket is not None
        self._bucket = settings.s3_bucket
        self._client = _client(settings, settings.s3_endpoint_url)
        public = settings.s3_public_endpoint_url
        self._public = None if public is None else _client(settings, public)

    def put(self, key: str, data: bytes, media_type: str) -> None:
        checked_key(key)
        with _translated("write"):
            self._client.put_object(Bucket=self._bucket, Key=key, Body=data, ContentType=media_type)

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        chunks = self._chunks(checked_key(key), start, end)
        next(chunks)  # runs as far as the answer's headers, so that a missing object raises here
        return chunks

    def delete(self, keys: Iterable[str]) -> None:
        names = iter(keys)
        while batch := [{"Key": checked_key(key)} for key in islice(names, DELETE_AT_ONCE)]:
            with _translated("delete"):
                answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": batch, "Quiet": True})
            refused = {error.get("Code", "") for error in answer.get("Errors", [])} - MISSING
            if refused:
                raise Unavailable(f"the S3 store could not delete: {', '.join(sorted(refused))}")

    def keys(self, prefix: str) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=checked_prefix(prefix)
        )
        with _translated("list"):
            for page in pages:
                yield from (found["Key"] for found in page.get("Contents", []))

    def link(self, key: str, seconds: int, *, media_type: str, filename: str | None) -> str | None:
        if self._public is None:
            return None
        parameters = {
            "Bucket": self._bucket,
            "Key": checked_key(key),
            "ResponseContentType": media_type,
            "ResponseContentDisposition": _disposition(filename),
        }
        lifetime = max(1, min(seconds, LONGEST_LINK_SECONDS))
        with _translated("sign a link"):
            url: str = self._public.generate_presigned_url("get_object", Params=parameters, ExpiresIn=lifetime)
        return url

    def _chunks(self, key: str, start: int, end: int | None) -> Generator[bytes, None, None]:
        asked = {} if start == 0 and end is None else {"Range": _range(start, end)}
        with _translated("read"):
            try:
                body = self._client.get_object(Bucket=self._bucket, Key=key, **asked)["Body"]
            except ClientError as error:
                if _code(error) not in PAST_THE_END:
                    raise
                yield b""
                return
            with body:
                yield b""
                if end is None or end > start:
                    yield from body.iter_chunks(CHUNK)


def _client(settings: Settings, endpoint: str | None) -> Any:
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if settings.s3_path_style else "virtual"},
        request_checksum_calculation=settings.s3_checksums,
        response_checksum_validation=settings.s3_checksums,
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=CONNECTIONS,
    )
    try:
        session = boto3.session.Session(
            aws_access_key_id=settings.s3_access_key_id,
            aws_secret_access_key=settings.s3_secret_access_key,
            region_name=settings.s3_region,
        )
        return session.client("s3", endpoint_url=endpoint, config=config)
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(f"the S3 settings do not work together: {type(error).__name__}") from None


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    """Turn boto's errors into ours; their own texts hold URLs and are not passed on."""
    try:
        yield
    except ClientError as error:
        if _code(error) in MISSING:
            raise ObjectMissing("the object is not in the store") from None
        raise Unavailable(f"the S3 store could not {doing}: {_code(error)}") from None
    except BotoCoreError as error:
        raise Unavailable(f"the S3 store could not {doing}: {type(error).__name__}") from None


def _code(error: ClientError) -> str:
    answer: Mapping[str, Any] = error.response
    return str(answer.get("Error", {}).get("Code", "unknown"))


def _range(start: int, end: int | None) -> str:
    return f"bytes={start}-" if end is None else f"bytes={start}-{max(start, end - 1)}"


def _disposition(filename: str | None) -> str:
    if filename is None:
        return "inline"
    return f'attachment; filename="{re.sub(r"[^A-Za-z0-9._-]", "_", filename)}"'
