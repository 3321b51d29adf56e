"""What a role's session may do: each kind of policy, each protocol, and everything that runs with a role."""

import base64
import hashlib
import json
import subprocess
import time
import uuid

import images
import pytest
import roles
from botocore.exceptions import ClientError
from conftest import BIN, watch
from roles import allow, deny
from s3_tools import fetch

ACCOUNT = "000000000000"


def unique(prefix="p"):
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def error(call, *args, **kwargs):
    """Code, message and status of a refused call."""
    with pytest.raises(ClientError) as refused:
        call(*args, **kwargs)
    answer = refused.value.response
    return answer["Error"]["Code"], answer["Error"]["Message"], answer["ResponseMetadata"]["HTTPStatusCode"]


def denied(call, *args, **kwargs):
    code, message, _ = error(call, *args, **kwargs)
    assert code in ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation"), (code, message)
    return message


@pytest.fixture
def actor(client, cloud):
    """A session of a new role with these statements."""

    def actor(*statements, session=None, boundary=None, services=("sagemaker",)):
        more = {"PermissionsBoundary": boundary} if boundary else {}
        arn = roles.make(client("iam"), *statements, services=services, **more)
        made = roles.assume(client, cloud, arn, watch=watch, **(session or {}))
        made.role = arn
        return made

    return actor


@pytest.fixture
def bucket(client):
    name = unique("perm")
    client("s3").create_bucket(Bucket=name)
    client("s3").put_object(Bucket=name, Key="data/a.csv", Body=b"1")
    client("s3").put_object(Bucket=name, Key="other/b.csv", Body=b"2")
    return name


def user(session):
    name = session.role.rsplit("/", 1)[1]
    return f"User: arn:aws:sts::{ACCOUNT}:assumed-role/{name}/tester is not authorized to perform: "


# --- protocols ------------------------------------------------------------------------------


