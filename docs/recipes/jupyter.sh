# A Jupyter kernel: cells that compute, and read and write files.
own_install=true
export IPYTHONDIR=$PWD/ipython
prepare() {
    cat > kernel.py <<'END'
from ipykernel.kernelapp import IPKernelApp

from sandbox import confined

app = IPKernelApp.instance()
app.initialize()
confined.install()
open("begun", "w").close()
app.start()
END
    cat > cell.py <<'END'
import sys

from jupyter_client import BlockingKernelClient

client = BlockingKernelClient(connection_file="connection.json")
client.load_connection_file()
client.start_channels()
client.wait_for_ready(timeout=60)
for cell in sys.argv[1:]:
    reply = client.execute_interactive(cell, timeout=60, stop_on_error=False)
    if reply["content"]["status"] == "error":
        print(reply["content"]["ename"])
client.complete("impor")
client.stop_channels()
END
}
program=(python3 kernel.py -f "$PWD/connection.json")
ready() { [ -e begun ] && cells 'print("up")' | grep -q up; } # whom it accepted before, no recording has
cells() { python3 -u cell.py "$@" 2> /dev/null; }
use() {
    cells 'print(6 * 7)' '1 / 0' 'open("file.txt", "w").write("text"); print(open("file.txt").read())' > said
    expect '42 ZeroDivisionError text' xargs echo < said
}
more() {
    cells 'import threading; print(sum(range(10**7)))' \
        'import os, shutil; os.makedirs("a/b"); shutil.copy("file.txt", "a/b"); shutil.rmtree("a")' \
        'import sqlite3; c = sqlite3.connect("data.db"); c.execute("create table t(a)"); c.commit(); print(1 + 2)' \
        '%timeit -n 100 sum(range(100))' \
        'from concurrent.futures import ThreadPoolExecutor as T; print(len(list(T(4).map(abs, range(100)))))' \
        'import asyncio; await asyncio.sleep(0.1); print(6)' \
        'import time; print("asleep"); time.sleep(30)' > said &
    await grep -q asleep said
    kill -INT "$main" # as a notebook's button does
    wait $!
    expect KeyboardInterrupt tail -n 1 said
    expect '100 6 asleep Keyboard' xargs echo < <(grep -v per said)
    expect ' per loop' cat said
}
attack() {
    cells 'import socket; socket.create_connection(("127.0.0.1", 9))' 'import subprocess; subprocess.run(["id"])' > said
    expect 'PermissionError PermissionError' xargs echo < said
}
