import ts from 'typescript';
import { expect, test } from 'vitest';
import * as credentials from '../../src/credentials/index.js';
import * as crm from '../../src/index.js';
import * as migrations from '../../src/migrations/index.js';
import { consumerProgram } from '../support/consumer-program.js';

/** The functions of the package, as `<module>.<name>`. */
const functions = Object.entries({ crm, credentials, migrations }).flatMap(([module, exports]) =>
  Object.entries<unknown>(exports)
    .filter(([name, value]) => typeof value === 'function' && /^[a-z]/.test(name))
    .map(([name]) => `${module}.${name}`),
);

test('what a consumer builds on a function can be declared', () => {
  const { path, service } = consumerProgram(`
    import * as crm from '@nurturehub/crm-schema';
    import * as credentials from '@nurturehub/crm-schema/credentials';
    import * as migrations from '@nurturehub/crm-schema/migrations';
    ${functions
      .map((name) => {
        const own = name.replace('.', '_');
        return `export const ${own} = (...args: Parameters<typeof ${name}>) => ${name}(...args);`;
      })
      .join('\n')}`);
  const program = service.getProgram() as ts.Program;
  const source = program.getSourceFile(path);
  const found = [...program.getSemanticDiagnostics(source), ...program.getDeclarationDiagnostics(source)];
  expect(found.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))).toEqual([]);
  expect(functions).toEqual(expect.arrayContaining(['crm.syncRunClaim', 'migrations.migrateUp']));
});