def test_a_denial_has_the_code_status_and_words_of_its_service(actor, bucket):
    nobody = actor()
    nothing = "because no identity-based policy allows the {} action"
    for service, call, arguments, action, resource, code, status in [
        ("ecr", "describe_repositories", {"repositoryNames": ["rr"]}, "ecr:DescribeRepositories",
         f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/rr", "AccessDeniedException", 400),
        ("sagemaker", "describe_training_job", {"TrainingJobName": "j"}, "sagemaker:DescribeTrainingJob",
         f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:training-job/j", "AccessDeniedException", 400),
        ("iam", "get_role", {"RoleName": "r"}, "iam:GetRole", None, "AccessDenied", 403),
        ("cloudformation", "describe_stacks", {"StackName": "s"}, "cloudformation:DescribeStacks",
         None, "AccessDenied", 403),
        ("ec2", "describe_vpcs", {}, "ec2:DescribeVpcs", None, "UnauthorizedOperation", 403),
        ("lambda", "get_function", {"FunctionName": "f"}, "lambda:GetFunction",
         f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:f", "AccessDeniedException", 403),
        ("sagemaker-runtime", "invoke_endpoint", {"EndpointName": "e", "Body": b""}, "sagemaker:InvokeEndpoint",
         f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:endpoint/e", "AccessDeniedException", 403),
        ("s3", "get_object", {"Bucket": bucket, "Key": "data/a.csv"}, "s3:GetObject",
         f'"arn:aws:s3:::{bucket}/data/a.csv"', "AccessDenied", 403),
    ]:
        found = error(getattr(nobody.client(service), call), **arguments)
        assert (found[0], found[2]) == (code, status), (service, found)
        assert found[1].startswith(f"{user(nobody)}{action} on resource: {resource or ''}"), found
        assert found[1].endswith(nothing.format(action)), found


def test_the_account_itself_may_do_everything(client, bucket):
    statement = deny("s3:*", [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"], Principal="*")
    client("s3").put_bucket_policy(Bucket=bucket, Policy=roles.document(statement))
    assert client("s3").get_object(Bucket=bucket, Key="data/a.csv")["Body"].read() == b"1"


# --- kinds of policies ----------------------------------------------------------------------


def test_identity_policies_allow_and_deny(client, actor, bucket):
    reader = actor(
        allow("s3:GetObject", f"arn:aws:s3:::{bucket}/*"), deny("s3:GetObject", f"arn:aws:s3:::{bucket}/other/*")
    )
    s3 = reader.client("s3")
    assert s3.get_object(Bucket=bucket, Key="data/a.csv")["Body"].read() == b"1"
    assert denied(s3.get_object, Bucket=bucket, Key="other/b.csv").endswith(
        "with an explicit deny in an identity-based policy"
    )
    # A change counts at once, for sessions that exist already.
    roles.permit(client("iam"), reader.role, allow("s3:GetObject", f"arn:aws:s3:::{bucket}/other/*"))
    assert s3.get_object(Bucket=bucket, Key="other/b.csv")["Body"].read() == b"2"
    denied(s3.get_object, Bucket=bucket, Key="data/a.csv")


def test_managed_policies(client, actor, bucket):
    iam = client("iam")
    policy = iam.create_policy(
        PolicyName=unique("read"), PolicyDocument=roles.document(allow("s3:ListBucket", f"arn:aws:s3:::{bucket}"))
    )["Policy"]["Arn"]
    reader = actor()
    s3 = reader.client("s3")
    denied(s3.list_objects_v2, Bucket=bucket)
    iam.attach_role_policy(RoleName=reader.role.rsplit("/", 1)[1], PolicyArn=policy)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 2
    stricter = roles.document(
        allow("s3:ListBucket", f"arn:aws:s3:::{bucket}", Condition={"StringLike": {"s3:prefix": "data/*"}})
    )
    iam.create_policy_version(PolicyArn=policy, PolicyDocument=stricter, SetAsDefault=True)
    denied(s3.list_objects_v2, Bucket=bucket)
    assert s3.list_objects_v2(Bucket=bucket, Prefix="data/")["KeyCount"] == 1


def test_policies_of_aws_are_refused_by_name_unless_their_text_is_known(client, actor):
    nobody = actor()
    name = nobody.role.rsplit("/", 1)[1]
    client("iam").attach_role_policy(RoleName=name, PolicyArn="arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")
    code, message, _ = error(nobody.client("s3").list_buckets)
    assert code == "NotImplemented" and "AmazonS3ReadOnlyAccess" in message
    client("iam").attach_role_policy(RoleName=name, PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    nobody.client("s3").list_buckets()


def test_a_boundary_limits_a_role(client, actor, bucket):
    boundary = client("iam").create_policy(
        PolicyName=unique("boundary"), PolicyDocument=roles.document(allow("s3:*"), deny("s3:DeleteObject*"))
    )["Policy"]["Arn"]
    limited = actor(allow("*"), boundary=boundary)
    limited.client("s3").list_buckets()
    assert denied(limited.client("ecr").describe_repositories).endswith(
        "because no permissions boundary allows the ecr:DescribeRepositories action"
    )
    message = denied(limited.client("s3").delete_object, Bucket=bucket, Key="data/a.csv")
    assert f"with an explicit deny in a permissions boundary: {boundary}" in message


def test_session_policies_and_tags(client, actor, bucket):
    session = {"Policy": roles.document(allow("s3:GetObject", f"arn:aws:s3:::{bucket}/data/*"))}
    limited = actor(allow("s3:*"), session=session).client("s3")
    limited.get_object(Bucket=bucket, Key="data/a.csv")
    message = denied(limited.get_object, Bucket=bucket, Key="other/b.csv")
    assert message.endswith("because no session policy allows the s3:GetObject action")
    own = allow("s3:GetObject", f"arn:aws:s3:::{bucket}/${{aws:PrincipalTag/team}}/*")
    tagged = actor(own, session={"Tags": [{"Key": "team", "Value": "data"}]}).client("s3")
    tagged.get_object(Bucket=bucket, Key="data/a.csv")
    denied(tagged.get_object, Bucket=bucket, Key="other/b.csv")


def test_bucket_policies(client, actor, bucket):
    reader = actor()
    everything = actor(allow("s3:*"))
    policy = roles.document(
        allow("s3:GetObject", f"arn:aws:s3:::{bucket}/data/*", Principal={"AWS": reader.role}),
        deny("s3:*", f"arn:aws:s3:::{bucket}/other/*", Principal="*"),
    )
    client("s3").put_bucket_policy(Bucket=bucket, Policy=policy)
    assert reader.client("s3").get_object(Bucket=bucket, Key="data/a.csv")["Body"].read() == b"1"
    message = denied(everything.client("s3").get_object, Bucket=bucket, Key="other/b.csv")
    assert message.endswith("with an explicit deny in a resource-based policy")
    everything.client("s3").get_object(Bucket=bucket, Key="data/a.csv")


def test_keys_need_their_own_policy_and_s3_needs_the_key(client, actor, bucket):
    kms = client("kms")
    root = allow("kms:*", Principal=roles.ROOT)
    key = kms.create_key(Policy=roles.document(root))["KeyMetadata"]["Arn"]
    writer = actor(allow("s3:*"), allow("kms:GenerateDataKey", key))
    sse = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
    writer.client("s3").put_object(Bucket=bucket, Key="data/k", Body=b"k", **sse)
    message = denied(writer.client("s3").get_object, Bucket=bucket, Key="data/k")
    assert f"kms:Decrypt on resource: {key} because no identity-based policy allows" in message, message
    writer.client("s3").head_object(Bucket=bucket, Key="data/k")
    denied(writer.client("s3").copy_object, Bucket=bucket, Key="copy", CopySource=f"{bucket}/data/k")
    roles.permit(client("iam"), writer.role, allow("s3:*"), allow("kms:Decrypt", key))
    assert writer.client("s3").get_object(Bucket=bucket, Key="data/k")["Body"].read() == b"k"
    denied(writer.client("s3").put_object, Bucket=bucket, Key="data/k", Body=b"k", **sse)
    denied(writer.client("s3").create_multipart_upload, Bucket=bucket, Key="data/k", **sse)
    # The key's own policy must delegate to the account.
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=roles.document(allow("kms:*", Principal={"AWS": writer.role})))
    other = actor(allow("s3:*"), allow("kms:*"))
    assert "resource-based policy" in denied(other.client("s3").get_object, Bucket=bucket, Key="data/k")
    writer.client("s3").put_object(Bucket=bucket, Key="data/k", Body=b"k", **sse)


def test_repository_policies_and_the_registry(client, cloud, actor):
    ecr, name = client("ecr"), unique("repo")
    ecr.create_repository(repositoryName=name)
    image = images.push(cloud, ecr, name, {"run": b"#!/bin/sh\n"})
    digest = image.split("@")[1]
    puller = actor(allow("ecr:GetAuthorizationToken"))
    token = puller.client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]

    def get(path, method="GET", data=None):
        return fetch(f"{cloud}/v2/{name}/{path}", method, data, {"Authorization": f"Basic {token}"})

    status, _, text = get(f"manifests/{digest}")
    assert status == 403
    refusal = json.loads(text)["errors"][0]
    assert refusal["code"] == "DENIED" and "ecr:BatchGetImage on resource" in refusal["message"], refusal
    ecr.set_repository_policy(
        repositoryName=name,
        policyText=json.dumps({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"AWS": puller.role},
            "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
        }]}),
    )
    status, _, text = get(f"manifests/{digest}")
    assert status == 200
    layer = json.loads(text)["layers"][0]["digest"]
    assert get(f"blobs/{layer}")[0] == 200
    assert get("blobs/uploads/", "POST", b"")[0] == 403
    assert get(f"manifests/{digest}", "DELETE")[0] == 403


def test_group_policies(client, actor):
    sagemaker, name = client("sagemaker"), unique("group")
    arn = sagemaker.create_model_package_group(ModelPackageGroupName=name)["ModelPackageGroupArn"]
    reader = actor()
    denied(reader.client("sagemaker").describe_model_package_group, ModelPackageGroupName=name)
    statement = allow("sagemaker:DescribeModelPackageGroup", arn, Principal={"AWS": reader.role})
    sagemaker.put_model_package_group_policy(ModelPackageGroupName=name, ResourcePolicy=roles.document(statement))
    reader.client("sagemaker").describe_model_package_group(ModelPackageGroupName=name)


def test_trust_and_identity_policies_decide_who_assumes_a_role(client, actor):
    iam, caller, third = client("iam"), actor(), actor()
    target = roles.make(iam)
    assume = {"RoleArn": target, "RoleSessionName": "next"}
    # The trust policy delegates to the account, so the caller needs a policy of its own.
    denied(caller.client("sts").assume_role, **assume)
    roles.permit(iam, caller.role, allow("sts:AssumeRole", target))
    caller.client("sts").assume_role(**assume)
    trust = roles.document({"Effect": "Allow", "Principal": {"AWS": third.role}, "Action": "sts:AssumeRole"})
    iam.update_assume_role_policy(RoleName=target.rsplit("/", 1)[1], PolicyDocument=trust)
    denied(caller.client("sts").assume_role, **assume)
    third.client("sts").assume_role(**assume)


def test_session_tags_need_a_permission_and_the_trust_of_the_role(client, actor):
    iam, sts = client("iam"), client("sts")
    target, caller = roles.make(iam, MaxSessionDuration=7200), actor(allow("sts:AssumeRole"))
    tagged = {"RoleArn": target, "RoleSessionName": "next", "Tags": [{"Key": "team", "Value": "data"}]}
    assert "sts:TagSession" in denied(caller.client("sts").assume_role, **tagged)
    roles.permit(iam, caller.role, allow(["sts:AssumeRole", "sts:TagSession"]))
    caller.client("sts").assume_role(**tagged)
    # A session can request no more than an hour.
    code, message, _ = error(caller.client("sts").assume_role, **tagged, DurationSeconds=3601)
    assert code == "ValidationError" and "role chaining" in message
    sts.assume_role(**tagged, DurationSeconds=7200)
    trust = roles.document({"Effect": "Allow", "Principal": roles.ROOT, "Action": "sts:AssumeRole"})
    iam.update_assume_role_policy(RoleName=target.rsplit("/", 1)[1], PolicyDocument=trust)
    for assume in (sts.assume_role, caller.client("sts").assume_role):
        assert "sts:TagSession" in denied(assume, **tagged)
    del tagged["Tags"]
    sts.assume_role(**tagged)


def test_a_session_ends_with_its_role(client, actor, bucket):
    iam, session = client("iam"), actor(allow("ssm:*"))
    policy = allow("s3:GetObject", f"arn:aws:s3:::{bucket}/*", Principal={"AWS": session.role})
    client("s3").put_bucket_policy(Bucket=bucket, Policy=roles.document(policy))
    session.client("ssm").describe_parameters()
    session.client("s3").get_object(Bucket=bucket, Key="data/a.csv")
    name = session.role.rsplit("/", 1)[1]
    for again in (False, True):
        if again:
            roles.make(iam, allow("*"), name=name)
        else:
            iam.delete_role_policy(RoleName=name, PolicyName="test")
            iam.delete_role(RoleName=name)
        code, _, status = error(session.client("ssm").describe_parameters)
        assert (code, status) == ("InvalidClientTokenId", 403)
        assert error(session.client("s3").get_object, Bucket=bucket, Key="data/a.csv")[2] == 403


def test_a_change_set_is_evaluated_on_its_stack(client, actor):
    cloudformation, prod, dev = client("cloudformation"), unique("prod"), unique("dev")
    template = json.dumps({"Resources": {"Wait": {"Type": "AWS::CloudFormation::WaitConditionHandle"}}})
    for name in (prod, dev):
        cloudformation.create_stack(StackName=name, TemplateBody=template)
    for name in (prod, dev):
        cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    changed = template.replace("Wait", "Other", 1)
    made = cloudformation.create_change_set(StackName=prod, ChangeSetName="c", TemplateBody=changed)["Id"]
    stack = f"arn:aws:cloudformation:us-east-1:{ACCOUNT}:stack"
    session = actor(allow("cloudformation:*", f"{stack}/{dev}/*")).client("cloudformation")
    denied(session.describe_change_set, ChangeSetName=made)
    for call in (session.describe_change_set, session.execute_change_set):
        assert error(call, StackName=dev, ChangeSetName=made)[0] == "ChangeSetNotFound"
    # The deletion of what is not there succeeds, and deletes nothing.
    session.delete_change_set(StackName=dev, ChangeSetName=made)
    assert cloudformation.describe_change_set(StackName=prod, ChangeSetName=made)["StackName"] == prod
    # Another spelling of an ARN is not a way around a denial.
    key = cloudformation.describe_stacks(StackName=prod)["Stacks"][0]["StackId"].split("stack/")[1]
    session = actor(allow("cloudformation:*"), deny("*", f"{stack}/{prod}/*")).client("cloudformation")
    denied(session.describe_stacks, StackName=f"{stack}/{key}")
    error(session.describe_stacks, StackName=f"arn:aws:cloudformation:x:y:stack/{key}")


def test_a_whole_layer_in_one_request_needs_every_permission(client, cloud, actor):
    name = unique("repo")
    client("ecr").create_repository(repositoryName=name)
    actions = ["ecr:GetAuthorizationToken", "ecr:InitiateLayerUpload"]
    more = ["ecr:UploadLayerPart", "ecr:CompleteLayerUpload"]
    digest = "sha256:" + hashlib.sha256(b"layer").hexdigest()
    for granted, expected in ((actions, 403), (actions + more[:1], 403), (actions + more, 201)):
        session = actor(allow(granted)).client("ecr")
        token = session.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        headers = {"Authorization": f"Basic {token}"}
        assert fetch(f"{cloud}/v2/{name}/blobs/uploads/?digest={digest}", "POST", b"layer", headers)[0] == expected


def test_a_log_group_has_one_arn(client, actor):
    logs, secret = client("logs"), f"/secret/{unique()}"
    logs.create_log_group(logGroupName=secret)
    session = actor(allow("logs:*", "arn:aws:logs:*:*:log-group:/allowed/*")).client("logs")
    denied(session.filter_log_events, logGroupName=secret)
    for arn in (f"arn:aws:logs:x:log-group:/allowed/:{secret}", f"arn:aws:logs:us-east-1:1:log-group:{secret}"):
        error(session.filter_log_events, logGroupIdentifier=arn)
        assert error(logs.filter_log_events, logGroupIdentifier=arn)[0] == "InvalidParameterException"


# --- S3, per object -------------------------------------------------------------------------


def test_each_object_of_a_bulk_deletion_is_evaluated(client, actor, bucket):
    cleaner = actor(allow("s3:DeleteObject", f"arn:aws:s3:::{bucket}/data/*")).client("s3")
    objects = [{"Key": "data/a.csv"}, {"Key": "other/b.csv"}]
    answer = cleaner.delete_objects(Bucket=bucket, Delete={"Objects": objects})
    assert [deleted["Key"] for deleted in answer["Deleted"]] == ["data/a.csv"]
    assert [(e["Key"], e["Code"]) for e in answer["Errors"]] == [("other/b.csv", "AccessDenied")]
    assert [found["Key"] for found in client("s3").list_objects_v2(Bucket=bucket)["Contents"]] == ["other/b.csv"]


def test_versions_are_deleted_with_another_action(client, actor, bucket):
    s3 = client("s3")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = s3.put_object(Bucket=bucket, Key="data/v", Body=b"v")["VersionId"]
    worker = actor(allow(["s3:GetObject", "s3:DeleteObject"], f"arn:aws:s3:::{bucket}/*")).client("s3")
    worker.delete_object(Bucket=bucket, Key="data/v")
    assert "s3:DeleteObjectVersion" in denied(worker.delete_object, Bucket=bucket, Key="data/v", VersionId=version)
    assert "s3:GetObjectVersion" in denied(worker.get_object, Bucket=bucket, Key="data/v", VersionId=version)
    answer = worker.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "data/v", "VersionId": version}]})
    assert answer["Errors"][0]["Code"] == "AccessDenied"


