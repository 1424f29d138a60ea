import { findProgram, isMissing } from '../support/programs.js';

const needed = {
  prometheus: findProgram('prometheus'),
  promtool: findProgram('promtool'),
  alertmanager: findProgram('prometheus-alertmanager') ?? findProgram('alertmanager'),
  amtool: findProgram('amtool'),
  exporter: findProgram('prometheus-sql-exporter') ?? findProgram('sql_exporter'),
};

/** Whether one of Prometheus, Alertmanager and the SQL exporter is not installed. */
export const noPrometheus = isMissing(
  'Prometheus with Alertmanager and the SQL exporter (Debian: prometheus, prometheus-alertmanager, prometheus-sql-exporter)',
  Object.values(needed).includes(undefined) ? undefined : needed.prometheus,
  'TEST_REQUIRE_PROMETHEUS',
);

/** Their paths. */
export const programs = needed as { readonly [Name in keyof typeof needed]: string };
