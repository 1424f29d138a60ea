#!/bin/sh
# Makes a folder with what test/monitoring/observability.test.ts needs, and that is no development dependency:
# OpenTelemetry's instrumentation of pg, and the types of Grafana's dashboards. From npm, in exactly these versions,
# about 45 MB:
#
#   dev/observability/install.sh <folder>
#   TEST_OBSERVABILITY=<folder> npx vitest run test/monitoring/observability.test.ts
#
# Nothing is installed outside the folder. docs/clients.md and docs/operations/alerts.md name the versions.
set -eu
if [ $# -ne 1 ] || [ -e "$1" ]; then
  echo "Usage: $0 <folder that is not there yet>" >&2
  exit 2
fi
mkdir -p "$1"
cd "$1"
echo '{ "name": "observability", "private": true, "type": "module" }' > package.json
# 0.76.0 is the newest instrumentation that runs on Node 20.
npm install --ignore-scripts --no-audit --no-fund \
  pg@8.23.1 \
  @opentelemetry/api@1.9.1 @opentelemetry/sdk-trace-node@2.9.0 @opentelemetry/instrumentation-pg@0.76.0 \
  @grafana/grafana-foundation-sdk@0.0.21
