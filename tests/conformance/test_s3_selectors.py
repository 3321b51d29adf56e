"""Each operation of S3's model is handled or rejected by name, and never mistaken for another operation."""

import gzip
import json
from pathlib import Path

import botocore

ROOT = Path(__file__).parents[2]


def model():
    directory = Path(botocore.__file__).parent / "data/s3/2006-03-01"
    packed = directory / "service-2.json.gz"
    return json.loads(gzip.decompress(packed.read_bytes()) if packed.exists() else (directory / "service-2.json").read_text())


def test_every_sub_resource_of_the_model_is_known():
    source = (ROOT / "crates/local-cloud/src/s3/selectors.rs").read_text()
    known = source.split("const SELECTORS", 1)[1].split("];", 1)[0]
    for name, operation in model()["operations"].items():
        query = operation["http"]["requestUri"].partition("?")[2]
        for member in filter(None, query.split("&")):
            if "=" not in member:
                assert f'"{member}"' in known, f"{name}: ?{member} would be answered by another operation"


def test_a_rename_does_not_write_an_empty_object(client):
    s3 = client("s3")
    s3.create_bucket(Bucket="selectors")
    s3.put_object(Bucket="selectors", Key="kept", Body=b"precious")
    try:
        s3.rename_object(Bucket="selectors", Key="kept", RenameSource="/selectors/other")
    except s3.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == "NotImplemented"
    else:
        raise AssertionError("an object that does not exist was renamed")
    assert s3.get_object(Bucket="selectors", Key="kept")["Body"].read() == b"precious"
