"""Processes: forks, ends at any moment, and stores that several share."""

import json
import os
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from lists import read_sync

from chunkflow import Flow, Follows, Source, __version__

HERE = Path(__file__).parent

BEGIN = """
import asyncio, json, os, signal, sys, threading, time, warnings
warnings.filterwarnings("ignore", "This process .* is multi-threaded")  # where it forks
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may start tests without it
from chunkflow import Cut, Fetch, Flow, Source
from lists import HEADERS, Gate, Numbers, body, read, read_sync
"""


def run(
    script: str, *arguments: str, then: Callable[[subprocess.Popen[str]], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a script in a process of its own, which must end by itself."""
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", BEGIN + textwrap.dedent(script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE)},
    )
    if then is not None:
        then(process)
    try:
        said, complaints = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        # Where does it hang?
        process.send_signal(signal.SIGABRT)
        said, complaints = process.communicate()
        pytest.fail(f"it does not end: {said} {complaints}")
    return subprocess.CompletedProcess(process.args, process.returncode, said, complaints)


def good(process: subprocess.CompletedProcess[str]) -> str:
    assert (process.returncode, process.stderr) == (0, ""), process
    said: str = process.stdout
    return said.strip()


def interrupt(process: subprocess.Popen[str]) -> None:
    """Ctrl-C, once the script has said a line."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 60)[0]
    process.stdout.readline()
    process.send_signal(signal.SIGINT)


def test_a_process_that_was_forked_makes_threads_of_its_own() -> None:
    script = """
        numbers = Numbers(1_000)
        flow = Flow()
        whole = read_sync(flow, numbers.source())
        reply = flow.open_sync(Numbers(10_007).source(b"long"), "/", HEADERS)
        next(reply)
        children = []
        for child in range(4):
            if (pid := os.fork()) == 0:
                try:
                    assert read_sync(flow, numbers.source()) == whole
                    assert asyncio.run(read(flow, numbers.source(b"2"))) == whole
                    try:
                        next(reply)
                    except RuntimeError as error:
                        assert "forked" in str(error)
                    else:
                        raise AssertionError
                    del reply
                    flow.close()
                    flow.close()
                    del flow
                    code = 0
                except BaseException as error:
                    print(repr(error), file=sys.stderr)
                    code = 1
                os._exit(code)
            children.append(pid)
        assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
        assert sum(len(frame) for frame in reply) > 0
        assert read_sync(flow, numbers.source()) == whole
        print("done")
    """
    assert good(run(script)) == "done"


def test_a_process_that_was_forked_in_the_middle_of_work_ends_well() -> None:
    script = """
        gate = Gate()
        numbers = Numbers(1_000)
        flow = Flow()
        source = numbers.source(rows=gate.before(numbers.rows))
        thread = threading.Thread(target=read_sync, args=(flow, source))
        thread.start()
        gate.reached.wait()
        if (pid := os.fork()) == 0:
            gate.opened.set()
            read_sync(flow, numbers.source(b"child"))
            sys.stdout.flush()
            sys.exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        gate.opened.set()
        thread.join()
        print("done")
    """
    assert good(run(script)) == "done"


@pytest.mark.parametrize("how", ["sys.exit(7)", "os._exit(7)", "raise SystemExit(7)"])
@pytest.mark.parametrize("where", ["cold", "stream", "held", "loop", "coroutine", "never"])
def test_the_end_of_python_in_mid_stream_neither_hangs_nor_crashes(how: str, where: str) -> None:
    script = """
        how, where = sys.argv[1:]
        numbers = Numbers(10_007, 500)
        gate = Gate()
        flow = Flow()

        def end():
            exec(how, globals())

        if where == "cold":
            threading.Thread(target=read_sync, args=(flow, numbers.source()), daemon=True).start()
        elif where == "stream":
            reply = flow.open_sync(numbers.source(), "/", HEADERS)
            next(reply)
        elif where == "held":
            source = numbers.source(rows=gate.before(numbers.rows))
            threading.Thread(target=read_sync, args=(flow, source), daemon=True).start()
            gate.reached.wait()
        elif where == "loop":
            async def main():
                reply = await flow.open(numbers.source(), "/", HEADERS)
                await anext(reply)
                asyncio.ensure_future(body(reply))
                await asyncio.sleep(0)
                end()
            asyncio.run(main())
        elif where == "coroutine":
            async def main():
                async def rows(fetch):
                    end()
                await flow.open(numbers.source(rows=rows), "/", HEADERS)
                await asyncio.sleep(0.05)
                end()
            asyncio.run(main())
        end()
    """
    process = run(script, how, where)
    assert process.returncode == 7, process
    assert "panicked" not in process.stderr
    assert "Fatal" not in process.stderr


def test_ctrl_c_ends_a_wait_for_rows() -> None:
    script = """
        gate = Gate()
        flow = Flow()
        source = Numbers(10).source(rows=gate.before(Numbers(10).rows))
        def say():
            gate.reached.wait()
            print("waiting", flush=True)
        threading.Thread(target=say).start()
        try:
            read_sync(flow, source)
        except KeyboardInterrupt:
            print("interrupted")
    """
    process = run(script, then=interrupt)
    assert (process.returncode, process.stdout) == (0, "interrupted\n"), process


def test_ctrl_c_ends_an_event_loop_that_waits_for_rows() -> None:
    script = """
        gate = Gate()
        flow = Flow()
        source = Numbers(10).source(rows=gate.before(Numbers(10).rows))
        async def main():
            task = asyncio.ensure_future(read(flow, source))
            await asyncio.to_thread(gate.reached.wait)
            print("waiting", flush=True)
            await task
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            print("interrupted")
    """
    process = run(script, then=interrupt)
    assert (process.returncode, process.stdout) == (0, "interrupted\n"), process


def test_a_sub_interpreter_is_refused_with_a_message() -> None:
    script = """
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        interpreter = interpreters.create()
        try:
            said = interpreters.run_string(interpreter, "import chunkflow")
        except Exception as error:
            said = error
        assert "ImportError" in repr(said) + str(said), said
        assert "interpreter" in str(said), said
        print("refused")
    """
    process = run(script)
    assert (process.returncode, process.stdout.strip()) == (0, "refused"), process


def test_a_free_threaded_build_is_refused_with_a_message() -> None:
    script = """
        import importlib, sysconfig
        asked = sysconfig.get_config_var
        sysconfig.get_config_var = lambda name: name == "Py_GIL_DISABLED" or asked(name)
        try:
            importlib.reload(sys.modules["chunkflow"])
        except ImportError as error:
            print(error)
    """
    said = good(run(script))
    assert "free-threaded" in said
    assert "with the GIL" in said


def test_greenlets_in_place_of_threads_are_refused_with_a_message() -> None:
    script = """
        from gevent import monkey
        monkey.patch_all()
        flow = Flow()
        for _ in range(2):
            try:
                read_sync(flow, Numbers(10).source())
            except RuntimeError as error:
                print(error)
    """
    said = good(run(script))
    assert said.count("gevent has replaced by greenlets") == 2
    assert said.count("gthread") == 2


@pytest.mark.parametrize("store", ["redis", "memcached"])
def test_processes_that_share_a_store_load_each_chunk_once(
    store: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(store)
    script = """
        numbers = Numbers(10_007)
        flow = Flow(sys.argv[1], prefix=sys.argv[2])
        print("ready", flush=True)
        input()
        whole = [read_sync(flow, numbers.source()) for _ in range(3)][-1]
        assert json.loads(whole) == numbers.all()
        print(json.dumps([fetch.after and fetch.after[0] for fetch in numbers.fetches]))
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", BEGIN + textwrap.dedent(script), url, f"{store}{os.getpid()}:"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(HERE)},
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    asked = []
    for process in processes:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        asked.extend(json.loads(said))
    # Runs may overlap by rows, and no run is read twice.
    assert len(asked) == len(set(asked)), asked


@pytest.mark.parametrize("store", ["redis", "memcached"])
def test_a_change_that_one_process_tells_is_seen_by_another_with_its_token(
    store: str, request: pytest.FixtureRequest, flows: Callable[..., Flow]
) -> None:
    url = request.getfixturevalue(store)
    prefix = f"told {store} {os.getpid()}:".replace(" ", "-")
    script = """
        from chunkflow import Change
        flow = Flow(sys.argv[1], prefix=sys.argv[2])
        if sys.argv[3] == "one row":
            print(flow.changed_sync([Change("book", ["7"])]))
        else:
            print(flow.purge_sync("book"))
    """
    asked = []

    def rows(fetch: object) -> list[tuple[tuple[int], str]]:
        asked.append(fetch)
        return [((7,), '{"id":7}')]

    flow = flows(url, prefix=prefix)
    source = Source("books", b"", rows, order=["id"], follows=Follows("book", ["id"]))
    for _ in range(3):
        read_sync(flow, source)
    assert len(asked) == 1
    for what in ("one row", "all rows"):
        token = good(run(script, url, prefix, what))
        before = len(asked)
        read_sync(flow, source, f"/?at_least={token}")
        assert len(asked) > before


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


def test_the_command_is_in_the_package() -> None:
    for command in (["-m", "chunkflow"], [str(Path(sys.executable).with_name("chunkflow"))]):
        arguments = [sys.executable, *command] if command[0] == "-m" else command
        said = run_command(*arguments, "--version")
        assert (said.returncode, said.stdout) == (0, f"chunkflow {__version__}\n")
        wrong = run_command(*arguments, "--nothing")
        assert wrong.returncode == 2
        assert "Usage: chunkflow" in wrong.stderr


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_command_stops_at_a_signal_as_the_binary_does(end: signal.Signals) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "chunkflow", "demo", "--listen", "127.0.0.1:0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stderr is not None
    for line in server.stderr:
        if "127.0.0.1:" in line:
            break
    server.send_signal(end)
    _, said = server.communicate(timeout=60)
    assert server.returncode == 0, said
    assert "Traceback" not in said
