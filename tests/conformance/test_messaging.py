"""boto3 and the aws CLI against SQS and SNS, on the clock that tests advance."""

import base64
import http.server
import json
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid

import pytest
from botocore.exceptions import ClientError

import clock
from test_cloudformation_types import cfn, create, delete, failure, physical, update  # noqa: F401 (a fixture)

QUEUE_ARN = "arn:aws:sqs:us-east-1:000000000000:"


@pytest.fixture
def sqs(client):
    return client("sqs")


@pytest.fixture
def sns(client):
    return client("sns")


@pytest.fixture
def name():
    return f"m{uuid.uuid4().hex[:10]}"


def refusal(call, **arguments):
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    return raised.value.response["Error"]


def queue(sqs, name, **attributes):
    attributes = {key: str(value) for key, value in attributes.items()}
    return sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]


def receive(sqs, url, **arguments):
    arguments = {"MaxNumberOfMessages": 10, "MessageSystemAttributeNames": ["All"], **arguments}
    return sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"], **arguments).get("Messages", [])


def bodies(sqs, url):
    return [message["Body"] for message in receive(sqs, url)]


def allow(topic, queue):
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": QUEUE_ARN + queue,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def test_messages_of_a_queue(cloud, sqs, name):
    url = queue(sqs, name, VisibilityTimeout=40, DelaySeconds=10)
    attributes = {
        "text": {"DataType": "String", "StringValue": "ä"},
        "number": {"DataType": "Number.int", "StringValue": "5"},
        "bytes": {"DataType": "Binary", "BinaryValue": b"\0\xff"},
    }
    # boto3 verifies the digests of bodies and attributes.
    sent = sqs.send_message(QueueUrl=url, MessageBody="späte Nachricht", MessageAttributes=attributes)
    assert receive(sqs, url) == []
    clock.advance(cloud, 10)
    (message,) = receive(sqs, url)
    assert message["MessageId"] == sent["MessageId"]
    assert message["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert message["MessageAttributes"]["bytes"]["BinaryValue"] == b"\0\xff"
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    clock.advance(cloud, 39)
    assert receive(sqs, url) == []
    clock.advance(cloud, 1)
    (again,) = receive(sqs, url)
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=again["ReceiptHandle"], VisibilityTimeout=100)
    clock.advance(cloud, 50)
    assert receive(sqs, url) == []
    sqs.delete_message(QueueUrl=url, ReceiptHandle=again["ReceiptHandle"])
    clock.advance(cloud, 100)
    assert receive(sqs, url) == []


def test_a_long_poll_waits_for_a_message(sqs, name):
    url = queue(sqs, name, ReceiveMessageWaitTimeSeconds=20)
    sender = threading.Timer(0.5, lambda: sqs.send_message(QueueUrl=url, MessageBody="m"))
    start = time.monotonic()
    sender.start()
    assert bodies(sqs, url) == ["m"]
    # Before the time to wait is over.
    assert 0.4 < time.monotonic() - start < 20
    start = time.monotonic()
    assert receive(sqs, url, WaitTimeSeconds=1) == []
    assert time.monotonic() - start > 0.9


def test_dead_letters(cloud, sqs, name):
    dead = queue(sqs, f"{name}-dead")
    redrive = json.dumps({"deadLetterTargetArn": f"{QUEUE_ARN}{name}-dead", "maxReceiveCount": 2})
    url = queue(sqs, name, RedrivePolicy=redrive, VisibilityTimeout=1)
    sqs.send_message(QueueUrl=url, MessageBody="m")
    for _ in range(2):
        assert bodies(sqs, url) == ["m"]
        clock.advance(cloud, 1)
    assert bodies(sqs, url) == []
    (letter,) = receive(sqs, dead)
    assert letter["Attributes"]["DeadLetterQueueSourceArn"] == QUEUE_ARN + name
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [url]


