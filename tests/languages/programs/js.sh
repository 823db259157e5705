# needs: node
# needs: bwrap
cat > main.mjs <<'END'
import { spawn } from "node:child_process";
import { program } from "./filters/demo/index.js";

const child = spawn("bwrap", ["--dev-bind", "/", "/", "--seccomp", "3", "--", "python3", "-c", `
import ctypes, errno, os
try:
    os.mkdir("there")
except OSError as error:
    assert error.errno == errno.EROFS
    print("confined", flush=True)
    ctypes.CDLL(None).personality(ctypes.c_ulong(0x123456789))
`], { stdio: ["ignore", "inherit", "inherit", "pipe"] });
child.stdio[3].end(program());
// bubblewrap exits with 128 and the number of the signal.
child.on("exit", (code) => process.kill(process.pid, code === 128 + 31 ? "SIGSYS" : "SIGABRT"));
END
exec node main.mjs