def test_a_copy_needs_source_and_target(actor, bucket):
    def copy(*statements):
        s3 = actor(*statements).client("s3")
        return lambda: s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/data/a.csv")

    read = allow("s3:GetObject", f"arn:aws:s3:::{bucket}/data/*")
    write = allow("s3:PutObject", f"arn:aws:s3:::{bucket}/copy")
    assert "s3:PutObject" in denied(copy(read))
    assert "s3:GetObject" in denied(copy(write))
    copy(read, write)()


def test_absent_objects_are_hidden_from_those_who_may_not_list(actor, bucket):
    read = allow("s3:GetObject", f"arn:aws:s3:::{bucket}/*")
    assert "s3:ListBucket" in denied(actor(read).client("s3").get_object, Bucket=bucket, Key="none")
    lister = actor(read, allow("s3:ListBucket", f"arn:aws:s3:::{bucket}")).client("s3")
    assert error(lister.get_object, Bucket=bucket, Key="none")[0] == "NoSuchKey"


def test_a_presigned_url_has_the_permissions_of_its_signer(client, actor, bucket):
    reader = actor(allow("s3:GetObject", f"arn:aws:s3:::{bucket}/data/*"))
    url = reader.client("s3").generate_presigned_url("get_object", {"Bucket": bucket, "Key": "data/a.csv"})
    other = reader.client("s3").generate_presigned_url("get_object", {"Bucket": bucket, "Key": "other/b.csv"})
    assert fetch(url)[2] == b"1"
    assert fetch(other)[0] == 403
    roles.permit(client("iam"), reader.role, deny("s3:*"))
    assert fetch(url)[0] == 403


