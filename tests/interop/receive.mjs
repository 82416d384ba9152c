// A receiver to put behind `forward`: Express with Retell's SDK at /retell. The first attempt of every fourth
// event is answered with 503, so that it comes again. GET /seen tells what came.
//
// Arguments: a file that gets the address.

import { createHash, webcrypto } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import express from 'express';
import Retell from 'retell-sdk';

globalThis.crypto ??= webcrypto; // node 18 has it, but not as a global, where the SDK looks

const key = process.env.RETELL_API_KEY;
const seen = [];
const app = express();

app.post('/retell', express.raw({ type: () => true, limit: '20mb' }), async (request, response) => {
  const verified = await Retell.verify(request.body.toString('utf8'), key, request.get('x-retell-signature'));
  const attempt = Number(request.get('x-retell-webhook-attempt'));
  const sha256 = createHash('sha256').update(request.body).digest('hex');
  const again = attempt === 1 && new Set(seen.map((one) => one.id)).size % 4 === 3;
  const status = !verified ? 401 : again ? 503 : 204;
  seen.push({ id: request.get('webhook-id'), attempt, status, sha256 });
  response.sendStatus(status);
});

app.get('/seen', (_, response) => response.json({ retell: seen }));

const server = app.listen(0, '127.0.0.1', () => {
  writeFileSync(process.argv[2], `http://127.0.0.1:${server.address().port}\n`);
});