def test_a_fifo_queue(cloud, sqs, name):
    url = queue(sqs, f"{name}.fifo", FifoQueue="true", ContentBasedDeduplication="true")
    entries = [
        {"Id": str(number), "MessageBody": str(number), "MessageGroupId": "ab"[number % 2]} for number in range(6)
    ]
    sent = sqs.send_message_batch(QueueUrl=url, Entries=entries)["Successful"]
    assert [entry["SequenceNumber"] for entry in sent] == sorted(entry["SequenceNumber"] for entry in sent)
    again = sqs.send_message(QueueUrl=url, MessageBody="0", MessageGroupId="a")
    assert again["MessageId"] == sent[0]["MessageId"]
    (first,) = receive(sqs, url, MaxNumberOfMessages=1)
    # The group of the first message waits, the other one does not.
    assert bodies(sqs, url) == ["1", "3", "5"]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])
    assert bodies(sqs, url) == ["2", "4"]
    clock.advance(cloud, 300)
    assert sqs.send_message(QueueUrl=url, MessageBody="0", MessageGroupId="a")["MessageId"] != sent[0]["MessageId"]


def test_errors_have_the_codes_of_the_query_protocol(sqs, name):
    url = queue(sqs, name, DelaySeconds=1)
    with pytest.raises(sqs.exceptions.QueueDoesNotExist) as raised:
        sqs.receive_message(QueueUrl=url + "x")
    assert raised.value.response["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"
    error = refusal(sqs.create_queue, QueueName=name, Attributes={"DelaySeconds": "2"})
    assert error["Code"] == "QueueAlreadyExists"
    assert sqs.create_queue(QueueName=name)["QueueUrl"] == url
    error = refusal(sqs.delete_message, QueueUrl=url, ReceiptHandle="x")
    assert error["Code"] == "ReceiptHandleIsInvalid"
    error = refusal(sqs.send_message, QueueUrl=url, MessageBody="x" * (1 << 20) + "x")
    assert error["Code"] == "InvalidParameterValue"
    error = refusal(sqs.set_queue_attributes, QueueUrl=url, Attributes={"DelaySeconds": "x"})
    assert error["Code"] == "InvalidAttributeValue"
    error = refusal(sqs.delete_message_batch, QueueUrl=url, Entries=[])
    assert error["Code"] == "AWS.SimpleQueueService.EmptyBatchRequest"
    error = refusal(sqs.add_permission, QueueUrl=url, Label="l", AWSAccountIds=["000000000000"], Actions=["*"])
    assert "AddPermission" in error["Message"]
    error = refusal(sqs.receive_message, QueueUrl=url, ReceiveRequestAttemptId="a")
    assert "ReceiveRequestAttemptId" in error["Message"]


def test_queues_and_their_messages_through_all_operations(sqs, name):
    urls = [queue(sqs, f"{name}{number}") for number in range(3)]
    pages = sqs.get_paginator("list_queues").paginate(QueueNamePrefix=name, PaginationConfig={"PageSize": 2})
    assert [url for page in pages for url in page.get("QueueUrls", [])] == urls
    url = urls[0]
    assert sqs.get_queue_url(QueueName=f"{name}0")["QueueUrl"] == url
    sqs.tag_queue(QueueUrl=url, Tags={"team": "ml", "stage": "dev"})
    sqs.untag_queue(QueueUrl=url, TagKeys=["stage"])
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"team": "ml"}
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "5"})
    shown = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert (shown["VisibilityTimeout"], shown["QueueArn"]) == ("5", f"{QUEUE_ARN}{name}0")
    sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": i, "MessageBody": i} for i in "abc"])
    received = receive(sqs, url)
    entries = [{"Id": str(i), "ReceiptHandle": it["ReceiptHandle"]} for i, it in enumerate(received)]
    hidden = [{**entry, "VisibilityTimeout": 60} for entry in entries]
    assert len(sqs.change_message_visibility_batch(QueueUrl=url, Entries=hidden)["Successful"]) == 3
    assert len(sqs.delete_message_batch(QueueUrl=url, Entries=entries)["Successful"]) == 3
    sqs.send_message(QueueUrl=url, MessageBody="m")
    sqs.purge_queue(QueueUrl=url)
    assert receive(sqs, url) == []
    for url in urls:
        sqs.delete_queue(QueueUrl=url)
    assert "QueueUrls" not in sqs.list_queues(QueueNamePrefix=name) or not sqs.list_queues(
        QueueNamePrefix=name
    )["QueueUrls"]