def test_a_request_has_one_kind_of_credentials(client, actor, bucket):
    """With two, one could be evaluated and the other verified."""
    nobody = actor()
    header = {
        "Authorization": "AWS4-HMAC-SHA256 Credential=AKIAWHOEVER/20260101/us-east-1/s3/aws4_request, "
        "SignedHeaders=host, Signature=00"
    }
    for version in ("s3", "s3v4"):
        signer = nobody.client("s3", signature_version=version)
        url = signer.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "data/a.csv"})
        assert fetch(url)[0] == 403
        assert fetch(url, headers=header)[0] == 400
    post = nobody.client("s3").generate_presigned_post(bucket, "formed")
    parts = "".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in {**post["fields"], "file": "text"}.items()
    )
    for kind in ("multipart/form-data", "Multipart/Form-Data"):
        kind = {"Content-Type": f"{kind}; boundary=x"}
        data = f"{parts}--x--\r\n".encode()
        assert fetch(post["url"], "POST", data, kind)[0] == 403
        assert fetch(post["url"], "POST", data, {**kind, **header})[0] == 400
    keys = [each["Key"] for each in client("s3").list_objects_v2(Bucket=bucket)["Contents"]]
    assert keys == ["data/a.csv", "other/b.csv"]


def test_what_s3_executes_is_evaluated(client, actor, bucket):
    """A name counts where S3 reads it: the same name in the query, a header or another case does not."""
    secret = unique("secret")
    client("s3").create_bucket(Bucket=secret)
    client("s3").put_object(Bucket=secret, Key="k", Body=b"secret")

    def changed(session, operation, query="", headers=None):
        def change(request, **_):
            request.url += ("&" if "?" in request.url else "?") + query if query else ""
            for name, value in (headers or {}).items():
                request.headers[name] = value

        made = session.client("s3")
        made.meta.events.register(f"before-sign.s3.{operation}", change)
        return made

    own = f"arn:aws:s3:::{bucket}"
    copier = actor(allow(["s3:GetObject", "s3:PutObject"], f"{own}/*"))
    query = f"x-amz-copy-source={bucket}%2Fdata%2Fa.csv"
    source = {"Bucket": secret, "Key": "k"}
    denied(changed(copier, "CopyObject", query).copy_object, Bucket=bucket, Key="stolen", CopySource=source)
    reader = actor(allow("s3:*"), deny("s3:GetObject", f"arn:aws:s3:::{secret}/*"))
    versioned = changed(reader, "GetObject", headers={"versionId": "null"})
    denied(versioned.get_object, Bucket=secret, Key="k")
    prefix = {"StringLike": {"s3:prefix": "data/*"}}
    lister = actor(allow("s3:ListBucket", own, Condition=prefix))
    lister.client("s3").list_objects_v2(Bucket=bucket, Prefix="data/a")
    for tried in (
        changed(lister, "ListObjectsV2", "PREFIX=data%2Fa"),
        changed(lister, "ListObjectsV2", headers={"prefix": "data/a"}),
    ):
        denied(tried.list_objects_v2, Bucket=bucket, Prefix="other/")
    encrypted = {"StringEquals": {"s3:x-amz-server-side-encryption": "aws:kms"}}
    writer = actor(allow("s3:PutObject", f"{own}/*", Condition=encrypted))
    plain = changed(writer, "PutObject", "x-amz-server-side-encryption=aws%3Akms")
    denied(plain.put_object, Bucket=bucket, Key="plain", Body=b"")


