import { readdir, readFile } from 'node:fs/promises';
import { crc32, deflateSync, inflateSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { smallPng } from '../../dev/small-png.js';

type Colour = readonly [number, number, number];

function chunk(type: string, data: Buffer): Buffer {
  const named = Buffer.concat([Buffer.from(type), data]);
  const ends = [named.length - 4, crc32(named)].map((number) => {
    const buffer = Buffer.alloc(4);
    buffer.writeUInt32BE(number);
    return buffer;
  });
  return Buffer.concat([ends[0] as Buffer, named, ends[1] as Buffer]);
}

function png(width: number, height: number, kind: number, others: Buffer[]): Buffer {
  const header = Buffer.from([0, 0, 0, width, 0, 0, 0, height, 8, kind, 0, 0, 0]);
  return Buffer.concat([
    Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]),
    chunk('IHDR', header),
    ...others,
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

/** The chunks of a PNG, by type; each with a valid checksum. */
function chunksOf(picture: Buffer): Record<string, Buffer> {
  const found: Record<string, Buffer> = {};
  for (let at = 8; at < picture.length; at += picture.readUInt32BE(at) + 12) {
    const end = at + 8 + picture.readUInt32BE(at);
    expect(picture.readUInt32BE(end)).toBe(crc32(picture.subarray(at + 4, end)));
    found[picture.toString('latin1', at + 4, at + 8)] = picture.subarray(at + 8, end);
  }
  return found;
}

/** The pixels of a picture with a palette, whose rows have no filter. */
function pixelsOf(picture: Buffer, width: number): Colour[] {
  const { PLTE = Buffer.alloc(0), IDAT = Buffer.alloc(0) } = chunksOf(picture);
  return [...inflateSync(IDAT)]
    .filter((_, index) => index % (width + 1) !== 0)
    .map((index) => [...PLTE.subarray(index * 3, index * 3 + 3)] as unknown as Colour);
}

describe('smallPng', () => {
  /** The bytes of a row, filtered as the PNG specification says. */
  function filtered(filter: number, row: number[], above: number[], channels: number): number[] {
    const bytes = row.map((value, index) => {
      const left = row[index - channels] ?? 0;
      const up = above[index] ?? 0;
      const corner = above[index - channels] ?? 0;
      const estimate = left + up - corner;
      const nearest = [left, up, corner].toSorted(
        (one, other) => Math.abs(estimate - one) - Math.abs(estimate - other),
      )[0] as number;
      const predicted = [0, left, up, Math.floor((left + up) / 2), nearest][filter] as number;
      return (value - predicted + 256) % 256;
    });
    return [filter, ...bytes];
  }

  test.each([
    ['with transparency', 6, 4],
    ['without transparency', 2, 3],
  ])('keeps the colours of a picture %s, whatever the filter of each row', (_, kind, channels) => {
    const colours = Array.from(
      { length: 30 },
      (_, index): Colour => [(index * 67) % 256, (index * 151) % 256, (index * 91) % 256],
    );
    const rows = [0, 1, 2, 3, 4].map((row) =>
      colours.slice(row * 6, row * 6 + 6).flatMap((colour) => [...colour, 255].slice(0, channels)),
    );
    const data = rows.flatMap((row, index) => filtered(index, row, rows[index - 1] ?? [], channels));
    // In two parts, as Chromium writes a large one.
    const packed = deflateSync(Buffer.from(data));
    const parts = [chunk('IDAT', packed.subarray(0, 20)), chunk('IDAT', packed.subarray(20))];
    expect(pixelsOf(smallPng(png(6, 5, kind, parts)), 6)).toEqual(colours);
  });

  test('gives a colour beyond the 128 most frequent ones the nearest of these', () => {
    const frequent = Array.from({ length: 128 }, (_, index) => [index, 0, 0]);
    const row = [...frequent, ...frequent.slice(0, 70), [200, 0, 1]];
    const rows = Buffer.from([0, ...row.flat(), 0, ...row.toSpliced(198, 1, [127, 0, 0]).flat()]);
    const pixels = pixelsOf(smallPng(png(199, 2, 2, [chunk('IDAT', deflateSync(rows))])), 199);
    expect(pixels[198]).toEqual([127, 0, 0]);
    expect(pixels.slice(0, 128)).toEqual(frequent);
  });

  test('refuses a picture of another format', () => {
    expect(() => smallPng(png(1, 1, 3, []))).toThrow('The PNG has another format.');
  });
});

test('the pictures of docs/health-page.md are small, and all are shown there', async () => {
  const names = await readdir(projectPath('docs/health-page'));
  const document = await readFile(projectPath('docs/health-page.md'), 'utf8');
  const shown = [...document.matchAll(/!\[[^\]]{20,}\]\(health-page\/(\S+)\)/g)].map(([, name]) => name);
  expect(shown.toSorted()).toEqual(names.toSorted());
  for (const name of names) {
    const picture = await readFile(projectPath(`docs/health-page/${name}`));
    expect(Object.keys(chunksOf(picture))).toEqual(['IHDR', 'PLTE', 'IDAT', 'IEND']);
    expect(picture.length, name).toBeLessThan(60_000);
  }
});
