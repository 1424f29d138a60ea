import type { FunctionFacts, SchemaFacts, TypeFacts } from './function-facts.js';
import type { GrantFacts } from './grant-facts.js';
import type { IndexFacts, TriggerFacts } from './index-facts.js';
import type { PolicyFacts, RelationFacts, RuleFacts, SequenceFacts } from './relation-facts.js';
import type { ColumnFacts, ConstraintFacts } from './table-facts.js';

/**
 * The facts of a database's catalog. Names are written as SQL writes them, quoted where they must be;
 * `relation` is the qualified name of the table that something belongs to. Definitions are SQL.
 */
export interface Catalog {
  schemas: SchemaFacts[];
  /** In the order in which they were created. */
  relations: RelationFacts[];
  sequences: SequenceFacts[];
  columns: ColumnFacts[];
  constraints: ConstraintFacts[];
  indexes: IndexFacts[];
  triggers: TriggerFacts[];
  rules: RuleFacts[];
  policies: PolicyFacts[];
  functions: FunctionFacts[];
  types: TypeFacts[];
  grants: GrantFacts[];
}
