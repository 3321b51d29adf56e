//! The commands of the story, in order.

/// One command of the story.
pub(super) struct StoryStep {
    /// What the reader is told before it.
    pub(super) story: &'static str,
    pub(super) program: Program,
    pub(super) arguments: &'static [&'static str],
    /// The exit code that it must end with.
    pub(super) exit: i32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    Mlops,
    Git,
    /// Not a command: requests of a later month reach the endpoint.
    Traffic,
}

const fn mlops(story: &'static str, arguments: &'static [&'static str], exit: i32) -> StoryStep {
    StoryStep {
        story,
        program: Program::Mlops,
        arguments,
        exit,
    }
}

const fn git(story: &'static str, arguments: &'static [&'static str]) -> StoryStep {
    StoryStep {
        story,
        program: Program::Git,
        arguments,
        exit: 0,
    }
}

/// The endpoint that `promote` makes: it has the project's name.
pub(super) const ENDPOINT: &str = "flights";

/// The file whose rows reach the endpoint, and how many rows a request has.
pub(super) const TRAFFIC: (&str, usize) = ("data/production/july.csv", 20);

pub(super) const STORY: &[StoryStep] = &[
    git(
        "1. A team gets its project, and the account gets the architecture.",
        // The directory may be inside another repository, such as a clone of mlops.
        &["init", "--quiet", "--initial-branch=develop"],
    ),
    mlops("", &["--local", "init", "--name", "flights", "--yes"], 0),
    git(
        "   The code goes to CodeCommit.",
        &["push", "--quiet", "codecommit", "develop"],
    ),
    mlops(
        "2. The program becomes a container image in ECR.",
        &["image", "push"],
        0,
    ),
    mlops(
        "3. The training data becomes a version in S3.",
        &["data", "push", "data/train", "flights"],
        0,
    ),
    mlops(
        "   What the data looks like becomes the baseline that the team agrees on.",
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
    mlops("   A good file passes.", &["validate", "data/good.csv"], 0),
    mlops(
        "   A spoiled file is refused.",
        &["validate", "data/spoiled.csv"],
        3,
    ),
    mlops(
        "4. The pipeline runs: preprocess, train, evaluate, gate, register.",
        &["train", "--branch", "develop"],
        0,
    ),
    mlops(
        "5. Version 1 is approved and serves predictions.",
        &["promote", "1", "--yes"],
        0,
    ),
    StoryStep {
        story: "6. Months later: other flights reach the endpoint.",
        program: Program::Traffic,
        arguments: &[],
        exit: 0,
    },
    mlops(
        "   The monitor compares what was captured with the baseline, and finds drift.",
        &["monitor", "run"],
        3,
    ),
    mlops(
        "   The same as a page to send around.",
        &["monitor", "report", "--html", "drift.html"],
        0,
    ),
    mlops("7. Where everything stands.", &["status"], 0),
    mlops("   What the served model was made of.", &["lineage"], 0),
];

impl StoryStep {
    /// The command line as the reader sees it.
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
        }
    }
}
