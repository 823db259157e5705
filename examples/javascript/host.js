// Start a command confined: bubblewrap reads the filter from descriptor 3.

import { spawn } from "node:child_process";
import { program } from "./filters/untrusted/index.js";

const child = spawn(
  "bwrap",
  ["--ro-bind", "/", "/", "--dev", "/dev", "--seccomp", "3", "--", ...process.argv.slice(2)],
  { stdio: ["ignore", "inherit", "inherit", "pipe"] },
);
child.stdio[3].end(program());
child.on("error", (error) => console.log(`host: ${error.message}`));
child.on("exit", (code) => console.log(`host: exit code ${code}`));
