"""A pipeline written with SageMaker Python SDK 3; run by test_sdk3.py in a separate environment.

    python sdk3_pipeline.py NAME IMAGE ROLE NARROW WEAK

NAME is the name of the pipeline, of the model package group and of the bucket; NAME-code is a second bucket. Runs
with the credentials of a session of ROLE, as in a notebook. Creates the pipeline, runs it four times, and trains
without one. Then it uses the roles NARROW, which may not write to NAME-code, and WEAK, which the SDK refuses.
Prints JSON.
"""

import json
import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path

# The SDK sends usage data to AWS unless its configuration, which is read on import, disables that.
with tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False) as quiet:
    quiet.write("SchemaVersion: '1.0'\nSageMaker:\n  PythonSDK:\n    Modules:\n      TelemetryOptOut: true\n")
os.environ["SAGEMAKER_USER_CONFIG_OVERRIDE"] = quiet.name
warnings.simplefilter("ignore")

import boto3
from sagemaker.core.helper.iam_role_resolver import RoleValidationError
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.model_metrics import MetricsSource, ModelMetrics
from sagemaker.core.processing import Processor
from sagemaker.core.resources import ProcessingJob, TrainingJob
from sagemaker.core.shapes import ProcessingInput, ProcessingOutput, ProcessingS3Input, ProcessingS3Output
from sagemaker.core.utils.exceptions import FailedStatusError
from sagemaker.core.workflow.conditions import ConditionLessThanOrEqualTo, ConditionNot
from sagemaker.core.workflow.functions import Join, JsonGet
from sagemaker.core.workflow.parameters import ParameterFloat, ParameterInteger, ParameterString
from sagemaker.core.workflow.pipeline_context import PipelineSession
from sagemaker.core.workflow.properties import PropertyFile
from sagemaker.mlops.workflow.condition_step import ConditionStep
from sagemaker.mlops.workflow.fail_step import FailStep
from sagemaker.mlops.workflow.model_step import ModelStep
from sagemaker.mlops.workflow.pipeline import Pipeline
from sagemaker.mlops.workflow.retry import StepExceptionTypeEnum, StepRetryPolicy
from sagemaker.mlops.workflow.steps import CacheConfig, ProcessingStep, TrainingStep
from sagemaker.serve.model_builder import ModelBuilder
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute, InputData, OutputDataConfig, SourceCode

name, image, role, narrow, weak = sys.argv[1:]
bucket = name

TRAIN = """
import argparse, json, os, shutil

parser = argparse.ArgumentParser()
parser.add_argument("--depth", type=int)
parser.add_argument("--mode")
depth, mode = vars(parser.parse_args()).values()
print("training in mode", mode, "on", os.environ["SM_CURRENT_HOST"], "of", os.environ["SM_CURRENT_INSTANCE_TYPE"])
if mode == "fail":
    raise SystemExit("the column is missing")
shutil.copy(os.environ["SM_CHANNEL_TRAIN"] + "/all.csv", os.environ["SM_MODEL_DIR"] + "/model.txt")
with open(os.environ["SM_MODEL_DIR"] + "/depth.json", "w") as file:
    json.dump(depth, file)
"""
sources = tempfile.TemporaryDirectory()
Path(sources.name, "train.py").write_text(TRAIN)

simulated = []


def recording_session():
    """A boto3 session that records the SDK's requests to IAM's policy simulator, and the decisions."""
    request = {}

    def sent(params, **_):
        request.update({key: params.get(key) for key in ("PolicySourceArn", "ActionNames", "ResourceArns")})

    def received(parsed, **_):
        decisions = [result["EvalDecision"] for result in parsed.get("EvaluationResults", [])]
        simulated.append({**request, "decisions": decisions})

    made = boto3.Session(region_name="us-east-1")
    made.events.register("before-parameter-build.iam.SimulatePrincipalPolicy", sent)
    made.events.register("after-call.iam.SimulatePrincipalPolicy", received)
    return made


boto = recording_session()
session = PipelineSession(boto_session=boto, default_bucket=bucket)
plain = Session(boto_session=boto, default_bucket=bucket)

source = ParameterString("Input", default_value=f"s3://{bucket}/in/")
depth = ParameterInteger("Depth", default_value=3)
limit = ParameterFloat("MaxRmse", default_value=6.0)
mode = ParameterString("Mode", default_value="good")
instance = ParameterString("InstanceType", default_value="ml.m5.large")
count = ParameterInteger("InstanceCount", default_value=1)
cache = CacheConfig(enable_caching=True, expire_after="30d")
policies = [StepRetryPolicy([StepExceptionTypeEnum.THROTTLING], max_attempts=2)]


def processor(program):
    return Processor(
        image_uri=image,
        role=role,
        instance_count=1,
        instance_type="ml.m5.large",
        entrypoint=[program],
        env={"WHO": "sdk3"},
        sagemaker_session=session,
    )


def read(uri, directory):
    """An input of a processing job."""
    where = ProcessingS3Input(
        s3_uri=uri, local_path=f"/opt/ml/processing/{directory}", s3_data_type="S3Prefix", s3_input_mode="File"
    )
    return ProcessingInput(input_name=directory, s3_input=where)


def write(output):
    """An output of a processing job; the SDK chooses where."""
    where = ProcessingS3Output(s3_uri="", local_path=f"/opt/ml/processing/{output}", s3_upload_mode="EndOfJob")
    return ProcessingOutput(output_name=output, s3_output=where)


def trainer(**more):
    arguments = {
        "training_image": image,
        "source_code": SourceCode(source_dir=sources.name, entry_script="train.py"),
        "compute": Compute(instance_type="ml.m5.large", instance_count=1),
        "output_data_config": OutputDataConfig(s3_output_path=f"s3://{bucket}/models"),
        "base_job_name": "sdk3",
    }
    return ModelTrainer(**{**arguments, **more})


