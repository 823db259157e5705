// Files, a server, processes, threads and cryptography in Node.
const fs = require('fs'), os = require('os'), path = require('path'), http = require('http'), zlib = require('zlib');
const crypto = require('crypto'), dns = require('dns'), { spawn, execSync } = require('child_process');
const { Worker } = require('worker_threads'), { promisify } = require('util');
const say = (...words) => console.log(...words);
async function files() {
  const top = await fs.promises.mkdtemp(path.join(os.tmpdir(), 'job-'));
  await fs.promises.mkdir(path.join(top, 'a/b'), { recursive: true });
  await fs.promises.writeFile(path.join(top, 'a/b/file'), 'text\n'.repeat(1000));
  await fs.promises.copyFile(path.join(top, 'a/b/file'), path.join(top, 'copy'));
  await fs.promises.rename(path.join(top, 'copy'), path.join(top, 'moved'));
  await fs.promises.chmod(path.join(top, 'moved'), 0o640);
  const stat = await fs.promises.stat(path.join(top, 'moved'));
  say(fs.readdirSync(top).sort(), stat.mode.toString(8), stat.size, fs.readFileSync(path.join(top, 'moved')).length);
  await promisify(require('stream').pipeline)(fs.createReadStream(path.join(top, 'moved')), zlib.createGzip(), fs.createWriteStream(path.join(top, 'z')));
  say(zlib.gunzipSync(fs.readFileSync(path.join(top, 'z'))).length);
  fs.rmSync ? fs.rmSync(top, { recursive: true }) : fs.rmdirSync(top, { recursive: true });
  say(fs.existsSync(top));
}
function ask(port) {
  return new Promise((done, failed) => http.get({ host: 'localhost', family: 4, port, agent: false }, answer => {
    let text = ''; answer.on('data', part => text += part); answer.on('end', () => done(text));
  }).on('error', failed));
}
async function serve() {
  const server = http.createServer((request, answer) => answer.end('answered'));
  await new Promise(done => server.listen(0, '127.0.0.1', done));
  say(await ask(server.address().port));
  await new Promise(done => server.close(done));
}
async function rest() {
  say((await promisify(dns.lookup)('localhost', { family: 4 })).address);
  say((await promisify(crypto.pbkdf2)('text', 'salt', 1000, 16, 'sha256')).toString('hex'), crypto.randomBytes(4).length);
  const child = spawn('/bin/cat'); let out = '';
  child.stdout.on('data', part => out += part); child.stdin.end('through cat');
  await new Promise(done => child.on('close', done)); say(out, execSync('echo shell').toString());
  const worker = new Worker('require("worker_threads").parentPort.postMessage(6 * 7)', { eval: true });
  say(await new Promise((done, failed) => { worker.on('message', done); worker.on('error', failed); }));
  say(await WebAssembly.instantiate(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])).then(() => 'wasm'));
}
files().then(serve).then(rest).catch(error => { console.error(error); process.exitCode = 1; });