# --- what runs with a role ------------------------------------------------------------------


@pytest.fixture(scope="module")
def image(cloud, client):
    name = unique("perm")
    client("ecr").create_repository(repositoryName=name)
    programs = {
        "train": b"#!/bin/sh\nenv | grep ^AWS_ > /opt/ml/model/env\nls /opt/ml/input/data/* > /opt/ml/model/files\n",
        "run": b'#!/bin/sh\nexec /bin/sh -c "$1"\n',
    }
    return images.push(cloud, client("ecr"), name, programs)


def training(bucket, image, role, data, **more):
    source = {"S3DataType": "S3Prefix", "S3Uri": data, "S3DataDistributionType": "FullyReplicated"}
    return {
        "TrainingJobName": unique("train"),
        "RoleArn": role,
        "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File"},
        "InputDataConfig": [{"ChannelName": "data", "DataSource": {"S3DataSource": source}}],
        "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/models"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        **more,
    }


def trained(client, request):
    sagemaker = client("sagemaker")
    sagemaker.create_training_job(**request)
    for _ in range(2400):
        job = sagemaker.describe_training_job(TrainingJobName=request["TrainingJobName"])
        if job["TrainingJobStatus"] not in ("InProgress", "Stopping"):
            return job
        time.sleep(0.05)
    raise AssertionError("the job does not end")


