//! What programs print: Python and its libraries, the operating system, AWS's clients.
//!
//! More specific rows are first. For a line without a row, the exception itself is the cause.

use super::Place::{self, Build, Job, Monitor, Server};
use super::Signs::{Both, Lines};
use super::{Known, PERMISSION};

/// Places in which the user's program runs.
const PROGRAMS: &[Place] = &[Job, Server, Monitor];

/// Places in which any program runs.
const ANYWHERE: &[Place] = &[Job, Server, Monitor, Build];

pub(super) const ROWS: &[Known] = &[
    // Memory and disk.
    Known {
        kind: "out-of-memory",
        places: PROGRAMS,
        signs: Lines(&["CUDA out of memory", "CUDA_ERROR_OUT_OF_MEMORY"]),
        what: "the memory of the GPU was exhausted: `{line}`",
        fix: "use smaller batches, or choose an instance type with a larger GPU",
    },
    Known {
        kind: "out-of-memory",
        places: PROGRAMS,
        signs: Lines(&[
            "MemoryError",
            "_ArrayMemoryError",
            "OOMKilled",
            "out of memory",
            "Out of memory",
            "std::bad_alloc",
            "Cannot allocate memory",
            "was sent SIGKILL",
            // The kernel's or a shell's own line.
            "^Killed",
        ]),
        what: "the memory was exhausted: `{line}`",
        fix: "choose an instance type with more memory, or load less at once",
    },
    Known {
        kind: "disk-full",
        places: ANYWHERE,
        signs: Both(&[
            "No space left on device",
            "Insufficient disk space",
            "Disk quota exceeded",
        ]),
        what: "the disk is full: `{line}`",
        fix: "raise VolumeSizeInGB (or a build's compute type), and delete temporary files",
    },
    // Imports.
    Known {
        kind: "import-error",
        places: PROGRAMS,
        signs: Lines(&[
            "ImportError:…cannot open shared object file",
            "OSError:…cannot open shared object file",
        ]),
        what: "a system library is missing in the image: `{line}`",
        fix: "install the library in image/Dockerfile, push the image, and train again",
    },
    Known {
        kind: "pickle-main",
        places: PROGRAMS,
        signs: Lines(&["Can't get attribute '{attribute}' on <module '__main__'"]),
        what: "the model contains `{attribute}` of the program that saved it, which the program that loads it lacks",
        fix: "define `{attribute}` in a module of image/program that `train` and `serve` both import; push the image and train again",
    },
    Known {
        kind: "pickle-version",
        places: PROGRAMS,
        signs: Lines(&[
            "No module named 'numpy._core",
            "No module named 'sklearn.utils._{rest}'",
            "No module named 'sklearn.ensemble._{rest}'",
            "No module named 'sklearn.tree._{rest}'",
            "No module named 'sklearn.externals",
            "node array from the pickle has an incompatible dtype",
            "unsupported pickle protocol",
            "Can't get attribute '{attribute}' on <module",
            "is not a known BitGenerator module",
        ]),
        what: "the model was saved with other versions of its libraries than those that load it: `{line}`",
        fix: "pin the same versions of scikit-learn, numpy and Python for `train` and `serve`, push the image, and train again",
    },
    Known {
        kind: "binary-incompatible",
        places: PROGRAMS,
        signs: Lines(&[
            "numpy.dtype size changed",
            "numpy.core.multiarray failed to import",
            "A module that was compiled using NumPy 1.x cannot be run in NumPy",
            "undefined symbol: {symbol}",
        ]),
        what: "libraries of the image are built for other versions of each other: `{line}`",
        fix: "pin versions that fit together in image/requirements.txt (numpy first), push the image, and train again",
    },
    Known {
        kind: "system-library",
        places: PROGRAMS,
        signs: Lines(&[
            "version `GLIBC_{version}' not found",
            "version `GLIBCXX_{version}' not found",
        ]),
        what: "a library of the image needs a newer C library: `{line}`",
        fix: "use a newer base image, or pin an older version of the library",
    },
    Known {
        kind: "import-error",
        places: PROGRAMS,
        // `pandas.core` belongs to the package `pandas`.
        signs: Lines(&[
            "No module named '{module}.{rest}'",
            "No module named '{module}'",
            "No module named {module}",
        ]),
        what: "the program imports `{module}`, which the image does not contain",
        fix: "add its file to image/program if it is your own, else its package to image/requirements.txt; push the image and train again",
    },
    Known {
        kind: "import-error",
        places: PROGRAMS,
        signs: Lines(&["ImportError:", "ModuleNotFoundError:"]),
        what: "an import fails: `{line}`",
        fix: "pin versions that fit together in image/requirements.txt, push the image, and train again",
    },
    Known {
        kind: "package-not-found",
        places: ANYWHERE,
        signs: Lines(&[
            "No matching distribution found for {package}",
            "Could not find a version that satisfies the requirement {package}",
        ]),
        what: "pip finds no version of {package}: it does not exist for this Python, or the network is not reachable",
        fix: "check the name and the version in requirements.txt, and that pip can reach its index",
    },
    // Files.
    Known {
        kind: "missing-model",
        places: PROGRAMS,
        signs: Lines(&[
            "FileNotFoundError…/ml/model",
            "No such file or directory…/ml/model",
            "/ml/model…No such file or directory",
        ]),
        what: "a file is missing: `{line}`",
        fix: "check that `train` writes this file to /opt/ml/model, and `serve` reads the same name",
    },
    Known {
        kind: "missing-input",
        places: &[Job, Monitor],
        signs: Lines(&[
            "FileNotFoundError…/ml/input/data/",
            "No such file or directory…/ml/input/data/",
            "/ml/input/data/…No such file or directory",
            "FileNotFoundError…/ml/processing/input/",
            "No such file or directory…/ml/processing/input/",
            "/ml/processing/input/…No such file or directory",
        ]),
        what: "an input file is missing: `{line}`",
        fix: "compare the program's paths with the channels and inputs of the step (/opt/ml/input/data/CHANNEL), and the file's name with the data set",
    },
    Known {
        kind: "missing-file",
        places: PROGRAMS,
        signs: Lines(&["FileNotFoundError", "No such file or directory"]),
        what: "a file is missing: `{line}`",
        fix: "check that the image or the step's inputs contain this file",
    },
    Known {
        kind: PERMISSION,
        places: PROGRAMS,
        signs: Lines(&["PermissionError", "Permission denied"]),
        what: "the program may not use a file: `{line}`",
        fix: "write only below /opt/ml and /tmp, and set the executable bit of programs (`chmod +x`)",
    },
    // Data.
    Known {
        kind: "label-range",
        places: &[Job],
        signs: Both(&["label must be in [0,1]", "label must be in [0, num_class)"]),
        what: "the label is not the first column, or is not 0 or 1: `{line}`",
        fix: "put the label into the first column, without a header, as 0 and 1 (or 0 to the number of classes - 1)",
    },
    Known {
        kind: "one-class",
        places: &[Job],
        signs: Lines(&[
            "needs samples of at least 2 classes",
            "Only one class present in y_true",
            "The least populated class in y has only 1 member",
        ]),
        what: "the data contains one class only, or too few rows of one: `{line}`",
        fix: "check the label and the filter of the data, and split it by class (stratify)",
    },
    Known {
        kind: "empty-data",
        places: PROGRAMS,
        signs: Lines(&[
            "Found array with 0 sample(s)",
            "No columns to parse from file",
            "With n_samples=0",
            "No objects to concatenate",
        ]),
        what: "there is no data: `{line}`",
        fix: "check that the files contain rows, and that no filter removes all of them",
    },
    Known {
        kind: "missing-values",
        places: PROGRAMS,
        signs: Lines(&[
            "Input contains NaN",
            "Input X contains NaN",
            "Input y contains NaN",
            "contains infinity or a value too large",
            "cannot convert float NaN to integer",
            "Cannot convert non-finite values (NA or inf) to integer",
        ]),
        what: "the data contains empty or infinite values: `{line}`",
        fix: "fill or drop them before training, and add a completeness constraint (`mlops validate --suggest`)",
    },
    Known {
        kind: "text-for-number",
        places: PROGRAMS,
        signs: Lines(&[
            "could not convert string to float",
            "invalid literal for int()",
            "Unable to parse string",
            "Cannot cast str dtype to float64",
        ]),
        what: "the data contains text where a number is expected: `{line}`",
        fix: "check the column in the data (`mlops validate`), a header that is read as a row, and the delimiter",
    },
    Known {
        kind: "feature-mismatch",
        places: PROGRAMS,
        signs: Lines(&[
            "features, but {model} is expecting {number} features",
            "Feature shape mismatch",
            "feature_names mismatch",
            "The feature names should match those that were passed during fit",
        ]),
        what: "the data has other columns than those that the model was trained with: `{line}`",
        fix: "prepare the data in the same way for training and serving: the same columns in the same order, without the label",
    },
    Known {
        kind: "sagemaker-variable",
        places: &[Job],
        signs: Lines(&["KeyError: 'SM_{name}'"]),
        what: "the environment variable SM_{name} is not set: only SageMaker's training toolkit sets it",
        fix: "read /opt/ml directly (docs/contract.md), or install sagemaker-training in the image",
    },
    Known {
        kind: "missing-column",
        places: PROGRAMS,
        signs: Lines(&["KeyError: '{column}'"]),
        what: "the data or a dictionary has no column or key `{column}`",
        fix: "compare the names in the program with those in the data (`mlops validate`); the header may be missing",
    },
    Known {
        kind: "missing-column",
        places: PROGRAMS,
        signs: Lines(&[
            "None of [Index(",
            "] not in index",
            "not found in axis",
            "Usecols do not match columns",
            "columns are missing: ",
        ]),
        what: "the data lacks a column that the program uses: `{line}`",
        fix: "compare the names in the program with those in the data (`mlops validate`); the header may be missing",
    },
    Known {
        kind: "csv-format",
        places: PROGRAMS,
        signs: Lines(&["Error tokenizing data"]),
        what: "a CSV file has rows of different lengths: `{line}`",
        fix: "check the delimiter and unquoted commas in this line of the file",
    },
    Known {
        kind: "json-format",
        places: ANYWHERE,
        signs: Lines(&["JSONDecodeError"]),
        what: "a text is not JSON: `{line}`",
        fix: "check the file or response that is parsed: it may be empty, an error page, or JSON Lines",
    },
    Known {
        kind: "text-encoding",
        places: ANYWHERE,
        signs: Lines(&["UnicodeDecodeError", "UnicodeEncodeError"]),
        what: "a text has another encoding than expected: `{line}`",
        fix: "open the file with its encoding (`encoding=\"latin-1\"`), or save it as UTF-8; binary files are not text",
    },
    // The program.
    Known {
        kind: "syntax-error",
        places: ANYWHERE,
        signs: Lines(&["SyntaxError:", "IndentationError:", "TabError:"]),
        what: "the program is not valid Python for this version: `{line}`",
        fix: "correct the line, or choose the Python version that the program is written for ([image] python)",
    },
    Known {
        kind: "arguments",
        places: ANYWHERE,
        signs: Lines(&[
            "error: unrecognized arguments: {arguments}",
            "error: the following arguments are required: {arguments}",
            "error: argument {arguments}: invalid",
        ]),
        what: "the program does not accept its arguments: `{line}`",
        fix: "compare the step's hyperparameters or ContainerArguments with the program's options",
    },
    Known {
        kind: "gpu",
        places: PROGRAMS,
        signs: Lines(&[
            "No CUDA GPUs are available",
            "Found no NVIDIA driver",
            "CUDA driver version is insufficient",
            "no kernel image is available for execution on the device",
            "Torch not compiled with CUDA enabled",
        ]),
        what: "the program needs a GPU that the instance or the image does not provide: `{line}`",
        fix: "choose a GPU instance type, and an image whose CUDA version fits its driver",
    },
    // Networks and AWS's clients.
    Known {
        kind: "certificate",
        places: ANYWHERE,
        signs: Lines(&[
            "CERTIFICATE_VERIFY_FAILED",
            "certificate verify failed",
            "SSLCertVerificationError",
            "certificate signed by unknown authority",
            "self-signed certificate in certificate chain",
        ]),
        what: "a server's certificate is not trusted: `{line}`",
        fix: "add the proxy's certificate to the image and set REQUESTS_CA_BUNDLE and AWS_CA_BUNDLE (docs/networks.md)",
    },
    Known {
        kind: "no-network",
        places: ANYWHERE,
        signs: Lines(&[
            "Name or service not known",
            "Temporary failure in name resolution",
            "Could not resolve host",
            "nodename nor servname provided",
            "Network is unreachable",
            "No route to host",
            "Could not connect to the endpoint URL",
            "Connect timeout on endpoint URL",
            "Failed to establish a new connection",
        ]),
        what: "a host cannot be reached: `{line}`",
        fix: "allow the network (EnableNetworkIsolation, the security group, a NAT gateway or VPC endpoint), or put what it downloads into the image",
    },
    Known {
        kind: "no-region",
        places: ANYWHERE,
        signs: Lines(&["You must specify a region", "NoRegionError"]),
        what: "the program creates an AWS client without a region",
        fix: "pass region_name, or set AWS_DEFAULT_REGION in the step's environment",
    },
    Known {
        kind: "no-credentials",
        places: ANYWHERE,
        signs: Lines(&["Unable to locate credentials", "NoCredentialsError"]),
        what: "the program finds no AWS credentials",
        fix: "do not isolate the network, and do not clear the environment: the role's credentials come from both",
    },
    Known {
        kind: PERMISSION,
        places: ANYWHERE,
        signs: Lines(&[
            "AccessDenied",
            "AccessDeniedException",
            "is not authorized to perform",
            "An error occurred (403)",
        ]),
        what: "the container's role lacks a permission: `{line}`",
        fix: "add the permission to the role, or do not call this service from the container",
    },
];
