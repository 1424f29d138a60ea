/** The codes of the server errors that callers tell apart, by PostgreSQL's names for them. */
export const sqlStates = {
  noDataFound: 'P0002',
  deadlockDetected: '40P01',
  undefinedTable: '42P01',
  duplicateTable: '42P07',
  undefinedColumn: '42703',
  wrongObjectType: '42809',
  undefinedFunction: '42883',
  objectNotInPrerequisiteState: '55000',
  lockNotAvailable: '55P03',
  queryCanceled: '57014',
} as const;
