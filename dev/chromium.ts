import { existsSync } from 'node:fs';
import { type Browser, chromium } from 'playwright-core';

/** Chromium's path: CHROMIUM, or where a system has it; undefined if it is not installed. */
export function findChromium(): string | undefined {
  const { CHROMIUM } = process.env;
  const usual = ['/usr/bin/chromium', '/usr/bin/google-chrome', '/usr/bin/chromium-browser'];
  return (CHROMIUM ? [CHROMIUM] : usual).find((path) => existsSync(path));
}

/** Starts headless Chromium with a temporary profile, and with its background requests switched off. */
export function startChromium(executablePath: string): Promise<Browser> {
  const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync'];
  // The sandbox does not start as root or in most containers.
  const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', ...quiet];
  return chromium.launch({ executablePath, args });
}
