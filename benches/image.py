#!/usr/bin/env python3
"""Compares `mlops image push` with four curls and skopeo, against Debian's docker-registry on loopback.

usage: benches/image.py target/release/mlops [--image DIR] [--kit DIR] [--runs 5] [--parts first,…]
           [--out FILE]

Prints the Markdown of docs/benchmarks.md. Needs skopeo, docker-registry and pigz
(`apt-get install skopeo docker-registry pigz`) and the benchmark kit (--kit; default ../shared/bench
next to the clone): image.py creates the image in --image once (one 500 MB layer of noise, three of
100 MB of text, ten of 1 MB; as an OCI layout and as a docker-archive), and blobpush.py uploads its
blobs with curl, four in parallel and without hashing: the lower bound.

In each turn every program pushes once into an empty registry (a first push) or into one that has
the image (an identical re-push, a changed last layer). Wall and CPU seconds and peak memory are
the operating system's accounting of the client's process (wait4); the registry's CPU time is
reported separately. Results are medians; a ratio is the median of the ratios per turn. The first
turn is not counted.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import measure

HERE = os.path.dirname(os.path.abspath(__file__))
PARTS = ("first", "again", "changed", "gzip", "zstd")
MIB = 1 << 20


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mlops", help="the binary to measure (a release build)")
    parser.add_argument("--image", default="/tmp/bench-image", help="where the image is, or is made")
    parser.add_argument("--kit", default=os.path.join(HERE, "..", "..", "shared", "bench"))
    parser.add_argument("--runs", type=int, default=5, help="counted turns")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--out", help="write every single result to this JSON file too")
    found = parser.parse_args()
    found.mlops = os.path.abspath(found.mlops)
    found.kit = os.path.abspath(found.kit)
    if not os.path.exists(os.path.join(found.kit, "blobpush.py")):
        parser.error(f"{found.kit} is not the benchmark kit: name it by --kit")
    unknown = set(found.parts.split(",")) - set(PARTS)
    if unknown:
        parser.error(f"unknown parts: {', '.join(unknown)}")
    return found


class Registry:
    """A docker-registry with a store in a temporary directory, which can be emptied."""

    def __init__(self, directory):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.host = f"127.0.0.1:{free.getsockname()[1]}"
        self.store = os.path.join(directory, "store")
        config = os.path.join(directory, "registry.yml")
        with open(config, "w") as file:
            file.write(
                "version: 0.1\nlog: {level: error}\n"
                f"storage: {{filesystem: {{rootdirectory: {self.store}}}, delete: {{enabled: true}}}}\n"
                f"http: {{addr: {self.host}}}\n"
            )
        self.process = subprocess.Popen(
            ["docker-registry", "serve", config],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://{self.host}/v2/").close()
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit("docker-registry does not answer")

    def empty(self):
        shutil.rmtree(self.store, ignore_errors=True)
        # Otherwise, the next push would pay for the writes of the last one.
        os.sync()

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def sizes(self, repository):
        """Returns the sizes of the layers of `repository:v1` from the registry's manifest."""
        accept = "application/vnd.oci.image.manifest.v1+json, "
        accept += "application/vnd.docker.distribution.manifest.v2+json"
        request = urllib.request.Request(
            f"http://{self.host}/v2/{repository}/manifests/v1", headers={"Accept": accept}
        )
        with urllib.request.urlopen(request) as answer:
            return [layer["size"] for layer in json.load(answer)["layers"]]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