PULL = allow(
    ["ecr:GetAuthorizationToken", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
)
LOGS = allow(["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"])


def data_of(bucket, prefix="data/"):
    return [
        allow("s3:ListBucket", f"arn:aws:s3:::{bucket}"),
        allow("s3:GetObject", f"arn:aws:s3:::{bucket}/{prefix}*"),
    ]


def test_a_training_job_cannot_read_the_bucket_of_another_project(client, bucket, image):
    other = unique("foreign")
    client("s3").create_bucket(Bucket=other)
    client("s3").put_object(Bucket=other, Key="data/secret.csv", Body=b"secret")
    iam = client("iam")
    write = allow("s3:PutObject", f"arn:aws:s3:::{bucket}/models/*")
    role = roles.make(iam, *data_of(bucket), write, PULL, LOGS)
    job = trained(client, training(bucket, image, role, f"s3://{other}/data/"))
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith(
        f'ClientError: Data download failed:No S3 objects found under S3 URL "s3://{other}/data/"'
    ), job["FailureReason"]
    roles.permit(iam, role, *data_of(bucket), write, PULL, LOGS, allow("s3:ListBucket", f"arn:aws:s3:::{other}"))
    job = trained(client, training(bucket, image, role, f"s3://{other}/data/"))
    reason = job["FailureReason"]
    assert reason.startswith(
        f"ClientError: Data download failed:Unable to download object s3://{other}/data/secret.csv (AccessDenied: "
    ), reason
    job = trained(client, training(bucket, image, role, f"s3://{bucket}/data/"))
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")


def test_a_job_has_the_session_of_its_role_until_it_ends(client, cloud, bucket, image):
    iam = client("iam")
    role = roles.make(iam, *data_of(bucket), allow("s3:PutObject", f"arn:aws:s3:::{bucket}/models/*"), PULL, LOGS)
    request = training(bucket, image, role, f"s3://{bucket}/data/")
    request["OutputDataConfig"]["CompressionType"] = "NONE"
    job = trained(client, request)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    key = f"models/{request['TrainingJobName']}/output/model/env"
    text = client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    env = dict(line.split("=", 1) for line in text.splitlines())
    assert env["AWS_ACCESS_KEY_ID"].startswith("ASIA") and env["AWS_SESSION_TOKEN"]
    keys = {
        "AccessKeyId": env["AWS_ACCESS_KEY_ID"],
        "SecretAccessKey": env["AWS_SECRET_ACCESS_KEY"],
        "SessionToken": env["AWS_SESSION_TOKEN"],
    }
    ended = roles.Session(cloud, keys).client("sts")
    assert error(ended.get_caller_identity)[0] == "InvalidClientTokenId"


def test_a_role_that_may_not_pull_upload_or_log(client, bucket, image):
    iam = client("iam")
    write = allow("s3:PutObject", f"arn:aws:s3:::{bucket}/models/*")
    for missing, reason in [(PULL, "ecr:GetAuthorizationToken"), (write, "s3:PutObject"), (LOGS, None)]:
        rest = [statement for statement in (write, PULL, LOGS) if statement is not missing]
        role = roles.make(iam, *data_of(bucket), *rest)
        job = trained(client, training(bucket, image, role, f"s3://{bucket}/data/"))
        if reason:
            assert job["TrainingJobStatus"] == "Failed" and reason in job["FailureReason"], job
        else:
            # As on AWS, the job runs without a log.
            assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
            streams = client("logs").describe_log_streams(
                logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=job["TrainingJobName"]
            )
            assert streams["logStreams"] == []


def test_pass_role_names_the_role_and_the_service(client, actor, bucket, image):
    target = roles.make(client("iam"), *roles.EXECUTION)
    create = allow("sagemaker:CreateTrainingJob")
    request = training(bucket, image, target, f"s3://{bucket}/data/")
    message = denied(actor(create).client("sagemaker").create_training_job, **request)
    assert f"iam:PassRole on resource: {target} because no identity-based policy allows" in message, message
    to = {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}
    denied(actor(create, allow("iam:PassRole", target, Condition=to)).client("sagemaker").create_training_job, **request)
    to = {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    passes = allow("iam:PassRole", target, Condition=to)
    actor(create, passes).client("sagemaker").create_training_job(**request)
    tags = {**request, "TrainingJobName": unique("train"), "Tags": [{"Key": "a", "Value": "b"}]}
    assert "sagemaker:AddTags" in denied(actor(create, passes).client("sagemaker").create_training_job, **tags)


def executed(client, definition, role, statements=()):
    sagemaker, name = client("sagemaker"), unique("pipeline")
    sagemaker.create_pipeline(
        PipelineName=name, PipelineDefinition=json.dumps(definition), RoleArn=role, ClientRequestToken=uuid.uuid4().hex
    )
    started = sagemaker.start_pipeline_execution(PipelineName=name, ClientRequestToken=uuid.uuid4().hex)
    arn = started["PipelineExecutionArn"]
    for _ in range(2400):
        execution = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
        if execution["PipelineExecutionStatus"] not in ("Executing", "Stopping"):
            break
        time.sleep(0.05)
    steps = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn)["PipelineExecutionSteps"]
    return execution["PipelineExecutionStatus"], steps[0].get("FailureReason", "")


def test_the_steps_of_a_pipeline_are_created_with_its_role(client, bucket, image):
    iam = client("iam")
    runs = roles.make(iam, *data_of(bucket), allow("s3:PutObject", f"arn:aws:s3:::{bucket}/models/*"), PULL, LOGS)
    arguments = training(bucket, image, runs, f"s3://{bucket}/data/")
    del arguments["TrainingJobName"]
    definition = {"Version": "2020-12-01", "Steps": [{"Name": "Train", "Type": "Training", "Arguments": arguments}]}
    pipeline = roles.make(iam)
    status, reason = executed(client, definition, pipeline)
    assert status == "Failed"
    assert reason.startswith("ClientError: Failed to invoke sagemaker:CreateTrainingJob. Error Details: User: "), reason
    name = pipeline.rsplit("/", 1)[1]
    assert f":assumed-role/{name}/SageMaker is not authorized to perform: sagemaker:CreateTrainingJob" in reason
    jobs = ["CreateTrainingJob", "DescribeTrainingJob", "StopTrainingJob", "AddTags"]
    jobs = allow([f"sagemaker:{job}" for job in jobs])
    roles.permit(iam, pipeline, jobs)
    assert "iam:PassRole" in executed(client, definition, pipeline)[1]
    roles.permit(iam, pipeline, jobs, allow("iam:PassRole", runs))
    assert executed(client, definition, pipeline) == ("Succeeded", "")


TEMPLATE = "Resources: {{Bucket: {{Type: 'AWS::S3::Bucket', Properties: {{BucketName: {name}}}}}, Repository: {{Type: 'AWS::ECR::Repository', Properties: {{RepositoryName: {name}}}}}}}"


def test_a_stack_is_deployed_with_its_role_or_its_caller(client, actor):
    iam, name = client("iam"), unique("stack")
    service = roles.make(iam, allow("s3:*"), services=("cloudformation",))
    stacks = [allow("cloudformation:*")]
    body = TEMPLATE.format(name=name)

    def deploy(session, outcome, **more):
        cloudformation, stack = session.client("cloudformation"), unique("stack")
        cloudformation.create_stack(StackName=stack, TemplateBody=body, OnFailure="DO_NOTHING", **more)
        for _ in range(1200):
            found = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
            if not found["StackStatus"].endswith("IN_PROGRESS"):
                break
            time.sleep(0.05)
        assert found["StackStatus"] == outcome, found
        events = client("cloudformation").describe_stack_events(StackName=stack)["StackEvents"]
        failed = [e for e in events if e["ResourceStatus"] == "CREATE_FAILED" and "Resource handler" in e["ResourceStatusReason"]]
        client("cloudformation").delete_stack(StackName=stack)
        client("cloudformation").get_waiter("stack_delete_complete").wait(
            StackName=stack, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
        return failed[0]["ResourceStatusReason"] if failed else None

    # The caller alone: its own permissions count, also in the background.
    owner = actor(*stacks, allow(["s3:*", "ecr:*"]))
    assert deploy(owner, "CREATE_COMPLETE") is None
    reason = deploy(actor(*stacks, allow("s3:*")), "CREATE_FAILED")
    assert "ecr:CreateRepository" in reason and "HandlerErrorCode: AccessDenied" in reason, reason
    # With a role: the caller must be allowed to pass it, and only the role's permissions count.
    message = denied(
        actor(*stacks, allow(["s3:*", "ecr:*"])).client("cloudformation").create_stack,
        StackName=unique("stack"), TemplateBody=body, RoleARN=service,
    )
    assert "iam:PassRole" in message
    passer = actor(*stacks, allow("iam:PassRole", service), allow("ecr:*"))
    reason = deploy(passer, "CREATE_FAILED", RoleARN=service)
    role = service.rsplit("/", 1)[1]
    assert f":assumed-role/{role}/AWSCloudFormation is not authorized to perform: ecr:CreateRepository" in reason
    roles.permit(iam, service, allow(["s3:*", "ecr:*"]))
    assert deploy(actor(*stacks, allow("iam:PassRole", service)), "CREATE_COMPLETE", RoleARN=service) is None


# --- git ------------------------------------------------------------------------------------


def test_pushes_to_a_branch_can_be_denied(client, cloud, actor, environment, tmp_path):
    name = unique("repo")
    arn = client("codecommit").create_repository(repositoryName=name)["repositoryMetadata"]["Arn"]
    production = deny(
        ["codecommit:GitPush", "codecommit:DeleteBranch", "codecommit:PutFile", "codecommit:CreateCommit"], arn,
        Condition={
            "StringEqualsIfExists": {"codecommit:References": ["refs/heads/production"]},
            "Null": {"codecommit:References": "false"},
        },
    )
    developer = actor(allow(["codecommit:GitPull", "codecommit:GitPush"], arn), production)
    reader = actor(allow("codecommit:GitPull", arn))
    # Under this name the server asks git for credentials.
    url = cloud.replace("127.0.0.1", "git-codecommit.us-east-1.localhost") + f"/v1/repos/{name}"

    def git(session, *arguments, cwd=tmp_path):
        options = {
            "user.name": "A", "user.email": "a@example.com", "credential.UseHttpPath": "true",
            "credential.helper": "!aws codecommit credential-helper --ignore-host-check $@",
        }
        flags = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        env = {**environment, **session.environment, "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_GLOBAL": "/dev/null"}
        return subprocess.run(["git", *flags, *arguments], cwd=cwd, env=env, capture_output=True, text=True)

    assert git(developer, "init", "-q", "-b", "develop", "work").returncode == 0
    work = tmp_path / "work"
    (work / "a").write_text("a")
    git(developer, "add", "a", cwd=work)
    git(developer, "commit", "-qm", "a", cwd=work)

    def push(session, refs):
        return git(session, "push", "-q", url, *refs, cwd=work)

    done = push(developer, ["develop"])
    assert done.returncode == 0, done.stderr
    for refs in (["develop:production"], ["develop:other", "develop:production"]):
        failed = push(developer, refs)
        assert failed.returncode != 0 and "403" in failed.stderr, failed.stderr
    assert push(reader, ["develop:mine"]).returncode != 0
    branches = client("codecommit").list_branches(repositoryName=name)["branches"]
    assert branches == ["develop"]


# --- the program ----------------------------------------------------------------------------


def test_a_denied_command_exits_with_4_and_the_sentence(actor, bucket, environment, tmp_path):
    nobody = actor()
    command = [BIN, "validate", f"s3://{bucket}/data/a.csv", "--suggest", "--output-dir", "baseline"]
    failed = subprocess.run(
        command, env={**environment, **nobody.environment}, cwd=tmp_path, capture_output=True, text=True
    )
    assert failed.returncode == 4, failed.stderr
    assert f"{user(nobody)}s3:" in failed.stderr or "(403)" in failed.stderr, failed.stderr


def test_requests_outside_the_dispatcher_can_be_throttled(client, cloud, state):
    """`mlops local inject` reaches the operations that services decode themselves."""
    for operation in ("sagemaker-runtime:InvokeEndpoint", "s3:ListBuckets"):
        # The client retries once.
        command = [BIN, "local", "inject", "throttle", "--count", "2", "--operation", operation, "--state", state]
        subprocess.run(command, check=True, capture_output=True)
    code, _, _ = error(client("sagemaker-runtime").invoke_endpoint, EndpointName="none", Body=b"1")
    assert code == "TooManyRequestsException"
    code, _, _ = error(client("s3").list_buckets)
    assert code == "SlowDown"


def test_code_of_a_version_needs_the_permissions_of_that_version(client, bucket, actor):
    """The code of a function is read with the version that it names, not with the current one."""
    s3 = client("s3")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = s3.put_object(Bucket=bucket, Key="code.zip", Body=b"1")["VersionId"]
    role = roles.make(client("iam"), services=("lambda",))
    code = {"S3Bucket": bucket, "S3Key": "code.zip", "S3ObjectVersion": version}

    def create(action):
        session = actor(allow("lambda:*"), allow("iam:PassRole"), allow(action, f"arn:aws:s3:::{bucket}/*"))
        return error(
            session.client("lambda").create_function, FunctionName=unique(), Runtime="python3.11", Role=role,
            Handler="a.b", Code=code,
        )[1]

    assert "s3:GetObject" in create("s3:GetObject")
    # It may read the version, which is no zip file.
    assert "not authorized" not in create("s3:GetObjectVersion")