def test_the_aws_cli(cloud, environment, name):
    # For SQS, version 1 of the CLI replaces the endpoint of the environment by AWS's own, but not this option.
    def aws(*arguments):
        done = subprocess.run(
            ["aws", *arguments, "--endpoint-url", cloud, "--output", "json"], env=environment, capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout or "{}")

    url = aws("sqs", "create-queue", "--queue-name", name)["QueueUrl"]
    aws("sqs", "send-message", "--queue-url", url, "--message-body", "m")
    (message,) = aws("sqs", "receive-message", "--queue-url", url)["Messages"]
    aws("sqs", "delete-message", "--queue-url", url, "--receipt-handle", message["ReceiptHandle"])
    topic = aws("sns", "create-topic", "--name", name)["TopicArn"]
    attributes = aws("sns", "get-topic-attributes", "--topic-arn", topic)["Attributes"]
    assert attributes["SubscriptionsConfirmed"] == "0"
    aws("sns", "publish", "--topic-arn", topic, "--message", "m")


def test_a_topic_sends_to_queues(cloud, sqs, sns, name):
    topic = sns.create_topic(Name=name, Attributes={"DisplayName": "d"}, Tags=[{"Key": "a", "Value": "b"}])["TopicArn"]
    url = queue(sqs, name, Policy=allow(topic, name))
    arn = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=QUEUE_ARN + name)["SubscriptionArn"]
    attributes = {"a": {"DataType": "Binary", "BinaryValue": b"\0\xff"}}
    sent = sns.publish(TopicArn=topic, Message="m", Subject="s", MessageAttributes=attributes)
    (message,) = receive(sqs, url, WaitTimeSeconds=10)
    envelope = json.loads(message["Body"])
    assert (envelope["MessageId"], envelope["Subject"], envelope["Message"]) == (sent["MessageId"], "s", "m")
    assert base64.b64decode(envelope["MessageAttributes"]["a"]["Value"]) == b"\0\xff"
    sns.set_subscription_attributes(
        SubscriptionArn=arn, AttributeName="RawMessageDelivery", AttributeValue="true"
    )
    entries = [{"Id": str(number), "Message": str(number)} for number in range(3)]
    assert len(sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=entries)["Successful"]) == 3
    clock.advance(cloud, 0)
    assert sorted(bodies(sqs, url)) == ["0", "1", "2"]
    shown = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    assert (shown["Protocol"], shown["RawMessageDelivery"]) == ("sqs", "true")
    assert [it["SubscriptionArn"] for it in sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]] == [arn]
    assert arn in [it["SubscriptionArn"] for it in sns.list_subscriptions()["Subscriptions"]]
    sns.unsubscribe(SubscriptionArn=arn)
    assert sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []


def test_filter_policies(cloud, sqs, sns, name):
    topic = sns.create_topic(Name=name)["TopicArn"]
    url = queue(sqs, name, Policy=allow(topic, name))
    policy = json.dumps({"store": [{"prefix": "a"}], "price": [{"numeric": [">", 5]}]})
    attributes = {"RawMessageDelivery": "true", "FilterPolicy": policy}
    arn = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=QUEUE_ARN + name, Attributes=attributes)["SubscriptionArn"]
    for number, (store, price) in enumerate([("abc", "6"), ("abc", "5"), ("xyz", "6")]):
        values = {
            "store": {"DataType": "String", "StringValue": store},
            "price": {"DataType": "Number", "StringValue": price},
        }
        sns.publish(TopicArn=topic, Message=str(number), MessageAttributes=values)
    sns.set_subscription_attributes(
        SubscriptionArn=arn, AttributeName="FilterPolicyScope", AttributeValue="MessageBody"
    )
    policy = json.dumps({"detail": {"state": ["FAILED"]}})
    sns.set_subscription_attributes(SubscriptionArn=arn, AttributeName="FilterPolicy", AttributeValue=policy)
    failed = json.dumps({"detail": {"state": "FAILED"}})
    for message in [failed, json.dumps({"detail": {"state": "OK"}}), "text"]:
        sns.publish(TopicArn=topic, Message=message)
    clock.advance(cloud, 0)
    assert sorted(bodies(sqs, url)) == ["0", failed]
    shown = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    assert (shown["FilterPolicy"], shown["FilterPolicyScope"]) == (policy, "MessageBody")
    error = refusal(
        sns.set_subscription_attributes, SubscriptionArn=arn, AttributeName="FilterPolicy", AttributeValue="{"
    )
    assert error["Code"] == "InvalidParameter"


