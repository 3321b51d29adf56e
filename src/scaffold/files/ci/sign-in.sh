#!/bin/sh
# Signs a CI job in to AWS: writes an AWS configuration to the file that AWS_CONFIG_FILE names. OIDC_TOKEN is the
# job's identity token, OIDC_ROLE_ARN the role that trusts it, and PROJECT_ROLE_ARN the project's role to assume.
set -eu
umask 077

printf '%s' "$OIDC_TOKEN" >"$AWS_CONFIG_FILE.token"
cat >"$AWS_CONFIG_FILE" <<END
[profile oidc]
role_arn = $OIDC_ROLE_ARN
web_identity_token_file = $AWS_CONFIG_FILE.token

[default]
role_arn = $PROJECT_ROLE_ARN
source_profile = oidc
END
