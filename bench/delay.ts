import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** A way to a server that takes longer. */
export interface Delay {
  /** The server's URL by this way. */
  url: string;
  stop(): Promise<void>;
}

/**
 * Listens on loopback, and passes on to a server what clients send, some milliseconds later: the delay of a network there
 * and back. Answers come at once.
 */
export async function startDelay(serverUrl: string, milliseconds: number): Promise<Delay> {
  const { hostname, port } = new URL(serverUrl);
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (client) => {
    const behind = connect({ host: hostname, port: Number(port), noDelay: true });
    for (const socket of [client, behind]) {
      sockets.add(socket);
      // The other side reports it.
      socket.on('error', () => {}).once('close', () => sockets.delete(socket));
    }
    client.on('data', (chunk) => void setTimeout(() => behind.write(chunk), milliseconds));
    client.once('close', () => void setTimeout(() => behind.destroy(), milliseconds));
    behind.pipe(client);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = new URL(serverUrl);
  url.hostname = '127.0.0.1';
  url.port = String((server.address() as AddressInfo).port);
  return {
    url: url.href,
    async stop() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
