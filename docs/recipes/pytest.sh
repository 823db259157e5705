# pytest: a suite that uses temporary files, threads, SQLite, asyncio and another program.
batch=true
prepare() {
    cat > test_it.py <<'END'
import asyncio
import sqlite3
import subprocess
import sys
import threading


def test_file(tmp_path):
    (tmp_path / "file").write_text("x")
    assert (tmp_path / "file").read_text() == "x"


def test_program():
    assert subprocess.run([sys.executable, "-c", "print(42)"], stdout=-1).stdout == b"42\n"


def test_thread():
    thread = threading.Thread(target=print)
    thread.start()
    thread.join()


def test_database(tmp_path):
    with sqlite3.connect(tmp_path / "db") as db:
        db.execute("CREATE TABLE t (a)")


def test_loop():
    asyncio.run(asyncio.sleep(0))
END
}
program=(pytest -q)
record() { exec "${user[@]}" pytest -q --seccompgen-record="$policy"; }
run() { exec "${user[@]}" pytest -q --seccompgen-enforce="$policy" --seccompgen-skip-unreached; }
more() {
    cat > test_more.py <<'END'
import multiprocessing
import os
import shutil
import socket
import tempfile
import threading


def test_tree(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("x" * 10**6)
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    os.rename(tmp_path / "c", tmp_path / "d")
    shutil.rmtree(tmp_path / "d")
    os.utime(tmp_path / "a")


def test_temporary_file():
    with tempfile.TemporaryFile() as file:
        file.write(b"x")
        file.truncate(0)


def test_pool():
    with multiprocessing.Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]


def test_fails_and_is_shown(capsys):
    print("shown")
    assert capsys.readouterr().out == "shown\n"


def test_pair():
    left, right = socket.socketpair()
    left.send(b"x")
    assert right.recv(1) == b"x"
END
}
attack() {
    cat > test_attack.py <<'END'
import socket


def test_connect():
    socket.create_connection(("127.0.0.1", 9))
END
}
