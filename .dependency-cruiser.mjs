// Checked with: npm run check:imports

/**
 * Which rooms of src/ a room may import, besides its own files. Every room may also import the files at the
 * root that all share (`shared`), and src/generated.
 */
const rooms = {
  statements: [],
  tenancy: ['statements'],
  clients: ['statements'],
  connections: ['statements'],
  contacts: ['statements'],
  sync: ['statements'],
  export: ['contacts', 'sync', 'partitions', 'statements'],
  credentials: ['connections', 'statements'],
  partitions: ['statements'],
  erasure: ['partitions', 'statements'],
  migrations: ['statements'],
  catalog: [],
  verify: ['catalog', 'partitions', 'migrations', 'statements'],
  cli: [
    'verify',
    'erasure',
    'export',
    'partitions',
    'migrations',
    'credentials',
    'connections',
    'sync',
    'statements',
  ],
};

/** The files at the root of src/ that every room may import. They import no room. */
const shared = '^src/(types|errors|timestamps|time-zones|validation|keys)[.]ts$';

/** The package's entry points: one for each subpath of its exports. Only the command imports one. */
const entryPoints = '^src/(index|clients|credentials|migrations|queries)[.]ts$';

const anyOf = (names) => `^src/(${names.join('|')})/`;

export default {
  forbidden: [
    {
      name: 'no-circle',
      comment: 'Merge two files that import each other, or move what both need to a third.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    ...Object.entries(rooms).map(([room, others]) => ({
      name: `direction-of-${room}`,
      comment: `src/${room} may import ${others.length === 0 ? 'no other room' : others.join(', ')}, and the shared files at the root of src: see docs/architecture.md.`,
      severity: 'error',
      from: { path: `^src/${room}/` },
      to: {
        path: '^src/',
        pathNot: [anyOf([room, 'generated', ...others]), shared, ...(room === 'cli' ? [entryPoints] : [])],
      },
    })),
    {
      name: 'shared-files-import-no-room',
      comment: 'What every room imports must not import a room.',
      severity: 'error',
      from: { path: shared },
      to: { path: '^src/', pathNot: shared },
    },
    {
      name: 'generated-imports-statements-alone',
      comment: 'A generated query runs on src/statements.',
      severity: 'error',
      from: { path: '^src/generated/' },
      to: { path: '^src/', pathNot: [anyOf(['statements']), shared] },
    },
    {
      name: 'room-is-listed',
      comment: 'A new folder of src/ needs a line in `rooms`, which says what it may import.',
      severity: 'error',
      from: { path: '^src/[^/]+/', pathNot: anyOf(['generated', ...Object.keys(rooms)]) },
      to: {},
    },
    {
      name: 'src-stands-alone',
      comment: 'What is shipped must not import what only development has.',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^(test|dev|bench|demo|examples)/' },
    },
    {
      name: 'nothing-unresolved',
      comment: 'An import that cannot be resolved would hide a circular import.',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    // Imports of types count too: they are circular to a reader.
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'types', 'node', 'default'],
      extensions: ['.ts', '.js', '.mjs', '.json', '.d.ts'],
    },
  },
};
