//! Report groups and reports: the test results of builds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::buildspec::ReportSpec;
use super::globs::{Layout, Rules, select};
use super::interrupt::Interrupt;
use super::junit::{self, Test, TestStatus, Tests};
use super::log::BuildLog;
use super::projects::{MAX_BATCH, MAX_TAGS};
use super::records::Build;
use super::{SERVICE, arn, invalid, is_descending, page, shown_tags};
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::beneath::Directory;
use crate::cloud::caller::Caller;
use crate::policy::Context;
use crate::store::Collection;
use crate::{Cloud, authorization, system_tags};

/// Maximum number of tests of a report, as on AWS; further ones are only counted.
const MAX_TESTS: usize = 500;

/// Maximum size of a file with test results, in bytes.
const MAX_FILE: u64 = 50 << 20;

/// Maximum number of files of a report.
const MAX_FILES: usize = 1000;

/// How long a report is kept, in seconds: 30 days, as on AWS.
const KEPT: f64 = 30.0 * 86_400.0;

/// Maximum number of report groups; AWS's default quota.
const MAX_GROUPS: usize = 5000;

/// A report group, with the member names of the API.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReportGroup {
    arn: String,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    created: f64,
    last_modified: f64,
    tags: BTreeMap<String, String>,
}

impl ReportGroup {
    fn shown(&self) -> Value {
        json!({
            "arn": self.arn,
            "name": self.name,
            "type": self.kind,
            "exportConfig": {"exportConfigType": "NO_EXPORT"},
            "created": self.created,
            "lastModified": self.last_modified,
            "tags": shown_tags(&self.tags),
            "status": "ACTIVE",
        })
    }
}

/// A report with its tests.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ReportRecord {
    /// The report, as `BatchGetReports` returns it.
    report: Value,
    tests: Vec<Value>,
}

impl ReportRecord {
    fn number(&self, member: &str) -> f64 {
        self.report[member].as_f64().unwrap_or_default()
    }
}

fn groups(cloud: &Cloud) -> Collection<'_, ReportGroup> {
    cloud.store().collection("codebuild", "report-group")
}

/// The reports, by `GROUP:ID`.
fn all_reports(cloud: &Cloud) -> Collection<'_, ReportRecord> {
    cloud.store().collection("codebuild", "report")
}

fn group_arn(cloud: &Cloud, name: &str) -> String {
    arn(cloud, "report-group", name)
}

fn report_arn(cloud: &Cloud, key: &str) -> String {
    arn(cloud, "report", key)
}

/// The name of a group in its ARN.
fn group_of<'a>(cloud: &Cloud, given: &'a str) -> ApiResult<&'a str> {
    let name = given.strip_prefix(&group_arn(cloud, ""));
    name.ok_or_else(|| invalid(format!("Invalid report group ARN: {given}")))
}

/// The key of a report in its ARN.
fn report_of<'a>(cloud: &Cloud, given: &'a str) -> ApiResult<&'a str> {
    let key = given.strip_prefix(&report_arn(cloud, ""));
    key.ok_or_else(|| invalid(format!("Invalid report ARN: {given}")))
}

fn missing(what: &str, arn: &str) -> ApiError {
    let message = format!("{what} does not exist: {arn}");
    ApiError::not_found("ResourceNotFoundException", message)
}

