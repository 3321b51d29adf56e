//! Additional examples for the help texts. A test parses each of them.

/// Returns the examples of a command, given its path without `mlops`.
pub(super) fn of(path: &str) -> &'static [&'static str] {
    EXAMPLES
        .iter()
        .find(|(known, _)| *known == path)
        .map_or(&[], |(_, examples)| examples)
}

const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "init",
        &["mlops init --name flights --region eu-west-1 --profile team"],
    ),
    ("config show", &["mlops config show --region eu-west-1"]),
    ("plan", &["mlops plan --output json"]),
    ("destroy", &["mlops destroy --delete-data --yes"]),
    (
        "invoke",
        &[
            "mlops invoke --lines --file rows.csv",
            "mlops invoke --repeat 1000 --rate 100",
        ],
    ),
    ("endpoint show", &["mlops endpoint show --output json"]),
    (
        "endpoint logs",
        &["mlops endpoint logs --since 7d --timestamps"],
    ),
    ("endpoint delete", &["mlops endpoint delete --yes"]),
    (
        "promote",
        &[
            "mlops promote 3 --dry-run --strategy canary",
            "mlops promote --if-better rmse --yes",
        ],
    ),
    (
        "rollback",
        &["mlops rollback --to 2", "mlops rollback --note drift --yes"],
    ),
    ("releases list", &["mlops releases list --output json"]),
    ("releases show", &["mlops releases show 3 --output json"]),
    ("releases diff", &["mlops releases diff 2 3 --output json"]),
    (
        "releases verify",
        &["mlops releases verify 3 --output json"],
    ),
    ("lineage", &["mlops lineage --output json"]),
    (
        "doctor",
        &["mlops doctor --drift", "mlops doctor --output json"],
    ),
    (
        "status",
        &["mlops status --watch", "mlops status --output json"],
    ),
    ("data push", &["mlops data push data/train --local"]),
    (
        "data label push",
        &["mlops data label push labels.csv --id event_id --label delay"],
    ),
    (
        "data versions",
        &["mlops data versions flights --limit 5 --output json"],
    ),
    ("data diff", &["mlops data diff flights@previous --local"]),
    ("data pull", &["mlops data pull flights train"]),
    (
        "data verify",
        &["mlops data verify flights@previous --output json"],
    ),
    (
        "image build",
        &["mlops image build --builder docker --platform linux/arm64"],
    ),
    ("image push", &[]),
    ("image list", &["mlops image list --lifecycle-preview"]),
    ("image show", &["mlops image show develop --output json"]),
    ("image pin", &["mlops image pin develop"]),
    ("image use", &["mlops image use newest"]),
    ("image scan", &["mlops image scan develop"]),
    ("image rm", &["mlops image rm old-branch --yes"]),
    ("local start", &["mlops local start --detach"]),
    ("local adopt", &["mlops local adopt"]),
    (
        "local stop",
        &["mlops local stop", "mlops local stop --state /tmp/cloud"],
    ),
    (
        "local status",
        &["mlops local status", "mlops local status --output json"],
    ),
    (
        "local reset",
        &["mlops local reset", "mlops local reset --yes"],
    ),
    (
        "local inject scan",
        &["mlops local inject scan --repository app --digest sha256:… scan.json"],
    ),
    ("demo", &["mlops demo /tmp/flights"]),
    ("notebook start", &["mlops notebook start --local"]),
    ("notebook stop", &["mlops notebook stop --output json"]),
    ("notebook status", &["mlops notebook status"]),
    (
        "notebook open",
        &["mlops notebook open --print-url --session 1h"],
    ),
    (
        "notebook logs",
        &["mlops notebook logs --jupyter --timestamps"],
    ),
    ("monitor run", &["mlops monitor run --local --output json"]),
    ("monitor report", &["mlops monitor report --output json"]),
    ("monitor enable", &["mlops monitor enable --output json"]),
    ("monitor disable", &["mlops monitor disable --output json"]),
    ("monitor status", &["mlops monitor status --output json"]),
    (
        "monitor tune",
        &["mlops monitor tune --days 90 --threshold 0.15 --threshold 0.25"],
    ),
    (
        "retrain schedule",
        &["mlops retrain schedule 'rate(7 days)'"],
    ),
    ("retrain on-data", &["mlops retrain on-data --output json"]),
    (
        "retrain on-drift",
        &["mlops retrain on-drift --output json"],
    ),
    ("retrain off", &["mlops retrain off"]),
    ("retrain now", &["mlops retrain now --output json"]),
    (
        "retrain test",
        &["mlops retrain test --event data --output json"],
    ),
    ("retrain status", &["mlops retrain status --output json"]),
    (
        "validate",
        &[
            "mlops validate --suggest data/train --output-dir baseline",
            "mlops validate --dataset --on lambda",
        ],
    ),
    (
        "train",
        &[
            "mlops train --local --working-tree",
            "mlops train --branch develop --detach",
        ],
    ),
    ("runs list", &["mlops runs list --output json"]),
    (
        "runs show",
        &["mlops runs show 3f2a9c1e", "mlops runs show --output json"],
    ),
    (
        "runs logs",
        &[
            "mlops runs logs fb9lk2vgt5sk",
            "mlops runs logs 3f2a9c1e Build",
        ],
    ),
    ("runs watch", &["mlops runs watch --output json"]),
    ("runs why", &["mlops runs why --output json"]),
    (
        "runs stop",
        &[
            "mlops runs stop fb9lk2vgt5sk --local",
            "mlops runs stop 3f2a9c1e --abandon",
        ],
    ),
    ("runs retry", &["mlops runs retry fb9lk2vgt5sk"]),
    ("approve", &["mlops approve --output json"]),
    ("reject", &["mlops reject 3f2a9c1e --action Review"]),
    ("models list", &["mlops models list --output json"]),
    (
        "local inject list",
        &[
            "mlops local inject list",
            "mlops local inject list --output json",
        ],
    ),
    (
        "local inject clear",
        &[
            "mlops local inject clear",
            "mlops local inject clear --state .mlops/local",
        ],
    ),
    (
        "local inject throttle",
        &["mlops local inject throttle --operation ecr:PutImage"],
    ),
    (
        "local inject expired-token",
        &["mlops local inject expired-token --count 3"],
    ),
    (
        "local inject resource-failure",
        &["mlops local inject resource-failure --type AWS::IAM::Role --step update"],
    ),
    (
        "local inject silent-rollback",
        &["mlops local inject silent-rollback --state .mlops/local"],
    ),
    (
        "local inject container-crash",
        &["mlops local inject container-crash --count 2"],
    ),
    (
        "local inject slow-start",
        &["mlops local inject slow-start flights --output json"],
    ),
    (
        "local inject http-500",
        &["mlops local inject http-500 --count 100"],
    ),
    ("models show", &["mlops models show 3 --output json"]),
    (
        "models compare",
        &["mlops models compare 2 3 --output json"],
    ),
    ("models approve", &["mlops models approve 3 --local"]),
    ("models reject", &["mlops models reject 3 --local"]),
    ("completions", &["source <(mlops completions bash)"]),
    ("version", &["mlops version", "mlops version --output json"]),
];
