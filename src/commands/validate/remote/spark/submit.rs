//! Starts Spark.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result};
use mlops_core::error::{Exit, Failure, hinted};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::log::{Log, stage};
use crate::context::Context;
use crate::progress::Task;

const INSTALL: &str =
    "run `pip install pyspark`, or pass the path of spark-submit with --spark-submit";
const JAVA: &str = "install Java 17 (Debian: openjdk-17-jre-headless), or set JAVA_HOME";
/// Returns whether Spark runs on this machine: the user sets no master.
pub(super) fn is_local(users: &[String]) -> bool {
    !users
        .iter()
        .any(|setting| setting.starts_with("spark.master="))
}

/// Returns the Spark properties: ours, then the user's. Without a master, Spark runs here on all
/// cores and opens its ports on loopback only.
pub(super) fn settings(users: &[String]) -> Vec<String> {
    let mut all = vec![
        "spark.app.name=mlops validate".to_owned(),
        "spark.log.level=WARN".to_owned(),
        "spark.ui.showConsoleProgress=true".to_owned(),
    ];
    if is_local(users) {
        all.extend(
            [
                "spark.master=local[*]",
                "spark.ui.enabled=false",
                "spark.driver.host=127.0.0.1",
                "spark.driver.bindAddress=127.0.0.1",
            ]
            .map(str::to_owned),
        );
    }
    all.extend_from_slice(users);
    all
}

/// Finds `spark-submit`: that of the flag, of `SPARK_HOME`, on PATH, or of a Python with pyspark.
pub(super) async fn command(ctx: &Context, flag: Option<&Path>) -> Result<Command> {
    let found = match (flag, &ctx.config.spark_home) {
        (Some(program), _) => Some(require_file("--spark-submit", program.to_owned())?),
        (None, Some(home)) => Some(require_file("SPARK_HOME", home.join("bin/spark-submit"))?),
        (None, None) => ctx.config.program("spark-submit"),
    };
    let command = match found {
        Some(program) => Command::new(program),
        None => of_python(ctx).await?,
    };
    let java = match &ctx.config.java_home {
        Some(home) => Some(require_file("JAVA_HOME", home.join("bin/java"))?),
        None => ctx.config.program("java"),
    };
    if java.is_none() {
        let error = Failure::new(Exit::Failed, "Spark needs Java, which is not installed");
        return Err(hinted(error, JAVA));
    }
    Ok(command)
}

fn require_file(named_by: &str, program: PathBuf) -> Result<PathBuf> {
    if program.is_file() {
        return Ok(program);
    }
    let shown = program.display();
    Err(Failure::usage(format!("{named_by}: there is no {shown}")))
}

/// Returns the Spark distribution inside pyspark.
async fn of_python(ctx: &Context) -> Result<Command> {
    let none = || {
        hinted(
            Failure::new(Exit::Failed, "Spark is not installed"),
            INSTALL,
        )
    };
    let python = ctx.config.python.clone();
    let python = python
        .or_else(|| ctx.config.program("python3"))
        .ok_or_else(none)?;
    let find = "import pyspark; print(pyspark.__path__[0])";
    let found = Command::new(&python).args(["-c", find]).output().await;
    let found = found.ok().filter(|found| found.status.success());
    let home = found.ok_or_else(none)?.stdout;
    let home = PathBuf::from(String::from_utf8_lossy(&home).trim());
    let mut command = Command::new(home.join("bin/spark-submit"));
    command.env("SPARK_HOME", home);
    command
        .env("PYSPARK_PYTHON", &python)
        .env("PYSPARK_DRIVER_PYTHON", &python);
    Ok(command)
}

/// Errors of a record that Spark's line reader split inside quotes: its first half causes the
/// first, its second half one of both. Which one is reported depends on which task fails first.
const CUT: [&str; 2] = ["a quote is opened", "fields, but there are"];

/// Runs Spark; forwards its progress, and reduces the reason of a failure to one line.
pub(super) async fn run(ctx: &Context, mut command: Command, whole_files: bool) -> Result<()> {
    let mut task = ctx.progress.task("Spark: starting");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start spark-submit")?;
    // spark-submit passes on the program's stderr as its own stdout.
    let (mut program, mut spark) = (Log::default(), Log::default());
    let (first, second) = tokio::join!(
        read_lines(child.stdout.take(), &mut program, |line| ctx
            .progress
            .detail(line)),
        read_lines(child.stderr.take(), &mut spark, |line| report_stage(
            ctx, &mut task, line
        )),
    );
    first.and(second).context("cannot read Spark's output")?;
    let status = child.wait().await.context("cannot wait for Spark")?;
    drop(task);
    if status.success() {
        return Ok(());
    }
    let ours = program.error();
    let reason = ours.clone().or_else(|| spark.guess());
    let reason = reason.unwrap_or_else(|| format!("spark-submit: {status}"));
    let hint = if reason.contains("UnsupportedClassVersionError") {
        JAVA
    } else if !whole_files && CUT.iter().any(|sign| reason.contains(sign)) {
        "if fields contain line breaks, pass --whole-files"
    } else if reason.contains("FileSystem") {
        "docs/spark.md explains what Spark needs for such addresses"
    } else if ours.is_some() {
        "omit --on to validate here"
    } else {
        "pass --verbose to see Spark's complete output"
    };
    Err(hinted(
        Failure::new(Exit::Failed, format!("on Spark: {reason}")),
        hint,
    ))
}

/// Reads to the end.
async fn read_lines(
    pipe: Option<impl AsyncRead + Unpin>,
    log: &mut Log,
    mut on_line: impl FnMut(&str),
) -> std::io::Result<()> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    let mut buffer = vec![0; 8 * 1024];
    loop {
        let count = pipe.read(&mut buffer).await?;
        if count == 0 {
            log.take(b"\n", &mut on_line);
            return Ok(());
        }
        log.take(&buffer[..count], &mut on_line);
    }
}

fn report_stage(ctx: &Context, task: &mut Task, line: &str) {
    match stage(line) {
        Some((done, all)) => {
            let percent = done * 10 / all.max(1) * 10;
            task.set(format!("Spark: {percent} % of {all} partitions"));
        }
        None => ctx.progress.detail(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spark_master_of_the_user_is_not_local() {
        let local = settings(&["spark.executor.memory=2g".to_owned()]);
        assert!(local.contains(&"spark.master=local[*]".to_owned()));
        assert!(local.contains(&"spark.driver.bindAddress=127.0.0.1".to_owned()));
        let users = settings(&["spark.master=yarn".to_owned()]);
        assert_eq!(
            users
                .iter()
                .filter(|s| s.starts_with("spark.master"))
                .count(),
            1
        );
        assert!(!users.iter().any(|s| s.starts_with("spark.driver.")));
    }
}
