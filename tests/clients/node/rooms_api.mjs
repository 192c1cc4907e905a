// The HTTP API of `rooms`, as its users call it.

import assert from 'node:assert/strict';

/** `POST path`, with an identity if there is one; answers `{ status, body }`. */
export async function post(url, body, idToken) {
  const headers = { 'Content-Type': 'application/json' };
  if (idToken !== undefined) {
    headers.Authorization = `Bearer ${idToken}`;
  }
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) });
  return { status: response.status, body: await response.json() };
}

export async function signIn(engine, listener = 'rooms-api') {
  const { status, body } = await post(engine.http('/anonymous-signin', listener), {});
  assert.equal(status, 200);
  assert.equal(typeof body.username, 'string');
  return body.id_token;
}

/** A room and the identity that created it: `{ room_id, token, id_token }`. */
export async function createRoom(engine, listener = 'rooms-api') {
  const id_token = await signIn(engine, listener);
  const { status, body } = await post(engine.http('/create-room', listener), {}, id_token);
  assert.equal(status, 200);
  return { ...body, id_token };
}