fn new_group(cloud: &Cloud, name: &str, tags: BTreeMap<String, String>) -> ApiResult<ReportGroup> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !(2..=128).contains(&name.len()) || !name.bytes().all(fits) {
        return Err(invalid(format!(
            "Invalid report group name {name:?}: it has 2 to 128 letters, digits, dashes and underscores"
        )));
    }
    let now = cloud.clock().epoch();
    Ok(ReportGroup {
        arn: group_arn(cloud, name),
        name: name.to_owned(),
        kind: "TEST".to_owned(),
        created: now,
        last_modified: now,
        tags,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupInput {
    arn: Option<String>,
    name: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    export_config: Option<ExportConfig>,
    tags: Option<Tags>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExportConfig {
    export_config_type: Option<String>,
}

impl GroupInput {
    fn check(&self) -> ApiResult<()> {
        let refused = |what: &str| ApiError::not_implemented(format_args!("{what} of codebuild"));
        if self.kind.as_deref().is_some_and(|kind| kind != "TEST") {
            return Err(refused("report groups of type CODE_COVERAGE"));
        }
        let export = self.export_config.as_ref();
        let export = export.and_then(|config| config.export_config_type.as_deref());
        if export.is_some_and(|kind| kind != "NO_EXPORT") {
            return Err(refused("the export of reports to S3"));
        }
        let keys = self.tags.iter().flat_map(Tags::iter).map(|tag| &tag.key);
        if system_tags::counted(keys) > MAX_TAGS {
            return Err(invalid(format!(
                "A report group has at most {MAX_TAGS} tags"
            )));
        }
        Ok(())
    }
}

/// `CreateReportGroup`
pub(super) async fn create_group(cloud: &Cloud, input: GroupInput) -> ApiResult<Value> {
    input.check()?;
    let name = input.name.unwrap_or_default();
    let tags = input.tags.map(Tags::into_map).unwrap_or_default();
    let group = new_group(cloud, &name, tags)?;
    if groups(cloud).list("")?.len() >= MAX_GROUPS {
        let message = format!("Cannot have more than {MAX_GROUPS} report groups");
        return Err(ApiError::new("AccountLimitExceededException", message));
    }
    if !groups(cloud).insert(&name, &group)? {
        let message = format!("Report group already exists: {}", group.arn);
        return Err(ApiError::new("ResourceAlreadyExistsException", message));
    }
    Ok(json!({"reportGroup": group.shown()}))
}

/// `UpdateReportGroup`
pub(super) async fn update_group(cloud: &Cloud, input: GroupInput) -> ApiResult<Value> {
    input.check()?;
    let arn = input.arn.unwrap_or_default();
    let changed = groups(cloud).update(group_of(cloud, &arn)?, |group| {
        if let Some(tags) = input.tags {
            system_tags::replace(&mut group.tags, tags.into_map());
        }
        group.last_modified = cloud.clock().epoch();
        Ok(group.shown())
    })?;
    let shown = changed.ok_or_else(|| missing("Report group", &arn))?;
    Ok(json!({"reportGroup": shown}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeleteGroup {
    arn: String,
    #[serde(default)]
    delete_reports: bool,
}

/// `DeleteReportGroup`. As on AWS, a group with reports is only deleted with them.
pub(super) async fn delete_group(cloud: &Cloud, input: DeleteGroup) -> ApiResult<Value> {
    let name = group_of(cloud, &input.arn)?;
    let reports = all_reports(cloud).list(&format!("{name}:"))?;
    if !reports.is_empty() && !input.delete_reports {
        return Err(invalid(
            "Report group cannot be deleted because it has reports: set deleteReports",
        ));
    }
    cloud.store().transaction(|tx| {
        for (key, _) in &reports {
            all_reports(cloud).remove_in(tx, key)?;
        }
        groups(cloud).remove_in(tx, name)
    })?;
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Arns {
    report_group_arns: Option<Vec<String>>,
    report_arns: Option<Vec<String>>,
}

fn batch(arns: Option<Vec<String>>) -> ApiResult<Vec<String>> {
    let arns = arns.unwrap_or_default();
    if arns.is_empty() || arns.len() > MAX_BATCH {
        return Err(invalid(format!("a request has 1 to {MAX_BATCH} ARNs")));
    }
    Ok(arns)
}

/// `BatchGetReportGroups`
pub(super) async fn batch_get_groups(cloud: &Cloud, input: Arns) -> ApiResult<Value> {
    let (mut found, mut not_found) = (Vec::new(), Vec::new());
    for arn in batch(input.report_group_arns)? {
        match groups(cloud).get(group_of(cloud, &arn)?)? {
            Some(group) => found.push(group.shown()),
            None => not_found.push(arn),
        }
    }
    Ok(json!({"reportGroups": found, "reportGroupsNotFound": not_found}))
}

/// `BatchGetReports`
pub(super) async fn batch_get(cloud: &Cloud, input: Arns) -> ApiResult<Value> {
    let (mut found, mut not_found) = (Vec::new(), Vec::new());
    for arn in batch(input.report_arns)? {
        match all_reports(cloud).get(report_of(cloud, &arn)?)? {
            Some(record) => found.push(record.report),
            None => not_found.push(arn),
        }
    }
    Ok(json!({"reports": found, "reportsNotFound": not_found}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List {
    report_group_arn: Option<String>,
    report_arn: Option<String>,
    sort_by: Option<String>,
    sort_order: Option<String>,
    next_token: Option<String>,
    max_results: Option<usize>,
    filter: Option<Filter>,
}

#[derive(Default, Deserialize)]
struct Filter {
    status: Option<String>,
    keyword: Option<String>,
}

impl List {
    fn size(&self) -> ApiResult<usize> {
        match self.max_results {
            None => Ok(MAX_BATCH),
            Some(size) if (1..=MAX_BATCH).contains(&size) => Ok(size),
            Some(_) => Err(invalid(format!("maxResults must be from 1 to {MAX_BATCH}"))),
        }
    }
}

/// `ListReportGroups`
pub(super) async fn list_groups(cloud: &Cloud, input: List) -> ApiResult<Value> {
    let mut all = groups(cloud).list("")?;
    match input.sort_by.as_deref() {
        None | Some("NAME") => {}
        Some("CREATED_TIME") => all.sort_by(|(_, a), (_, b)| a.created.total_cmp(&b.created)),
        Some(_) => all.sort_by(|(_, a), (_, b)| a.last_modified.total_cmp(&b.last_modified)),
    }
    if is_descending(input.sort_order.as_deref(), false)? {
        all.reverse();
    }
    let arns = all.into_iter().map(|(_, group)| group.arn).collect();
    page(
        "reportGroups",
        arns,
        input.size()?,
        input.next_token.as_deref(),
    )
}

/// `ListReports`, and `ListReportsForReportGroup`
pub(super) async fn list(cloud: &Cloud, input: List) -> ApiResult<Value> {
    let prefix = match &input.report_group_arn {
        None => String::new(),
        Some(arn) => {
            let name = group_of(cloud, arn)?;
            if groups(cloud).get(name)?.is_none() {
                return Err(missing("Report group", arn));
            }
            format!("{name}:")
        }
    };
    let status = input
        .filter
        .as_ref()
        .and_then(|filter| filter.status.as_deref());
    let mut all = all_reports(cloud).list(&prefix)?;
    all.retain(|(_, record)| status.is_none_or(|status| record.report["status"] == status));
    all.sort_by(|(_, a), (_, b)| a.number("created").total_cmp(&b.number("created")));
    if is_descending(input.sort_order.as_deref(), true)? {
        all.reverse();
    }
    let arns = all
        .into_iter()
        .map(|(key, _)| report_arn(cloud, &key))
        .collect();
    page("reports", arns, input.size()?, input.next_token.as_deref())
}

/// `DescribeTestCases`
pub(super) async fn describe_tests(cloud: &Cloud, input: List) -> ApiResult<Value> {
    let arn = input.report_arn.clone().unwrap_or_default();
    let record = all_reports(cloud).get(report_of(cloud, &arn)?)?;
    let record = record.ok_or_else(|| missing("Report", &arn))?;
    let size = input.size()?;
    let filter = input.filter.unwrap_or_default();
    let has_keyword = |test: &Value| {
        let keyword = filter.keyword.as_deref();
        keyword.is_none_or(|word| {
            test["name"]
                .as_str()
                .is_some_and(|name| name.contains(word))
        })
    };
    let has_status = |test: &Value| {
        filter
            .status
            .as_deref()
            .is_none_or(|status| test["status"] == status)
    };
    let tests = record
        .tests
        .into_iter()
        .filter(|test| has_keyword(test) && has_status(test));
    let page = crate::api::page::Page::new(input.next_token.as_deref(), size, |_| {
        invalid("Invalid nextToken")
    })?;
    let (tests, next) = page.cut(tests.collect());
    let mut answer = json!({"testCases": tests});
    if let Some(next) = next {
        answer["nextToken"] = next.into();
    }
    Ok(answer)
}

#[derive(Deserialize)]
pub(super) struct DeleteReport {
    arn: String,
}

/// `DeleteReport`
pub(super) async fn delete(cloud: &Cloud, input: DeleteReport) -> ApiResult<Value> {
    all_reports(cloud).remove(report_of(cloud, &input.arn)?)?;
    Ok(json!({}))
}

/// Removes reports that have expired.
pub(super) fn remove_expired(cloud: &Cloud) -> ApiResult<()> {
    let now = cloud.clock().epoch();
    for (key, record) in all_reports(cloud).list("")? {
        if record.number("expired") < now {
            all_reports(cloud).remove(&key)?;
        }
    }
    Ok(())
}

/// What storing the results of a build needs.
pub(super) struct Results<'a> {
    pub(super) cloud: &'a Cloud,
    pub(super) role: &'a Caller,
    pub(super) root: &'a Directory,
    pub(super) layout: &'a Layout,
    pub(super) log: &'a BuildLog,
    pub(super) interrupt: &'a Interrupt,
}

/// The tests of a report.
struct Found {
    /// The files in which the results were.
    files: Vec<String>,
    tests: Tests,
    status: &'static str,
}

impl Results<'_> {
    /// Stores a report for each group of a buildspec, on behalf of the service role. Returns their ARNs.
    pub(super) fn store(&self, build: &Build, specs: &[ReportSpec]) -> ApiResult<Vec<String>> {
        let mut arns = Vec::new();
        for spec in specs {
            self.log
                .container(&format!("Preparing to copy TEST report {}", spec.group));
            let Some(found) = self.tests(spec)? else {
                self.log
                    .container(&format!("No matching test results for {}", spec.group));
                continue;
            };
            let group = self.group(build, &spec.group)?;
            for action in ["CreateReport", "UpdateReport", "BatchPutTestCases"] {
                self.permit(action, &group.arn)?;
            }
            let arn = self.add(build, &group, &found)?;
            let count = found.tests.count();
            self.log
                .container(&format!("Report {arn}: {count} test case(s)"));
            arns.push(arn);
        }
        Ok(arns)
    }

    /// Fails unless the role may do an action of CodeBuild that has no operation.
    fn permit(&self, action: &str, group: &str) -> ApiResult<()> {
        let action = format!("codebuild:{action}");
        let context = Context::default();
        authorization::action(
            self.cloud,
            self.role,
            &SERVICE,
            &action,
            group.to_owned(),
            context,
        )
    }

    /// The report group that a buildspec names by ARN, or by a name, which is created.
    fn group(&self, build: &Build, given: &str) -> ApiResult<ReportGroup> {
        if given.starts_with("arn:") {
            let name = group_of(self.cloud, given)?;
            return groups(self.cloud)
                .get(name)?
                .ok_or_else(|| missing("Report group", given));
        }
        let name = format!("{}-{given}", build.project_name);
        if let Some(group) = groups(self.cloud).get(&name)? {
            return Ok(group);
        }
        let group = new_group(self.cloud, &name, BTreeMap::new())?;
        self.permit("CreateReportGroup", &group.arn)?;
        groups(self.cloud).insert(&name, &group)?;
        Ok(group)
    }

    /// The tests of the files of a report; `None` without files.
    fn tests(&self, spec: &ReportSpec) -> ApiResult<Option<Found>> {
        let rules = Rules {
            files: &spec.files,
            base_directory: spec.base_directory.as_deref(),
            discard_paths: spec.discard_paths,
            ..Rules::default()
        };
        let selection = select(self.root, self.layout, &rules, self.interrupt)?;
        if selection.files.is_empty() {
            return Ok(None);
        }
        let mut tests = Tests::default();
        let mut files = Vec::new();
        let mut is_complete = selection.files.len() <= MAX_FILES;
        if !is_complete {
            self.log.container(&format!(
                "Only {MAX_FILES} of {} files with test results are read",
                selection.files.len()
            ));
        }
        for (number, (name, selected)) in selection.files.iter().take(MAX_FILES).enumerate() {
            self.interrupt.check()?;
            let name = name.display().to_string();
            let parsed = self.read(&selected.path)?.and_then(|text| {
                junit::parse(&text, (number, MAX_TESTS), &mut tests, self.interrupt)
            });
            self.interrupt.check()?;
            if let Err(reason) = parsed {
                is_complete = false;
                self.log
                    .container(&format!("Error parsing the test results {name}: {reason}"));
            }
            files.push(name);
        }
        let failed = tests.with(TestStatus::Failed) + tests.with(TestStatus::Error);
        let status = match (is_complete, failed) {
            (false, _) => "INCOMPLETE",
            (true, 0) => "SUCCEEDED",
            (true, _) => "FAILED",
        };
        Ok(Some(Found {
            files,
            tests,
            status,
        }))
    }

    fn read(&self, path: &std::path::Path) -> ApiResult<Result<String, String>> {
        use std::io::Read;

        let Some(file) = self.root.file(path)? else {
            return Ok(Err("it was removed".to_owned()));
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE {
            return Ok(Err(format!("it has more than {MAX_FILE} bytes")));
        }
        let text = String::from_utf8(bytes);
        Ok(Ok(text.unwrap_or_else(|wrong| {
            String::from_utf8_lossy(wrong.as_bytes()).into_owned()
        })))
    }

    /// Records a report. Returns its ARN. Nothing that the log hides is in it.
    fn add(&self, build: &Build, group: &ReportGroup, found: &Found) -> ApiResult<String> {
        let now = self.cloud.clock().epoch();
        let expires = now + KEPT;
        let id = uuid::Uuid::new_v4().to_string();
        let key = format!("{}:{id}", group.name);
        let arn = report_arn(self.cloud, &key);
        let tests = &found.tests;
        let mut counts = BTreeMap::from([("UNKNOWN", 0)]);
        counts.extend(TestStatus::ALL.map(|status| (status.name(), tests.with(status))));
        let report = json!({
            "arn": arn,
            "type": "TEST",
            "name": id,
            "reportGroupArn": group.arn,
            "executionId": build.arn,
            "status": found.status,
            "created": now,
            "expired": expires,
            "exportConfig": {"exportConfigType": "NO_EXPORT"},
            "truncated": tests.count() > MAX_TESTS as u64,
            "testSummary": {
                "total": tests.count(),
                "statusCounts": counts,
                "durationInNanoSeconds": tests.nanoseconds,
            },
        });
        let masked = |text: Option<&str>| self.log.masked(text.unwrap_or_default());
        let shown = |(file, test): &(usize, Test)| {
            let mut shown = json!({
                "reportArn": arn,
                "testRawDataPath": masked(found.files.get(*file).map(String::as_str)),
                "prefix": masked(test.class.as_deref()),
                "name": masked(Some(&test.name)),
                "status": test.status.name(),
                "durationInNanoSeconds": test.nanoseconds,
                "message": masked(test.message.as_deref()),
                "expired": expires,
            });
            if let Some(suite) = &test.suite {
                shown["testSuiteName"] = masked(Some(suite)).into();
            }
            shown
        };
        let tests = tests.first.iter().map(shown).collect();
        all_reports(self.cloud).put(&key, &ReportRecord { report, tests })?;
        Ok(arn)
    }
}