def test_topics(sns, name):
    topic = sns.create_topic(Name=name)["TopicArn"]
    assert sns.create_topic(Name=name)["TopicArn"] == topic
    sns.set_topic_attributes(TopicArn=topic, AttributeName="DisplayName", AttributeValue="<&>")
    assert sns.get_topic_attributes(TopicArn=topic)["Attributes"]["DisplayName"] == "<&>"
    sns.tag_resource(ResourceArn=topic, Tags=[{"Key": "team", "Value": "ml"}, {"Key": "b", "Value": ""}])
    sns.untag_resource(ResourceArn=topic, TagKeys=["b"])
    assert sns.list_tags_for_resource(ResourceArn=topic)["Tags"] == [{"Key": "team", "Value": "ml"}]
    assert topic in [it["TopicArn"] for page in sns.get_paginator("list_topics").paginate() for it in page["Topics"]]
    mail = sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="a@example.com")["SubscriptionArn"]
    assert mail == "pending confirmation"
    error = refusal(sns.subscribe, TopicArn=topic, Protocol="https", Endpoint="https://example.com/")
    assert "loopback" in error["Message"]
    error = refusal(sns.create_topic, Name=f"{name}.fifo", Attributes={"FifoTopic": "true"})
    assert "FIFO" in error["Message"]
    error = refusal(sns.confirm_subscription, TopicArn=topic, Token="x")
    assert error["Code"] == "InvalidParameter"
    sns.delete_topic(TopicArn=topic)
    with pytest.raises(sns.exceptions.NotFoundException):
        sns.publish(TopicArn=topic, Message="m")


@pytest.fixture
def hook():
    """Starts HTTP endpoints that fail for some requests, by their numbers; returns URL and the requests seen."""
    servers = []

    def start(*failing):
        seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                seen.append((self.headers["x-amz-sns-message-type"], body.decode()))
                self.send_response(500 if len(seen) in failing else 200)
                self.end_headers()

            def log_message(self, *_):
                pass

        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/hook", seen

    yield start
    for server in servers:
        server.shutdown()


def test_an_http_endpoint_confirms_and_is_retried(cloud, sns, name, hook):
    url, seen = hook(2)
    topic = sns.create_topic(Name=name)["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=url)
    clock.advance(cloud, 0)
    kind, body = seen[0]
    assert kind == "SubscriptionConfirmation"
    with urllib.request.urlopen(json.loads(body)["SubscribeURL"]) as answer:
        assert "SubscriptionArn" in answer.read().decode()
    sns.publish(TopicArn=topic, Message="m")
    clock.advance(cloud, 0)
    clock.advance(cloud, 18)
    assert len(seen) == 2
    clock.advance(cloud, 2)
    kind, body = seen[2]
    message = json.loads(body)
    assert (kind, message["Message"]) == ("Notification", "m")
    with urllib.request.urlopen(message["UnsubscribeURL"]) as answer:
        assert answer.status == 200
    assert sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []


def test_an_http_endpoint_is_confirmed_by_its_token(cloud, sns, name, hook):
    url, seen = hook()
    topic = sns.create_topic(Name=name)["TopicArn"]
    pending = sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=url, ReturnSubscriptionArn=True)
    clock.advance(cloud, 0)
    token = json.loads(seen[0][1])["Token"]
    confirmed = sns.confirm_subscription(TopicArn=topic, Token=token, AuthenticateOnUnsubscribe="true")
    assert confirmed["SubscriptionArn"] == pending["SubscriptionArn"]
    attributes = {"a": {"DataType": "String", "StringValue": "v"}}
    sns.publish(TopicArn=topic, Message="m", MessageAttributes=attributes)
    clock.advance(cloud, 0)
    message = json.loads(seen[1][1])
    assert message["MessageAttributes"] == {"a": {"Type": "String", "Value": "v"}}
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(message["UnsubscribeURL"])
    assert raised.value.code == 403


