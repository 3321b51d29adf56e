"""Validates data on Apache Spark: the mlops binary profiles the partitions, and the profiles are merged.

usage: spark-submit validate.py [--mlops FILE] [--format csv|jsonl|capture|parquet] [--whole-files]
           [--constraints FILE] [--statistics FILE] [--output-dir DIR] DATA… [-- ARGUMENTS]
ARGUMENTS are for the last step, `mlops validate --merge`, such as --suggest; its exit code is returned: docs/spark.md"""
import argparse, contextlib, itertools, pathlib, re, subprocess, sys, tempfile
from pyspark import SparkFiles, sql

def profile(files, arguments, lines=(), place=""):
    """Returns the profile that `mlops validate ARGUMENTS` creates from `lines`; `files` are in its directory."""
    command = [SparkFiles.get("mlops"), "validate", "--quiet", "--profile-out=profile", *arguments]
    with tempfile.TemporaryDirectory() as directory:
        for name, content in files.items():
            pathlib.Path(directory, name).write_bytes(content)
        with contextlib.suppress(BrokenPipeError), subprocess.Popen(command, cwd=directory, stdin=-1, stdout=-3, stderr=-1) as process:
            with contextlib.suppress(BrokenPipeError):  # It has exited, and reports why.
                process.stdin.writelines(line + b"\n" for line in lines)
                process.stdin.close()
            said = process.stderr.read().decode(errors="replace").replace("error: ", "", 1)
        if process.returncode:
            raise RuntimeError(f"mlops: {place}{said or process.returncode}")
        return pathlib.Path(directory, "profile").read_bytes()

def lines_of(rows, header, place):
    """Returns the lines of a partition, without the header of its file."""
    for offset, line in rows:
        if not header or offset > 0:  # Spark decodes invalid UTF-8 as U+FFFD; the binary must reject it.
            yield line.replace("\ufffd", "\udcff").encode(errors="surrogateescape")
        elif line.encode().rstrip() != header[0].rstrip():
            raise RuntimeError(f"mlops: {place}stdin: the header is not that of the first file")

def text(spark, args):
    """Returns offsets and lines; a partition is a part of one file, or all of it."""
    conf = {"textinputformat.record.delimiter": "\n", "mapreduce.input.fileinputformat.input.dir.recursive": "true",
            "mapreduce.input.fileinputformat.split.minsize": str(2**62 if args.whole_files else 1)}
    kinds = ("mapreduce.lib.input.TextInputFormat", "io.LongWritable", "io.Text")
    return spark.sparkContext.newAPIHadoopFile(",".join(args.data), *["org.apache.hadoop." + kind for kind in kinds], conf=conf)

def table(spark, args):
    """Returns Parquet as JSON Lines, with nulls, and with times and decimals as text."""
    files = spark.read.option("recursiveFileLookup", "true").format("binaryFile").load(args.data).inputFiles()
    every = not any("=" in file for file in files)  # Otherwise, Spark would derive columns from KEY=VALUE.
    found = spark.read.options(mergeSchema=True, recursiveFileLookup=every).parquet(*args.data)
    for name, kind in found.dtypes:
        if kind.startswith(("binary", "date", "decimal", "float", "timestamp")):  # Arrays are rejected.
            cell, cast = name.replace("`", "``"), {"binary": "array", "float": "double"}.get(kind, "string")
            found = found.withColumn(name, sql.functions.expr(f"{cast}(`{cell}`)"))
    json = sql.functions.to_json(sql.functions.struct("*"), {"ignoreNullFields": "false"})
    return found.select(json).rdd.map(lambda row: (1, row[0]))

def explained(error, rows):
    """Formats an error on one line, with the part of the file that the task read."""
    ours = re.search(r"(?:RuntimeError: |^)mlops: (?:partition (\d+) )?(.*)", str(error))
    if not ours:
        text = (re.findall("Caused by: (.*)", str(error)) or str(error).strip().splitlines())[0]
        return re.sub(".*(RDD is empty|empty RDD).*", "no rows", text)
    if rows is None or not ours[1]:
        return ours[2]
    split = rows._jrdd.rdd().partitions()[int(ours[1])].serializableHadoopSplit().value().toString()
    path, first = re.match(r"(?:file:)?(.*):(\d+)\+", split).groups()
    return ours[2].replace("stdin", path if first == "0" else f"{path} from byte {first} on", 1)

def main(spark, args, rest, directory, rows=None):
    baseline = {name: vars(args)[name] for name in ("constraints", "statistics") if vars(args)[name]}
    options = [f"--{name}={name}" for name in baseline]
    try:
        spark.sparkContext.addFile(args.mlops)
        files = {n: spark.read.text(baseline[n], wholetext=True).first()[0].encode() for n in baseline}
        rows = table(spark, args) if args.format == "parquet" else text(spark, args)
        header = [rows.first()[1].encode()] if args.format == "csv" else []
        arguments = ["--format=" + args.format.replace("parquet", "jsonl"), *options, "-"]
        def part(index, rows):
            lines = lines_of(rows, header, f"partition {index} ")
            for line in itertools.islice(lines, 1):  # Empty files have no lines.
                yield profile(files, arguments, itertools.chain(header, [line], lines), f"partition {index} ")
        both = lambda a, b: profile({"one part": a, "another": b}, ["--merge", "one part", "another"])
        files["merged"] = rows.mapPartitionsWithIndex(part).treeReduce(both)
    except Exception as error:
        sys.exit("mlops: error: " + explained(error, None if args.format == "parquet" else rows))
    for name in files:
        pathlib.Path(directory, name).write_bytes(files[name])
    command = [SparkFiles.get("mlops"), "validate", *options, *["--output-dir=out"] * bool(args.output_dir), *rest]
    status, hadoop = subprocess.call([*command, "--merge", "merged"], cwd=directory), spark._jvm.org.apache.hadoop
    for file in pathlib.Path(directory).glob("out/*.json"):
        store = hadoop.fs.Path(args.output_dir).getFileSystem(spark._jsc.hadoopConfiguration())
        store.setWriteChecksum(False)
        store.copyFromLocalFile(False, True, hadoop.fs.Path(str(file)), hadoop.fs.Path(args.output_dir, file.name))
    sys.exit(status)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(usage=__doc__)
    for name in ("mlops", "format", "constraints", "statistics", "output-dir"):
        parser.add_argument("--" + name, default={"mlops": "mlops", "format": "csv"}.get(name))
    parser.add_argument("--whole-files", action="store_true")
    parser.add_argument("data", nargs="+")
    cut = [*sys.argv, "--"].index("--")
    session = sql.SparkSession.builder.config("spark.sql.session.timeZone", "UTC").config(
        "spark.sql.sources.partitionColumnTypeInference.enabled", "false").getOrCreate()
    with tempfile.TemporaryDirectory() as directory:
        main(session, parser.parse_args(sys.argv[1:cut]), sys.argv[cut + 1 :], directory)
