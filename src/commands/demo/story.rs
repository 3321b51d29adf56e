//! The commands of the story, in order.

/// One command of the story.
pub(super) struct StoryStep {
    /// Text printed before the command.
    pub(super) story: &'static str,
    pub(super) program: Program,
    pub(super) arguments: &'static [&'static str],
    /// The expected exit code.
    pub(super) exit: i32,
    /// The actor whose role the command runs with; without one, it runs with all permissions.
    pub(super) actor: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    Mlops,
    Git,
    /// Not a command: sends the requests of a later month to the endpoint.
    Traffic,
    /// Not a command: writes a file with this text.
    Write(&'static str, &'static str),
    /// Not a command: replaces text in a file of the project.
    Edit {
        file: &'static str,
        /// Texts and their replacements.
        changes: &'static [(&'static str, &'static str)],
        /// What they mean.
        shown: &'static str,
    },
}

const fn mlops(story: &'static str, arguments: &'static [&'static str], exit: i32) -> StoryStep {
    StoryStep {
        story,
        program: Program::Mlops,
        arguments,
        exit,
        actor: None,
    }
}

const fn git(story: &'static str, arguments: &'static [&'static str]) -> StoryStep {
    StoryStep {
        story,
        program: Program::Git,
        arguments,
        exit: 0,
        actor: None,
    }
}

/// The project, and so the prefix of its roles.
const PROJECT: &str = "flights";

/// Who runs the commands, as governance.yaml names their roles.
const DATA_SCIENTIST: &str = "data-scientist";
const ML_ENGINEER: &str = "ml-engineer";
const APPROVER: &str = "approver";
const READER: &str = "reader";

/// The endpoint that `promote` creates; it has the project's name.
pub(super) const ENDPOINT: &str = PROJECT;

/// The file whose rows are sent to the endpoint, and the number of rows per request.
pub(super) const TRAFFIC: (&str, usize) = ("data/production/july.csv", 20);

/// What a scan of an image finds: the local cloud has no scanner.
const FINDINGS: &str = ".mlops/findings.json";

pub(super) const STORY: &[StoryStep] = &[
    git(
        "1. The operator creates a project, and deploys the architecture to the account.",
        // The directory may be inside another repository, such as a clone of mlops.
        &["init", "--quiet", "--initial-branch=develop"],
    ),
    mlops("", &["--local", "init", "--name", PROJECT, "--yes"], 0),
    mlops(
        "2. The data scientist uploads the training data to S3 as a version.",
        &["data", "push", "data/train", PROJECT],
        0,
    )
    .by(DATA_SCIENTIST),
    mlops(
        "   Derive a baseline from the data, for the team to review and commit.",
        &[
            "validate",
            "--suggest",
            "data/train",
            "--output-dir",
            "baseline",
        ],
        0,
    ),
    git("", &["add", "baseline"]),
    git(
        "",
        &["commit", "--quiet", "-m", "Baseline of the training data"],
    ),
    git("", PUSH).by(DATA_SCIENTIST),
    mlops(
        "   A good file passes validation.",
        &["validate", "data/good.csv"],
        0,
    ),
    mlops(
        "   A corrupted file fails it.",
        &["validate", "data/spoiled.csv"],
        3,
    ),
    StoryStep {
        story: "3. The operator adds the pipelines. From now on, nobody starts anything by hand.",
        program: Program::Write(FINDINGS, "{\"findings\": []}\n"),
        arguments: &[],
        exit: 0,
        actor: None,
    },
    mlops(
        "",
        &["local", "inject", "scan", "--repository", PROJECT, FINDINGS],
        0,
    ),
    mlops("", &["init", "--delivery", "--yes"], 0),
    mlops(
        "   The newest commit is built, and its image starts the training: preprocess, train, evaluate, gate, register.",
        WATCH_COMMIT,
        0,
    )
    .by(DATA_SCIENTIST),
    mlops(
        "   But a data scientist cannot approve the version.",
        &["models", "approve", "1"],
        4,
    )
    .by(DATA_SCIENTIST),
    mlops(
        "4. The approver approves version 1, which starts its deployment.",
        &["models", "approve", "1"],
        0,
    )
    .by(APPROVER),
    mlops("", &["runs", "watch", "--model-version", "1"], 0).by(ML_ENGINEER),
    StoryStep {
        story: "5. Months later, the endpoint receives different flights.",
        program: Program::Traffic,
        arguments: &[],
        exit: 0,
        actor: None,
    },
    mlops(
        "   The monitor compares the captured requests with the baseline and finds drift.",
        &["monitor", "run"],
        3,
    )
    .by(ML_ENGINEER),
    mlops(
        "   Write the same report as an HTML page.",
        &["monitor", "report", "--html", "drift.html"],
        0,
    )
    .by(READER),
    StoryStep {
        story: "6. The data scientist improves the model, and pushes the change: the pipelines do the rest.",
        program: Program::Edit {
            file: "pipeline.json",
            changes: &[
                ("\"DefaultValue\": 150", "\"DefaultValue\": 400"),
                ("\"max_leaf_nodes\": \"31\"", "\"max_leaf_nodes\": \"15\""),
            ],
            shown: "more and smaller trees",
        },
        arguments: &[],
        exit: 0,
        actor: None,
    },
    git(
        "",
        &["commit", "--quiet", "--all", "-m", "More and smaller trees"],
    ),
    git("", PUSH).by(DATA_SCIENTIST),
    mlops("", WATCH_COMMIT, 0).by(DATA_SCIENTIST),
    mlops(
        "   The new version beside the live one.",
        &["models", "compare", "1", "2"],
        0,
    )
    .by(APPROVER),
    mlops("", &["models", "approve", "2"], 0).by(APPROVER),
    mlops("", &["runs", "watch", "--model-version", "2"], 0).by(ML_ENGINEER),
    mlops(
        "7. An auditor reviews the state of the project.",
        &["status"],
        0,
    )
    .by(READER),
    mlops(
        "   Verify that the endpoint still serves what was released.",
        &["releases", "verify"],
        0,
    )
    .by(READER),
    mlops(
        "   Trace the origin of the deployed model.",
        &["lineage"],
        0,
    )
    .by(READER),
];

/// Pushes the project to the repository in the account.
const PUSH: &[&str] = &["push", "--quiet", "codecommit", "develop"];

/// Follows what the newest commit started.
const WATCH_COMMIT: &[&str] = &["runs", "watch", "--commit", "HEAD"];

impl StoryStep {
    /// Runs the command with the role of an actor.
    const fn by(mut self, actor: &'static str) -> Self {
        self.actor = Some(actor);
        self
    }

    /// The role that the command runs with.
    pub(super) fn role(&self) -> Option<String> {
        self.actor.map(|actor| format!("{PROJECT}-{actor}"))
    }

    /// Formats the command line as the reader sees it.
    pub(super) fn shown(&self) -> String {
        let words = self.arguments.iter().map(|word| {
            if word.contains(' ') {
                format!("\"{word}\"")
            } else {
                (*word).to_owned()
            }
        });
        match self.program {
            Program::Mlops => format!("mlops {}", words.collect::<Vec<_>>().join(" ")),
            Program::Git => format!("git {}", words.collect::<Vec<_>>().join(" ")),
            Program::Traffic => format!("(the application sends the rows of {})", TRAFFIC.0),
            Program::Write(path, text) => format!("echo '{}' > {path}", text.trim_end()),
            Program::Edit { file, shown, .. } => {
                format!("(the data scientist edits {file}: {shown})")
            }
        }
    }
}
