"""boto3 against the parameters of Systems Manager."""

import pytest
from botocore.exceptions import ClientError

ARN = "arn:aws:ssm:us-east-1:000000000000:parameter"


@pytest.fixture(scope="module")
def ssm(client):
    return client("ssm")


@pytest.fixture
def path(ssm, request):
    """A hierarchy of the test's own."""
    path = f"/conformance/{request.node.name.replace('[', '-').replace(']', '')[:60]}"
    yield path
    while True:
        names = [found["Name"] for found in ssm.get_parameters_by_path(Path=path, Recursive=True)["Parameters"]]
        if not names:
            return
        ssm.delete_parameters(Names=names)


def refusal(call, **arguments):
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    return raised.value.response["Error"]


def test_a_parameter_has_versions(ssm, path):
    name = f"{path}/a"
    made = ssm.put_parameter(Name=name, Value="1", Type="String", Description="first")
    assert (made["Version"], made["Tier"]) == (1, "Standard")
    again = refusal(ssm.put_parameter, Name=name, Value="2", Type="String")
    assert again["Code"] == "ParameterAlreadyExists"
    assert "set the overwrite option" in again["Message"]
    assert ssm.put_parameter(Name=name, Value="2", Overwrite=True)["Version"] == 2

    found = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]
    assert (found["Value"], found["Version"], found["Type"], found["DataType"]) == ("2", 2, "String", "text")
    assert found["ARN"] == ARN + name
    old = ssm.get_parameter(Name=f"{name}:1")["Parameter"]
    assert (old["Value"], old["Selector"]) == ("1", ":1")
    assert ssm.get_parameter(Name=ARN + name)["Parameter"]["Value"] == "2"
    assert refusal(ssm.get_parameter, Name=f"{name}:3")["Code"] == "ParameterVersionNotFound"

    history = ssm.get_parameter_history(Name=name)["Parameters"]
    assert [(version["Version"], version["Value"]) for version in history] == [(1, "1"), (2, "2")]
    assert history[0]["Description"] == "first" and "Labels" not in history[0]

    ssm.delete_parameter(Name=name)
    for call in (ssm.get_parameter, ssm.delete_parameter, ssm.get_parameter_history):
        assert refusal(call, Name=name)["Code"] == "ParameterNotFound"
    assert ssm.put_parameter(Name=name, Value="3", Type="String")["Version"] == 1


def test_the_hundredth_version_is_the_last_that_keeps_the_first(ssm, path):
    name = f"{path}/many"
    for number in range(1, 101):
        ssm.put_parameter(Name=name, Value=str(number), Type="String", Overwrite=True)
    ssm.label_parameter_version(Name=name, ParameterVersion=1, Labels=["first"])
    kept = refusal(ssm.put_parameter, Name=name, Value="x", Overwrite=True)
    assert kept["Code"] == "ParameterMaxVersionLimitExceeded"
    assert "Version 1, the oldest version, can't be deleted" in kept["Message"]
    ssm.label_parameter_version(Name=name, ParameterVersion=2, Labels=["first"])
    ssm.label_parameter_version(Name=name, Labels=["first"])
    assert ssm.put_parameter(Name=name, Value="101", Overwrite=True)["Version"] == 101
    assert refusal(ssm.get_parameter, Name=f"{name}:1")["Code"] == "ParameterVersionNotFound"
    pages = ssm.get_paginator("get_parameter_history").paginate(Name=name, PaginationConfig={"PageSize": 30})
    versions = [version["Version"] for page in pages for version in page["Parameters"]]
    assert versions == list(range(2, 102))


def test_labels_select_a_version(ssm, path):
    name = f"{path}/labelled"
    for value in ("1", "2"):
        ssm.put_parameter(Name=name, Value=value, Type="String", Overwrite=True)
    made = ssm.label_parameter_version(Name=name, ParameterVersion=1, Labels=["prod", "9x", "aws-x"])
    assert (made["ParameterVersion"], made["InvalidLabels"]) == (1, ["9x", "aws-x"])
    assert ssm.get_parameter(Name=f"{name}:prod")["Parameter"]["Value"] == "1"
    # A label moves.
    ssm.label_parameter_version(Name=name, Labels=["prod"])
    assert ssm.get_parameter(Name=f"{name}:prod")["Parameter"]["Value"] == "2"
    found = ssm.get_parameters_by_path(Path=path, ParameterFilters=[{"Key": "Label", "Values": ["prod"]}])
    assert [parameter["Version"] for parameter in found["Parameters"]] == [2]
    many = [f"label{number}" for number in range(10)]
    limit = refusal(ssm.label_parameter_version, Name=name, Labels=many)
    assert limit["Code"] == "ParameterVersionLabelLimitExceeded"
    gone = ssm.unlabel_parameter_version(Name=name, ParameterVersion=2, Labels=["prod", "other"])
    assert (gone["RemovedLabels"], gone["InvalidLabels"]) == (["prod"], ["other"])
    assert refusal(ssm.get_parameter, Name=f"{name}:prod")["Code"] == "ParameterVersionNotFound"


