// One line per test, PASS, FAIL or SKIP, which `run` counts.

const suite = process.env.SIGMUX_SUITE ?? 'node';

export default async function* report(source) {
  for await (const { type, data } of source) {
    if (type === 'test:fail') {
      yield `FAIL ${suite}: ${data.name}\n${indented(data.details.error)}\n`;
    } else if (type === 'test:pass') {
      yield data.skip === undefined
        ? `PASS ${suite}: ${data.name} (${(data.details.duration_ms / 1000).toFixed(1)} s)\n`
        : `SKIP ${suite}: ${data.name}: ${data.skip}\n`;
    } else if (type === 'test:diagnostic' && data.message.startsWith('Error')) {
      // What was thrown outside of all tests fails the file.
      yield `    ${data.message}\n`;
    }
  }
}

function indented(error) {
  // node:test wraps what a test has thrown.
  const cause = error.cause ?? error;
  return String(cause.stack ?? cause).replace(/^/gm, '    ');
}
