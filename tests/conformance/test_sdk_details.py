"""Details that real clients read: AWS's analyzer address, and members of a description that were not requested."""

import json
import time
import uuid

import pytest
import roles

AWS = "156813124566.dkr.ecr.us-east-1.amazonaws.com/sagemaker-model-monitor-analyzer"


@pytest.fixture(scope="module")
def role(client):
    return roles.make(client("iam"), *roles.EXECUTION)


def test_issue_8_3_4_awss_analyzer_address_runs_our_own(client, role):
    name = f"analyzer-{uuid.uuid4().hex[:8]}"
    s3, sagemaker = client("s3"), client("sagemaker")
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="in/data.csv", Body=b"a,b\n1,x\n2,y\n3,x\n")
    sagemaker.create_processing_job(
        ProcessingJobName=name,
        RoleArn=role,
        AppSpecification={"ImageUri": AWS},
        Environment={
            "dataset_format": json.dumps({"csv": {"header": True, "output_columns_position": "START"}}),
            "dataset_source": "/opt/ml/processing/input/data",
            "output_path": "/opt/ml/processing/output",
            "publish_cloudwatch_metrics": "Disabled",
        },
        ProcessingInputs=[
            {
                "InputName": "data",
                "S3Input": {
                    "S3Uri": f"s3://{name}/in/",
                    "LocalPath": "/opt/ml/processing/input/data",
                    "S3DataType": "S3Prefix",
                    "S3InputMode": "File",
                },
            }
        ],
        ProcessingOutputConfig={
            "Outputs": [
                {
                    "OutputName": "out",
                    "S3Output": {
                        "S3Uri": f"s3://{name}/out",
                        "LocalPath": "/opt/ml/processing/output",
                        "S3UploadMode": "EndOfJob",
                    },
                }
            ]
        },
        ProcessingResources={"ClusterConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1}},
    )
    for _ in range(2400):
        job = sagemaker.describe_processing_job(ProcessingJobName=name)
        if job["ProcessingJobStatus"] not in ("InProgress", "Stopping"):
            break
        time.sleep(0.05)
    assert job["ProcessingJobStatus"] == "Completed", job
    assert job["AppSpecification"]["ImageUri"] == AWS
    statistics = json.loads(s3.get_object(Bucket=name, Key="out/statistics.json")["Body"].read())
    assert statistics["dataset"]["item_count"] == 3
    logs = client("logs").filter_log_events(logGroupName="/aws/sagemaker/ProcessingJobs", logStreamNamePrefix=name)
    lines = [event["message"] for event in logs["events"]]
    assert any(AWS in line and "this job runs the analyzer of mlops" in line for line in lines), lines
