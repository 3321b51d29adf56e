"""A pipeline written with SageMaker Python SDK 2; run by test_sdk2.py in a separate environment.

    python sdk2_pipeline.py PIPELINE IMAGE ROLE BUCKET GROUP

Creates the pipeline, runs it twice, and reads its jobs with the SDK's classes. Prints JSON.
"""

import json
import logging
import os
import sys
import tempfile

# The SDK sends usage data to AWS unless its configuration, which is read on import, disables that.
with tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False) as quiet:
    quiet.write("SchemaVersion: '1.0'\nSageMaker:\n  PythonSDK:\n    Modules:\n      TelemetryOptOut: true\n")
os.environ["SAGEMAKER_USER_CONFIG_OVERRIDE"] = quiet.name
os.environ["SAGEMAKER_SUPPRESS_V2_WARNING"] = "1"

import boto3
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from sagemaker.model import Model
from sagemaker.model_metrics import MetricsSource, ModelMetrics
from sagemaker.processing import ProcessingInput, ProcessingJob, ProcessingOutput, Processor
from sagemaker.session import Session
from sagemaker.workflow.condition_step import ConditionStep
from sagemaker.workflow.conditions import ConditionLessThanOrEqualTo, ConditionNot
from sagemaker.workflow.fail_step import FailStep
from sagemaker.workflow.functions import Join, JsonGet
from sagemaker.workflow.model_step import ModelStep
from sagemaker.workflow.parameters import ParameterFloat, ParameterInteger, ParameterString
from sagemaker.workflow.pipeline import Pipeline
from sagemaker.workflow.pipeline_context import PipelineSession
from sagemaker.workflow.properties import PropertyFile
from sagemaker.workflow.retry import (
    SageMakerJobExceptionTypeEnum,
    SageMakerJobStepRetryPolicy,
    StepExceptionTypeEnum,
    StepRetryPolicy,
)
from sagemaker.workflow.steps import CacheConfig, ProcessingStep, TrainingStep

logging.getLogger("sagemaker").setLevel(logging.ERROR)
name, image, role, bucket, group = sys.argv[1:]
boto = boto3.Session(region_name="us-east-1")
session = PipelineSession(boto_session=boto, default_bucket=bucket)

source = ParameterString("Input", default_value=f"s3://{bucket}/in/")
depth = ParameterInteger("Depth", default_value=3)
limit = ParameterFloat("MaxRmse", default_value=6.0)
cache = CacheConfig(enable_caching=True, expire_after="P30D")
policies = [
    StepRetryPolicy([StepExceptionTypeEnum.THROTTLING, StepExceptionTypeEnum.SERVICE_FAULT], max_attempts=2),
    SageMakerJobStepRetryPolicy(
        exception_types=[SageMakerJobExceptionTypeEnum.RESOURCE_LIMIT], expire_after_mins=10, interval_seconds=2
    ),
    SageMakerJobStepRetryPolicy(
        failure_reason_types=[
            SageMakerJobExceptionTypeEnum.INTERNAL_ERROR,
            SageMakerJobExceptionTypeEnum.CAPACITY_ERROR,
        ],
        max_attempts=3,
        backoff_rate=1.5,
    ),
]


def processor(program):
    return Processor(
        image_uri=image,
        role=role,
        instance_count=1,
        instance_type="ml.m5.large",
        entrypoint=[program],
        env={"WHO": "sdk2"},
        sagemaker_session=session,
    )


