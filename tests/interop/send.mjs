// Posts every sample payload signed by Retell's Node SDK.
//
// Arguments: new or duplicate (what the receiver should say of the events), URL, payload folder, totals file.

import { execFileSync } from 'node:child_process';
import { webcrypto } from 'node:crypto';
import { appendFileSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import Retell from 'retell-sdk';

globalThis.crypto ??= webcrypto; // node 18 has it, but not as a global, where the SDK looks

const key = process.env.RETELL_API_KEY;
const otherKey = 'key_interop_not_the_one_8d41';
const binary = process.env.RETELL_WEBHOOK_BINARY;
const [mode, url, folder, totals] = process.argv.slice(2);
let passed = 0;
let failed = 0;

function equal(what, found, expected) {
  if (isDeepStrictEqual(found, expected)) {
    passed += 1;
  } else {
    failed += 1;
    console.log(`FAILED Node SDK: ${what}: expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`);
  }
}

function expectedAnswer(body) {
  const { event, name } = JSON.parse(body);
  // A function call at an address for events: stored, and the model is told that nothing was done.
  if (event === undefined) {
    return { received: true, error: name === undefined ? 'not_an_event' : 'unknown_function', result: 'failed' };
  }
  if (event === 'call_inbound' || event === 'chat_inbound') return { [event]: {} };
  return mode === 'duplicate' ? { received: true, duplicate: true } : { received: true };
}

async function post(body, signature) {
  const headers = { 'content-type': 'application/json', 'x-retell-signature': signature };
  const answer = await fetch(url, { method: 'POST', headers, body, signal: AbortSignal.timeout(10_000) });
  const fields = await answer.json();
  // The text for the model.
  if (answer.ok) delete fields.message;
  return [answer.status, fields];
}

/** Whether the binary's `verify` accepts the signature. */
function isBelieved(signature, body) {
  try {
    execFileSync(binary, ['verify', '--header', signature], { input: body });
    return true;
  } catch {
    return false;
  }
}

const files = readdirSync(folder).filter((name) => name.endsWith('.json')).sort();
if (files.length === 0) throw new Error(`no payloads in ${folder}`);

for (const name of files) {
  const body = readFileSync(join(folder, name));
  const text = body.toString('utf8');
  const signature = await Retell.sign(text, key);
  const forged = await Retell.sign(text, otherKey);
  const ours = execFileSync(binary, ['sign'], { input: body, encoding: 'utf8' }).trim();
  equal(`${name}: the SDK believes itself`, await Retell.verify(text, key, signature), true);
  equal(`${name}: the SDK refuses another key's`, await Retell.verify(text, key, forged), false);
  equal(`${name}: the SDK refuses a changed body`, await Retell.verify(`${text} `, key, signature), false);
  equal(`${name}: the SDK believes \`sign\``, await Retell.verify(text, key, ours), true);
  equal(`${name}: \`verify\` believes the SDK`, isBelieved(signature, body), true);
  equal(`${name}: another key`, await post(body, forged), [401, { message: 'Unauthorized' }]);
  equal(`${name}: a changed body`, await post(`${text} `, signature), [401, { message: 'Unauthorized' }]);
  equal(`${name}: signed`, await post(body, signature), [200, expectedAnswer(text)]);
}

console.log(`Node SDK: ${passed} passed, ${failed} failed`);
appendFileSync(totals, `${passed} ${failed}\n`);