def test_stacks(cfn, sqs, sns, name):  # noqa: F811
    topic = {"Ref": "Topic"}
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "sns.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": {"Fn::GetAtt": "Queue.Arn"},
                "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
            }
        ],
    }
    publishers = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "events.amazonaws.com"},
                "Action": "sns:Publish",
                "Resource": topic,
            }
        ],
    }
    resources = {
        "Dead": {"Type": "AWS::SQS::Queue"},
        "Fifo": {"Type": "AWS::SQS::Queue", "Properties": {"FifoQueue": True, "ContentBasedDeduplication": True}},
        "Queue": {
            "Type": "AWS::SQS::Queue",
            "Properties": {
                "QueueName": name,
                "VisibilityTimeout": 60,
                "SqsManagedSseEnabled": True,
                "RedrivePolicy": {"deadLetterTargetArn": {"Fn::GetAtt": "Dead.Arn"}, "maxReceiveCount": 5},
                "Tags": [{"Key": "team", "Value": "ml"}],
            },
        },
        "Policy": {"Type": "AWS::SQS::QueuePolicy", "Properties": {"Queues": [{"Ref": "Queue"}], "PolicyDocument": policy}},
        "Topic": {
            "Type": "AWS::SNS::Topic",
            "Properties": {
                "TopicName": name,
                "KmsMasterKeyId": "alias/aws/sns",
                "Subscription": [{"Protocol": "email", "Endpoint": "a@example.com"}],
            },
        },
        "Publishers": {"Type": "AWS::SNS::TopicPolicy", "Properties": {"Topics": [topic], "PolicyDocument": publishers}},
        "Subscription": {
            "Type": "AWS::SNS::Subscription",
            "Properties": {
                "TopicArn": topic,
                "Protocol": "sqs",
                "Endpoint": {"Fn::GetAtt": "Queue.Arn"},
                "FilterPolicyScope": "MessageBody",
                "FilterPolicy": {"state": ["FAILED"]},
            },
        },
    }
    stack = create(cfn, name, resources)
    assert stack["StackStatus"] == "CREATE_COMPLETE", failure(cfn, stack, "Queue")
    url = physical(cfn, name, "Queue")
    assert physical(cfn, name, "Fifo").endswith(".fifo")
    assert sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]["VisibilityTimeout"] == "60"
    for state in ["OK", "FAILED"]:
        sns.publish(TopicArn=physical(cfn, name, "Topic"), Message=json.dumps({"state": state}))
    (message,) = receive(sqs, url, WaitTimeSeconds=10)
    assert json.loads(json.loads(message["Body"])["Message"]) == {"state": "FAILED"}
    resources["Queue"]["Properties"].pop("VisibilityTimeout")
    resources["Queue"]["Properties"]["DelaySeconds"] = 7
    resources["Subscription"]["Properties"]["RawMessageDelivery"] = True
    resources["Topic"]["Properties"]["Subscription"] = [{"Protocol": "email", "Endpoint": "b@example.com"}]
    assert update(cfn, name, resources) == "UPDATE_COMPLETE"
    shown = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert (shown["VisibilityTimeout"], shown["DelaySeconds"]) == ("30", "7")
    assert "Policy" in shown
    topic = physical(cfn, name, "Topic")
    found = {it["Endpoint"]: it for it in sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]}
    assert set(found) == {"b@example.com", QUEUE_ARN + name}
    arn = found[QUEUE_ARN + name]["SubscriptionArn"]
    assert sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]["RawMessageDelivery"] == "true"
    # The names are taken.
    other = create(cfn, f"{name}-other", {"Queue": resources["Dead"] | {"Properties": {"QueueName": name}}})
    assert "already exists" in failure(cfn, other, "Queue")
    assert delete(cfn, stack) == "DELETE_COMPLETE"
    assert refusal(sqs.get_queue_url, QueueName=name)["Code"] == "AWS.SimpleQueueService.NonExistentQueue"
