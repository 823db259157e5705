// Reads a file, and tries to change something; each line is what was tried, and the result.
const fs = require("node:fs/promises");

const path = process.argv[2];

async function tried(what, attempt) {
  let result = "0";
  try {
    await attempt();
  } catch (error) {
    result = error.code;
  }
  require("node:fs").writeSync(1, `${what} ${result}\n`);
}

(async () => {
  await tried("read", () => fs.readFile(path));
  await tried("stat", () => fs.stat(path));
  await tried("write", () => fs.writeFile(path, "other"));
  await tried("create", () => fs.writeFile(`${path}.new`, "other"));
  await tried("mkdir", () => fs.mkdir(`${path}.folder`));
  await tried("rename", () => fs.rename(path, `${path}.old`));
  await tried("unlink", () => fs.unlink(path));
})();
