"""Templates as CloudFormation takes them."""

LONGEST_INLINE = 51_200


def source(s3, bucket, text):
    """The arguments of a request with this template: its text, or if that is too long, its address in a bucket."""
    if len(text) <= LONGEST_INLINE:
        return {"TemplateBody": text}
    s3.put_object(Bucket=bucket, Key="template.yaml", Body=text.encode())
    return {"TemplateURL": f"https://{bucket}.s3.us-east-1.amazonaws.com/template.yaml"}
