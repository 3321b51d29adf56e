"""Measures whole processes by the operating system's accounting (wait4), alternating between commands."""

import os
import statistics
import subprocess
import time


def once(command, **kwargs):
    """Returns wall seconds, CPU seconds, peak RSS in MiB and exit code of one process."""
    kwargs.setdefault("stdout", subprocess.DEVNULL)
    kwargs.setdefault("stderr", subprocess.DEVNULL)
    start = time.perf_counter()
    process = subprocess.Popen(command, **kwargs)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "wall": wall,
        "cpu": usage.ru_utime + usage.ru_stime,
        "rss": usage.ru_maxrss / 1024,
        "exit": process.returncode,
    }


def series(runs, warmup, commands, exits=(0,)):
    """Runs the named commands alternately; returns all results by name, with one index per turn."""
    results = {name: [] for name in commands}
    for index in range(warmup + runs):
        for name, (command, kwargs) in commands.items():
            result = once(command, **kwargs)
            assert result["exit"] in exits, f"{name}: exit {result['exit']}"
            if index >= warmup:
                results[name].append(result)
    return results


def medians(results):
    return {
        name: {key: statistics.median(r[key] for r in found) for key in ("wall", "cpu", "rss")}
        for name, found in results.items()
    }


def ratio(ours, theirs, key):
    """Returns the median of the ratios per turn: what slows both in one turn cancels out."""
    return statistics.median(a[key] / b[key] for a, b in zip(ours, theirs))


def paired(runs, warmup, commands):
    """Runs the named commands alternately; returns medians by name."""
    return medians(series(runs, warmup, commands))


def show(results):
    for name, result in results.items():
        print(
            f"{name:40} {result['wall'] * 1000:8.1f} ms wall {result['cpu'] * 1000:8.1f} ms CPU "
            f"{result['rss']:7.1f} MiB"
        )