prepare = ProcessingStep(
    name="Prepare",
    step_args=processor("prepare").run(
        inputs=[ProcessingInput(source=source, destination="/opt/ml/processing/input")],
        outputs=[ProcessingOutput(output_name="train", source="/opt/ml/processing/train")],
        arguments=["--depth", depth.to_string()],
    ),
    cache_config=cache,
    retry_policies=policies,
)
estimator = Estimator(
    image_uri=image,
    role=role,
    instance_count=1,
    instance_type="ml.m5.large",
    output_path=f"s3://{bucket}/models",
    hyperparameters={"mode": "good", "depth": depth},
    sagemaker_session=session,
)
train_data = prepare.properties.ProcessingOutputConfig.Outputs["train"].S3Output.S3Uri
train = TrainingStep(
    name="Train",
    step_args=estimator.fit({"train": TrainingInput(train_data, content_type="text/csv")}),
    cache_config=cache,
    retry_policies=policies,
)
evaluation = PropertyFile(name="Eval", output_name="evaluation", path="evaluation.json")
evaluate = ProcessingStep(
    name="Evaluate",
    step_args=processor("evaluate").run(
        inputs=[
            ProcessingInput(
                source=train.properties.ModelArtifacts.S3ModelArtifacts, destination="/opt/ml/processing/model"
            )
        ],
        outputs=[ProcessingOutput(output_name="evaluation", source="/opt/ml/processing/evaluation")],
    ),
    property_files=[evaluation],
    cache_config=cache,
    retry_policies=policies,
)
report = Join(
    on="/",
    values=[evaluate.properties.ProcessingOutputConfig.Outputs["evaluation"].S3Output.S3Uri, "evaluation.json"],
)
model = Model(
    image_uri=image, model_data=train.properties.ModelArtifacts.S3ModelArtifacts, role=role, sagemaker_session=session
)
register = ModelStep(
    name="Register",
    step_args=model.register(
        content_types=["text/csv"],
        response_types=["text/csv"],
        inference_instances=["ml.m5.large"],
        transform_instances=["ml.m5.large"],
        model_package_group_name=group,
        approval_status="PendingManualApproval",
        model_metrics=ModelMetrics(
            model_statistics=MetricsSource(content_type="application/json", s3_uri=report)
        ),
    ),
)
rmse = JsonGet(step_name="Evaluate", property_file=evaluation, json_path="regression_metrics.rmse.value")
too_high = FailStep(name="TooHigh", error_message=Join(on=" ", values=["rmse is above", limit]))
gate = ConditionStep(
    name="Gate",
    conditions=[ConditionLessThanOrEqualTo(left=rmse, right=limit), ConditionNot(ConditionLessThanOrEqualTo(1, 0))],
    if_steps=[register],
    else_steps=[too_high],
)
pipeline = Pipeline(
    name=name,
    parameters=[source, depth, limit],
    steps=[prepare, train, evaluate, gate],
    sagemaker_session=session,
)


def run(**parameters):
    execution = pipeline.start(parameters=parameters)
    try:
        execution.wait(delay=1, max_attempts=300)
    except Exception as error:  # noqa: BLE001 - the status below says the same
        print(error, file=sys.stderr)
    steps = {step["StepName"]: step for step in execution.list_steps()}
    return {
        "arn": execution.arn,
        "status": execution.describe()["PipelineExecutionStatus"],
        "steps": {
            step: {
                "status": found["StepStatus"],
                "hit": found.get("CacheHitResult", {}).get("SourcePipelineExecutionArn"),
                "metadata": found.get("Metadata"),
                "attempts": found.get("AttemptCount"),
            }
            for step, found in steps.items()
        },
    }


definition = json.loads(pipeline.definition())
pipeline.upsert(role_arn=role)
first, second, changed, refused = run(), run(), run(Depth=4), run(MaxRmse=1.0)

plain = Session(boto_session=boto, default_bucket=bucket)
job = first["steps"]["Train"]["metadata"]["TrainingJob"]["Arn"].rsplit("/", 1)[1]
attached = Estimator.attach(job, sagemaker_session=plain)
processed = first["steps"]["Prepare"]["metadata"]["ProcessingJob"]["Arn"].rsplit("/", 1)[1]
read = ProcessingJob.from_processing_name(plain, processed)
print(
    json.dumps(
        {
            "definition": definition,
            "runs": [first, second, changed, refused],
            "attached": {
                "model": attached.model_data,
                "kms": attached.output_kms_key,
                "hyperparameters": attached.hyperparameters(),
            },
            "outputs": [output.destination for output in read.outputs],
        }
    )
)
