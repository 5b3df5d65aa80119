"""Starts our program and foreign ones, each as a process that ends with its test."""

import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
GRIDLOOM = os.environ.get("GRIDLOOM", "gridloom")


class Process:
    """A child that prints where it listens and is ended by its id."""

    def __init__(self, command):
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def line(self) -> str:
        line = self.child.stdout.readline()
        if not line:
            raise RuntimeError(f"the process ended with {self.child.wait()} before it listened")
        return line

    def stop(self) -> None:
        self.child.terminate()
        self.child.wait(timeout=20)
        self.child.stdout.close()


def our_meter(*options) -> tuple[Process, tuple[str, int]]:
    """`gridloom emulate meter` on a free loopback port, and its address."""
    command = [GRIDLOOM, "emulate", "meter", "--listen", "127.0.0.1:0", "--json", *options]
    process = Process(command)
    host, port = json.loads(process.line())["listening"].rsplit(":", 1)
    return process, (host, int(port))


def foreign_meter() -> tuple[Process, str]:
    """The meter that is built on foreign code, and its address as our commands take it."""
    process = Process([sys.executable, str(HERE / "foreign_meter.py")])
    return process, f"127.0.0.1:{process.line().split()[1]}"


def gridloom(*arguments, check=True) -> subprocess.CompletedProcess:
    """Runs one of our commands to its end."""
    return subprocess.run(
        [GRIDLOOM, *arguments], capture_output=True, text=True, timeout=60, check=check
    )
