"""Starts JupyterLab of a notebook instance: creates the environment of its kernels, and becomes the server.

Packages that a notebook installs go to this environment, which is lost when the instance stops, as on AWS. The
shared environment with JupyterLab is cached for all instances and stays unchanged.
"""

import os
import stat
import sys
import sysconfig
import venv


def create_environment(directory: str) -> None:
    """Creates the environment; it also finds the packages of the shared one."""
    venv.EnvBuilder(symlinks=True, clear=True, with_pip=False).create(directory)
    own = sysconfig.get_path("purelib", "venv", {"base": directory, "platbase": directory})
    with open(os.path.join(own, "shared.pth"), "w", encoding="utf-8") as file:
        file.write(sysconfig.get_path("purelib") + "\n")
    for name in ("pip", "pip3"):
        path = os.path.join(directory, "bin", name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(f'#!/bin/sh\nexec "{directory}/bin/python" -m pip "$@"\n')
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR | stat.S_IXGRP)


def main() -> None:
    tools = os.path.dirname(os.path.abspath(__file__))
    create_environment(os.environ["MLOPS_KERNELS"])
    config = os.path.join(tools, "jupyter_config.py")
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", "--config", config])


if __name__ == "__main__":
    main()
