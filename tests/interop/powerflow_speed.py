"""Warm solutions of the IEEE 8500-node feeder, ours and those of OpenDSS, in the same run.

Both settle their controls, then hold them; each solution begins from the one before, after every
load has moved by one percent; both end when no node's voltage moves by more than the same
tolerance (OpenDSS looks at magnitudes, we at phasors, which is no less strict). Rounds alternate,
and medians of the rounds count.

    cargo build --release -p gridloom-grid --example warm_solves
    python tests/interop/powerflow_speed.py target/release/examples/warm_solves
"""

import statistics
import subprocess
import sys
import tempfile
import time

import feeders

ROUNDS, SOLVES = 9, 40
PATH = feeders.IEEE + "8500-Node/Master.dss"


def theirs(path, tolerance):
    feeders.compile_circuit(path, feeders.FEEDERS[PATH], tolerance=tolerance)
    dss = feeders.dss
    assert dss.Solution.Converged()
    dss.Text.Command("set controlmode=off")
    dss.Solution.Solve()
    state = {"up": False}

    def solve(count):
        iterations = 0
        for _ in range(count):
            state["up"] = not state["up"]
            dss.Solution.LoadMult(1.01 if state["up"] else 1.0)
            dss.Solution.Solve()
            assert dss.Solution.Converged()
            iterations += dss.Solution.Iterations()
        return iterations

    return solve


def ours(program, path, tolerance):
    process = subprocess.Popen(
        [program, str(path), str(tolerance)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def solve(count):
        process.stdin.write(f"{count}\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    return process, solve


def main():
    archive = feeders.data_folder()
    if archive is None:
        sys.exit("no test feeders: set GRIDLOOM_DATA to the folder that holds feeders/")
    with tempfile.TemporaryDirectory() as folder:
        path = feeders.unpack(archive, folder) / PATH
        for tolerance in (1e-4, 1e-7):
            process, our_solve = ours(sys.argv[1], path, tolerance)
            sides = {"gridloom": our_solve, "OpenDSS": theirs(path, tolerance)}
            times = {name: [] for name in sides}
            iterations = {}
            for _ in range(ROUNDS):
                for name, solve in sides.items():
                    start = time.perf_counter()
                    count = solve(SOLVES)
                    times[name].append((time.perf_counter() - start) / SOLVES * 1e3)
                    iterations[name] = count / SOLVES
            process.stdin.close()
            process.wait()
            for name, all_times in times.items():
                print(
                    f"tolerance {tolerance:.0e} p.u.: {name:8} "
                    f"{statistics.median(all_times):6.2f} ms a solution (fastest round "
                    f"{min(all_times):.2f}), {iterations[name]:.1f} iterations"
                )


if __name__ == "__main__":
    main()