def test_several_parameters_at_once(ssm, path):
    names = [f"{path}/{letter}" for letter in "ab"]
    for name in names:
        ssm.put_parameter(Name=name, Value="v", Type="StringList")
    wanted = [*names, f"{path}/c", f"{names[0]}:7"]
    found = ssm.get_parameters(Names=wanted)
    assert sorted(parameter["Name"] for parameter in found["Parameters"]) == names
    assert sorted(found["InvalidParameters"]) == sorted(wanted[2:])
    assert refusal(ssm.get_parameters, Names=[names[0]] * 2)["Code"] == "ValidationException"
    assert refusal(ssm.get_parameters, Names=[f"n{number}" for number in range(11)])["Code"] == "ValidationException"
    gone = ssm.delete_parameters(Names=wanted[:3])
    assert (sorted(gone["DeletedParameters"]), gone["InvalidParameters"]) == (names, [wanted[2]])


def test_a_hierarchy_is_read_in_pages(ssm, path):
    for name in ("a", "b/c", "b/d", "e"):
        ssm.put_parameter(Name=f"{path}/{name}", Value=name, Type="String")

    def names(**arguments):
        pages = ssm.get_paginator("get_parameters_by_path").paginate(
            **{"Path": path, "PaginationConfig": {"PageSize": 1}, **arguments}
        )
        return [parameter["Name"].removeprefix(path) for page in pages for parameter in page["Parameters"]]

    assert names() == ["/a", "/e"]
    assert names(Recursive=True) == ["/a", "/b/c", "/b/d", "/e"]
    assert names(Path=f"{path}/b/") == ["/b/c", "/b/d"]
    assert names(Path=f"{path}/x") == []
    assert "forward slash" in refusal(ssm.get_parameters_by_path, Path="conformance")["Message"]
    token = refusal(ssm.get_parameters_by_path, Path=path, NextToken="%")
    assert token["Code"] == "InvalidNextToken"
    key = refusal(ssm.get_parameters_by_path, Path=path, ParameterFilters=[{"Key": "Name", "Values": ["a"]}])
    assert key["Code"] == "InvalidFilterKey"
    assert refusal(ssm.get_parameters_by_path, Path=path, MaxResults=11)["Code"] == "ValidationException"


def test_parameters_are_described_and_filtered(ssm, path):
    ssm.put_parameter(
        Name=f"{path}/a", Value="12", Type="String", AllowedPattern=r"\d+", Tags=[{"Key": "team", "Value": "ml"}]
    )
    ssm.put_parameter(Name=f"{path}/b", Value="x" * 5000, Type="String", Tier="Intelligent-Tiering")

    def found(*filters):
        own = {"Key": "Path", "Option": "Recursive", "Values": [path]}
        shown = ssm.describe_parameters(ParameterFilters=[own, *filters])["Parameters"]
        return [parameter["Name"].removeprefix(path) for parameter in shown]

    shown = ssm.describe_parameters(ParameterFilters=[{"Key": "Name", "Values": [f"{path}/a"]}])["Parameters"]
    assert len(shown) == 1 and "Value" not in shown[0]
    assert (shown[0]["AllowedPattern"], shown[0]["Policies"], shown[0]["ARN"]) == (r"\d+", [], f"{ARN}{path}/a")
    assert found() == ["/a", "/b"]
    assert found({"Key": "Tier", "Values": ["Advanced"]}) == ["/b"]
    assert found({"Key": "tag:team", "Values": ["ml", "it"]}) == ["/a"]
    assert found({"Key": "tag:team"}) == ["/a"]
    assert found({"Key": "Name", "Option": "Contains", "Values": ["/b"]}) == ["/b"]
    assert found({"Key": "Type", "Values": ["StringList"]}) == []
    assert found({"Key": "DataType", "Values": ["text"]}) == ["/a", "/b"]
    for wrong, code in [
        ({"Key": "Label", "Values": ["x"]}, "InvalidFilterKey"),
        ({"Key": "Type", "Values": ["Number"]}, "InvalidFilterValue"),
        ({"Key": "Type"}, "InvalidFilterValue"),
        ({"Key": "Type", "Option": "Contains", "Values": ["String"]}, "InvalidFilterOption"),
        ({"Key": "Size", "Values": ["1"]}, "ValidationException"),
    ]:
        assert refusal(ssm.describe_parameters, ParameterFilters=[wrong])["Code"] == code


