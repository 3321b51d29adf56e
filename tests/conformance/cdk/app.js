// The app of test_cdk.py: a bucket, a role, a parameter, a function from an asset, and a custom resource that
// the function backs. VERSION changes the parameter and the custom resource.
const { App, CfnOutput, CustomResource, Duration, RemovalPolicy, Stack } = require("aws-cdk-lib");
const iam = require("aws-cdk-lib/aws-iam");
const lambda = require("aws-cdk-lib/aws-lambda");
const s3 = require("aws-cdk-lib/aws-s3");
const ssm = require("aws-cdk-lib/aws-ssm");

const app = new App();
const version = process.env.VERSION ?? "1";
const env = { account: process.env.CDK_DEFAULT_ACCOUNT, region: process.env.CDK_DEFAULT_REGION };
const stack = new Stack(app, "Thing", { env });

const bucket = new s3.Bucket(stack, "Bucket", { removalPolicy: RemovalPolicy.DESTROY, versioned: true });
const role = new iam.Role(stack, "Role", { assumedBy: new iam.ServicePrincipal("sagemaker.amazonaws.com") });
bucket.grantRead(role);
new ssm.StringParameter(stack, "Parameter", { parameterName: "/thing/version", stringValue: version });

const handler = new lambda.Function(stack, "Function", {
  runtime: lambda.Runtime.PYTHON_3_13,
  handler: "index.handler",
  code: lambda.Code.fromAsset(`${__dirname}/function`),
  timeout: Duration.seconds(30),
});
const resource = new CustomResource(stack, "Custom", {
  serviceToken: handler.functionArn,
  resourceType: "Custom::Echo",
  serviceTimeout: Duration.seconds(60),
  properties: { Text: version, Number: 7, List: [true, { Deep: 1 }], Bucket: bucket.bucketName },
});
new CfnOutput(stack, "Echo", { value: resource.getAttString("Echo") });
new CfnOutput(stack, "CustomId", { value: resource.ref });
new CfnOutput(stack, "BucketName", { value: bucket.bucketName });

// Its bucket is emptied by a function that CDK brings in JavaScript.
const emptied = new Stack(app, "Emptied", { env });
new s3.Bucket(emptied, "Bucket", { removalPolicy: RemovalPolicy.DESTROY, autoDeleteObjects: true });
