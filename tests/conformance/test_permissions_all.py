"""No request of a session goes unevaluated: a role without any policy may run no operation of any service."""

import botocore.session
import pytest
import roles
import used_operations
from botocore.exceptions import ClientError

# Operations that need no permission on AWS: STS refuses the second for a session, and the third is not signed.
FREE = {("sts", "GetCallerIdentity"), ("sts", "GetSessionToken"), ("sts", "AssumeRoleWithWebIdentity")}

DENIALS = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation", "403"}


def value(shape, name=""):
    """The smallest input that botocore accepts for a shape."""
    kind = shape.type_name
    if kind == "structure":
        members = shape.required_members
        return {member: value(shape.members[member], member) for member in members}
    if kind == "list":
        return [value(shape.member, name)]
    if kind == "map":
        return {"a": value(shape.value, name)}
    if kind == "string":
        if shape.enum:
            return shape.enum[0]
        return named(name).ljust(shape.metadata.get("min", 1), "a")[: shape.metadata.get("max", 10_000)]
    if kind in ("integer", "long"):
        return shape.metadata.get("min", 1)
    if kind in ("float", "double"):
        return 1.0
    return {"boolean": False, "blob": b"a", "timestamp": 0}[kind]


def named(member):
    """A name, ARN or document for a member with this name."""
    lower = member.lower()
    if lower == "policyarn" or lower == "permissionsboundary":
        return "arn:aws:iam::000000000000:policy/absent"
    if "rolearn" in lower or lower.endswith("iamroleid"):
        return "arn:aws:iam::000000000000:role/absent"
    if lower.endswith("arn") or lower in ("resource", "resourceid"):
        return "arn:aws:sagemaker:us-east-1:000000000000:training-job/absent"
    if lower == "bucket":
        return "absent-bucket"
    if lower == "copysource":
        return "absent-bucket/key"
    if "policy" in lower and ("document" in lower or lower == "policy"):
        return "{}"
    return "absent"


def operations():
    session = botocore.session.get_session()
    for service, name in sorted(used_operations.listed() - FREE):
        model = session.get_service_model(service)
        yield pytest.param(service, model.operation_model(name), id=f"{service}-{name}")


@pytest.fixture(scope="module")
def nobody(client, cloud):
    session = roles.assume(client, cloud, roles.make(client("iam")))
    # A bulk deletion answers for each object of an existing bucket.
    client("s3").create_bucket(Bucket="absent-bucket")
    made = {}
    return lambda service: made.setdefault(service, session.client(service, parameter_validation=False))


def test_who_one_is_needs_no_permission(nobody):
    assert nobody("sts").get_caller_identity()["Arn"].endswith("/tester")


@pytest.mark.parametrize("service,operation", operations())
def test_every_operation_needs_a_permission(nobody, service, operation):
    given = value(operation.input_shape) if operation.input_shape else {}
    if operation.name == "CompleteMultipartUpload":
        given["MultipartUpload"] = {"Parts": [{"ETag": "a", "PartNumber": 1}]}
    client = nobody(service)
    call = client.meta.method_to_api_mapping
    method = next(method for method, name in call.items() if name == operation.name)
    with pytest.raises(ClientError) as refused:
        answer = getattr(client, method)(**given)
        # Each object of a bulk deletion is an entry of its own.
        if operation.name == "DeleteObjects":
            assert [entry["Code"] for entry in answer["Errors"]] == ["AccessDenied"]
            raise ClientError({"Error": {"Code": "AccessDenied"}}, operation.name)
    error = refused.value.response["Error"]
    assert error["Code"] in DENIALS, error