def test_values_and_names_have_rules(ssm, path):
    for arguments, code in [
        ({"Name": f"{path}/a"}, "ValidationException"),
        ({"Name": "aws-x", "Type": "String"}, "ValidationException"),
        ({"Name": "/aws/x/y", "Type": "String"}, "AccessDeniedException"),
        ({"Name": "a/b", "Type": "String"}, "ValidationException"),
        ({"Name": "/a" * 16, "Type": "String"}, "HierarchyLevelLimitExceededException"),
        ({"Name": f"{path}/a", "Type": "String", "Value": "x" * 4097}, "ValidationException"),
        ({"Name": f"{path}/a", "Type": "String", "Tier": "Advanced", "Value": "x" * 8193}, "ValidationException"),
        ({"Name": f"{path}/a", "Type": "Number"}, "ValidationException"),
        ({"Name": f"{path}/a", "Type": "String", "AllowedPattern": "[0-9]+"}, "ParameterPatternMismatchException"),
        ({"Name": f"{path}/a", "Type": "String", "AllowedPattern": "("}, "InvalidAllowedPatternException"),
        ({"Name": f"{path}/a", "Type": "String", "KeyId": "alias/x"}, "ValidationException"),
        (
            {"Name": f"{path}/a", "Type": "String", "Overwrite": True, "Tags": [{"Key": "k", "Value": "v"}]},
            "ValidationException",
        ),
    ]:
        assert refusal(ssm.put_parameter, **{"Value": "v", **arguments})["Code"] == code, arguments
    ssm.put_parameter(Name=f"{path}/a", Value="v", Type="String", Tier="Advanced")
    lower = refusal(ssm.put_parameter, Name=f"{path}/a", Value="v", Tier="Standard", Overwrite=True)
    assert "can't downgrade" in lower["Message"]
    other = refusal(ssm.put_parameter, Name=f"{path}/a", Value="v", Type="StringList", Overwrite=True)
    assert other["Code"] == "HierarchyTypeMismatchException"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"Type": "SecureString"}, "parameters of type SecureString"),
        ({"Type": "String", "DataType": "aws:ec2:image"}, "DataType aws:ec2:image"),
        ({"Type": "String", "Policies": "[{}]"}, "Policies of ssm:PutParameter"),
        ({"Type": "String", "AllowedPattern": "(?=v).*"}, "look-around"),
    ],
)
def test_unsupported_values_are_refused_by_name(ssm, arguments, named):
    refused = refusal(ssm.put_parameter, Name="/conformance/refused", Value="v", **arguments)
    assert refused["Code"] == "NotImplemented" and named in refused["Message"]
    assert refusal(ssm.get_parameter, Name="/conformance/refused")["Code"] == "ParameterNotFound"


def test_other_operations_are_refused_by_name(ssm):
    assert "ssm:ListDocuments" in refusal(ssm.list_documents)["Message"]


def test_parameters_have_tags(ssm, path):
    name = f"{path}/tagged"
    ssm.put_parameter(Name=name, Value="v", Type="String", Tags=[{"Key": "a", "Value": "1"}])
    ssm.add_tags_to_resource(
        ResourceType="Parameter", ResourceId=name, Tags=[{"Key": "a", "Value": "2"}, {"Key": "b", "Value": "3"}]
    )
    ssm.remove_tags_from_resource(ResourceType="Parameter", ResourceId=name, TagKeys=["b", "c"])
    tags = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=name)["TagList"]
    assert tags == [{"Key": "a", "Value": "2"}]
    many = [{"Key": f"k{number}", "Value": "v"} for number in range(50)]
    limit = refusal(ssm.add_tags_to_resource, ResourceType="Parameter", ResourceId=name, Tags=many)
    assert limit["Code"] == "TooManyTagsError"
    missing = refusal(ssm.list_tags_for_resource, ResourceType="Parameter", ResourceId=f"{path}/none")
    assert missing["Code"] == "InvalidResourceId"
    other = refusal(ssm.list_tags_for_resource, ResourceType="Document", ResourceId="x")
    assert other["Code"] == "NotImplemented" and "Document" in other["Message"]
    reserved = refusal(
        ssm.add_tags_to_resource, ResourceType="Parameter", ResourceId=name, Tags=[{"Key": "aws:x", "Value": "v"}]
    )
    assert reserved["Code"] == "ValidationException"