class Bench:
    def __init__(self, options, registry, scratch):
        self.options, self.registry, self.scratch = options, registry, scratch

    def curl(self, repository):
        kit = os.path.join(self.options.kit, "blobpush.py")
        url = f"http://{self.registry.host}/{repository}"
        return [sys.executable, kit, os.path.join(self.options.image, "oci"), url, "4"]

    def skopeo(self, source, repository):
        target = f"docker://{self.registry.host}/{repository}:v1"
        flags = ["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]
        return ["skopeo", *flags, source, target]

    def ours(self, source, repository, *more):
        target = f"{self.registry.host}/{repository}:v1"
        path = os.path.join(self.options.image, source)
        push = ["image", "push", path, "--to", target, "--plain-http", *more]
        return [self.options.mlops, "--quiet", "--output", "json", *push]

    def once(self, command):
        """Measures one run, with the registry's CPU time and, for mlops, the report."""
        report = os.path.join(self.scratch, "report.json")
        before = self.registry.cpu()
        with open(report, "w") as out, open(os.path.join(self.scratch, "stderr"), "w") as err:
            result = measure.once(command, stdout=out, stderr=err)
        if result["exit"] != 0:
            with open(os.path.join(self.scratch, "stderr")) as file:
                raise SystemExit(f"{command}: exit {result['exit']}: {file.read()}")
        result["registry"] = self.registry.cpu() - before
        if command[0] == self.options.mlops:
            with open(report) as file:
                result["sent"] = json.load(file)["sent"]
        return result

    def turns(self, named, prepare):
        """Runs the commands alternately; `prepare` runs before each one."""
        results = {name: [] for name in named}
        for index in range(self.options.runs + 1):
            for name, command in named.items():
                prepare()
                result = self.once(command)
                if command[0] != sys.executable:
                    result["size"] = sum(self.registry.sizes("image"))
                if index > 0:
                    results[name].append(result)
        return results

    def first(self):
        return self.turns(
            {
                "four curls": self.curl("image"),
                "skopeo": self.skopeo(f"oci:{self.options.image}/oci:v1", "image"),
                "mlops": self.ours("oci", "image"),
            },
            self.registry.empty,
        )

    def filled(self):
        """Starts a registry that has the image, pushed by neither of the two."""
        self.registry.empty()
        self.once(self.skopeo(f"oci:{self.options.image}/oci:v1", "image"))

    def again(self):
        self.filled()
        named = {
            "skopeo": self.skopeo(f"oci:{self.options.image}/oci:v1", "image"),
            "mlops": self.ours("oci", "image"),
        }
        return self.turns(named, lambda: None)

    def changed(self):
        """Pushes a new last layer in every turn: removes its blob from the store before."""
        self.filled()
        with open(os.path.join(self.options.image, "oci2", "index.json")) as file:
            digest = json.load(file)["manifests"][0]["digest"][7:]
        blobs = os.path.join(self.options.image, "oci2", "blobs", "sha256")
        with open(os.path.join(blobs, digest)) as file:
            manifest = json.load(file)
        new = [manifest["layers"][-1]["digest"][7:], manifest["config"]["digest"][7:], digest]

        def forget():
            root = os.path.join(self.registry.store, "docker", "registry", "v2")
            links = os.path.join(root, "repositories", "image")
            for name in new:
                shutil.rmtree(os.path.join(root, "blobs", "sha256", name[:2], name), True)
                for kind in ("_layers", "_manifests/revisions"):
                    shutil.rmtree(os.path.join(links, kind, "sha256", name), True)
            shutil.rmtree(os.path.join(links, "_manifests", "tags", "v1"), True)

        named = {
            "skopeo": self.skopeo(f"oci:{self.options.image}/oci2:v1", "image"),
            "mlops": self.ours("oci2", "image"),
        }
        return self.turns(named, forget)

    def archive(self, *more):
        return self.turns(
            {
                "skopeo": self.skopeo(f"docker-archive:{self.options.image}/docker.tar", "image"),
                "mlops": self.ours("docker.tar", "image", *more),
            },
            self.registry.empty,
        )

    def gzip(self):
        return self.archive()

    def zstd(self):
        return self.archive("--compression", "zstd")


TITLES = {
    "first": "First push of an OCI layout",
    "again": "Identical re-push",
    "changed": "Last layer changed",
    "gzip": "docker-archive with uncompressed layers, gzip",
    "zstd": "docker-archive with uncompressed layers, zstd (skopeo: gzip)",
}


def median(found, key):
    values = [result[key] for result in found if key in result]
    return statistics.median(values) if values else None


def table(part, results):
    print(f"\n### {TITLES[part]}\n")
    print("| | wall s | CPU s | peak RSS MiB | registry's CPU s | layers MiB | sent bytes | wall / skopeo | CPU / skopeo |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, found in results.items():
        ratios = [measure.ratio(found, results["skopeo"], key) for key in ("wall", "cpu")]
        size, sent = median(found, "size"), median(found, "sent")
        print(
            f"| {name} | {median(found, 'wall'):.3f} | {median(found, 'cpu'):.3f} "
            f"| {median(found, 'rss'):.0f} | {median(found, 'registry'):.2f} "
            f"| {'' if size is None else f'{size / MIB:.1f}'} | {'' if sent is None else f'{sent:.0f}'} "
            f"| {ratios[0]:.2f} | {ratios[1]:.2f} |"
        )


def bars(all_results):
    print("\n### Against the bars\n\n| | measured | bar | |\n|---|---|---|---|")

    def line(what, value, bar, form="{:.2f}"):
        verdict = "kept" if value <= bar else "**missed**"
        print(f"| {what} | {form.format(value)} | {form.format(bar)} | {verdict} |")

    def ratio(part, key, peer="skopeo"):
        return measure.ratio(all_results[part]["mlops"], all_results[part][peer], key)

    if "first" in all_results:
        line("first push, wall / four curls", ratio("first", "wall", "four curls"), 1.1)
        line("first push, wall / skopeo", ratio("first", "wall"), 0.78)
        line("first push, CPU / skopeo", ratio("first", "cpu"), 0.45)
    if "again" in all_results:
        wall = median(all_results["again"]["mlops"], "wall")
        line("identical re-push, wall ms", wall * 1000, 40, "{:.0f}")
    if "changed" in all_results:
        found = all_results["changed"]["mlops"]
        line("last layer changed, wall ms", median(found, "wall") * 1000, 80, "{:.0f}")
        line("last layer changed, bytes sent", median(found, "sent"), LAST + 10240, "{:.0f}")
    if "gzip" in all_results:
        line("docker-archive, gzip, wall / skopeo", ratio("gzip", "wall"), 0.6)
        line("docker-archive, gzip, size / skopeo", ratio("gzip", "size"), 1.0, "{:.4f}")
    if "zstd" in all_results:
        line("docker-archive, zstd, wall / skopeo", ratio("zstd", "wall"), 0.4)
    memory = max(median(found["mlops"], "rss") for found in all_results.values())
    line("peak RSS, the largest, MiB", memory, 64, "{:.0f}")


def last_layer(image):
    """Returns the size of the layer that is in oci2 but not in oci."""
    with open(os.path.join(image, "oci2", "index.json")) as file:
        digest = json.load(file)["manifests"][0]["digest"][7:]
    with open(os.path.join(image, "oci2", "blobs", "sha256", digest)) as file:
        return json.load(file)["layers"][-1]["size"]


def main():
    global LAST
    options = arguments()
    if not os.path.exists(os.path.join(options.image, "docker.tar")):
        kit = os.path.join(options.kit, "image.py")
        subprocess.run([sys.executable, kit, options.image], check=True)
    LAST = last_layer(options.image)
    load = os.getloadavg()[0]
    if load > 0.3:
        print(f"the machine is busy (load {load:.1f}): wall times will lie", file=sys.stderr)
    start = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    results = {}
    with tempfile.TemporaryDirectory() as directory:
        registry = Registry(directory)
        try:
            bench = Bench(options, registry, directory)
            for part in options.parts.split(","):
                results[part] = getattr(bench, part)()
                print(f"{TITLES[part]}: done", file=sys.stderr)
        finally:
            registry.stop()
    version = subprocess.run(["skopeo", "--version"], capture_output=True, text=True).stdout.strip()
    print(f"{start} UTC, {os.cpu_count()} cores, load {load:.1f} before the run, {options.runs} turns.")
    print(f"{version}; Debian's docker-registry.")
    for part, found in results.items():
        table(part, found)
    bars(results)
    if options.out:
        with open(options.out, "w") as file:
            json.dump(results, file)


if __name__ == "__main__":
    main()