prepare = ProcessingStep(
    name="Prepare",
    step_args=processor("prepare").run(
        inputs=[read(source, "input")], outputs=[write("train")], arguments=["--depth", depth.to_string()]
    ),
    cache_config=cache,
    retry_policies=policies,
)
train_data = prepare.properties.ProcessingOutputConfig.Outputs["train"].S3Output.S3Uri
train = TrainingStep(
    name="Train",
    step_args=trainer(
        role=role,
        sagemaker_session=session,
        # CreatePipeline refuses an Integer here; unlike SDK 2, this one does not convert it.
        hyperparameters={"mode": mode, "depth": depth.to_string()},
        compute=Compute(instance_type=instance, instance_count=count),
        input_data_config=[InputData(channel_name="train", data_source=train_data, content_type="text/csv")],
    ).train(),
    cache_config=cache,
    retry_policies=policies,
)
evaluation = PropertyFile(name="Eval", output_name="evaluation", path="evaluation.json")
artifact = train.properties.ModelArtifacts.S3ModelArtifacts
evaluate = ProcessingStep(
    name="Evaluate",
    step_args=processor("evaluate").run(inputs=[read(artifact, "model")], outputs=[write("evaluation")]),
    property_files=[evaluation],
    cache_config=cache,
    retry_policies=policies,
)
report = Join(
    on="/",
    values=[evaluate.properties.ProcessingOutputConfig.Outputs["evaluation"].S3Output.S3Uri, "evaluation.json"],
)
model = ModelBuilder(image_uri=image, s3_model_data_url=artifact, role_arn=role, sagemaker_session=session)
create = ModelStep(name="Create", step_args=model.build())
register = ModelStep(
    name="Register",
    step_args=model.register(
        content_types=["text/csv"],
        response_types=["text/csv"],
        inference_instances=["ml.m5.large"],
        transform_instances=["ml.m5.large"],
        model_package_group_name=name,
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
    if_steps=[create, register],
    else_steps=[too_high],
)
pipeline = Pipeline(
    name=name,
    parameters=[source, depth, limit, mode, instance, count],
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
                "reason": found.get("FailureReason"),
                "hit": found.get("CacheHitResult", {}).get("SourcePipelineExecutionArn"),
                "metadata": found.get("Metadata"),
                "attempts": found.get("AttemptCount"),
            }
            for step, found in steps.items()
        },
    }


pipeline.upsert(role_arn=role)
first, second, changed, refused = run(), run(), run(Depth=4), run(MaxRmse=1.0)


def described(job):
    """What the SDK's class reads of a training job."""
    return {
        "status": job.training_job_status,
        "model": job.model_artifacts.s3_model_artifacts,
        "hyperparameters": dict(job.hyper_parameters),
        "role": job.role_arn,
        "channels": sorted(channel.channel_name for channel in job.input_data_config),
    }


class LogLines(logging.Handler):
    """Collects the lines that the SDK logs."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines += record.getMessage().splitlines()


def train_now(how):
    """Trains without a pipeline, with the role of the caller, and follows the log."""
    made = trainer(
        sagemaker_session=plain,
        base_job_name=f"sdk3-{how}",
        hyperparameters={"mode": how, "depth": 5},
        input_data_config=[InputData(channel_name="train", data_source=f"s3://{bucket}/direct/")],
    )
    logger = logging.getLogger(TrainingJob.__module__)
    logger.setLevel(logging.INFO)
    logger.addHandler(log := LogLines())
    try:
        made.train(wait=True, logs=True)
    except FailedStatusError as error:
        return {"failure": str(error), "log": log.lines}
    finally:
        logger.removeHandler(log)
    return {**described(made._latest_training_job), "log": log.lines}


def staged(uses):
    """Prepares a training job of a role, with NAME-code as the default bucket. Returns the bucket of its code."""
    prefix = f"staged-{uses.rsplit('-', 1)[1]}"
    trainer(
        role=uses,
        sagemaker_session=Session(boto_session=boto, default_bucket=f"{bucket}-code"),
        output_data_config=OutputDataConfig(s3_output_path=f"s3://{bucket}/outputs"),
        base_job_name=prefix,
    ).train(dry_run=True)
    s3 = boto.client("s3")
    keys = {
        place: [item["Key"] for item in s3.list_objects_v2(Bucket=place).get("Contents", [])]
        for place in (f"{bucket}-code", bucket)
    }
    return [place for place, found in keys.items() if any(prefix in key for key in found)]


def refusal(uses):
    """Why the SDK refuses a role."""
    try:
        trainer(role=uses, sagemaker_session=plain)
    except RoleValidationError as error:
        return str(error)
    return None


def unchecked(uses):
    """The same without the SDK's check of roles (docs/roles.md)."""
    os.environ["SAGEMAKER_VALIDATE_ROLE"] = "false"
    return refusal(uses)


job = first["steps"]["Train"]["metadata"]["TrainingJob"]["Arn"].rsplit("/", 1)[1]
processed = first["steps"]["Prepare"]["metadata"]["ProcessingJob"]["Arn"].rsplit("/", 1)[1]
outputs = ProcessingJob.get(processed).processing_output_config.outputs
print(
    json.dumps(
        {
            "runs": [first, second, changed, refused],
            "trained": described(TrainingJob.get(job)),
            "outputs": [output.s3_output.s3_uri for output in outputs],
            "direct": train_now("good"),
            "failed": train_now("fail"),
            "staged": {uses: staged(uses) for uses in (role, narrow)},
            "refusal": refusal(weak),
            "unchecked": unchecked(weak),
            "simulated": simulated,
        }
    )
)
