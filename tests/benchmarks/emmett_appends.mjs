// How many events a second does Emmett append to Postgres, each with the version that its stream should have?
//
// `node emmett_appends.mjs CLIENTS SECONDS BYTES TAG` writes a Sample; libpq's variables say where the database is.
// One process and node-postgres' own pool size: 20, 40 or 64 connections, and a second process, were slower.

import { getPostgreSQLEventStore } from "@event-driven-io/emmett-postgresql";
import pg from "pg";

const STREAMS = 3; // of each client, about as many in all as the requests that Assent's officers sign off

const [clients, seconds, bytes, tag] = process.argv.slice(2);
const pool = new pg.Pool();
const store = getPostgreSQLEventStore(`postgresql:///${process.env.PGDATABASE}`, { connectionOptions: { pool } });
await store.schema.migrate();

const reason = "r".repeat(Number(bytes) - JSON.stringify({ reason: "" }).length);
const signedOff = { type: "AgencySignedOff", data: { reason } };
const latencies = [];

async function sign(client) {
  const versions = Array(STREAMS).fill(0n);
  for (let nth = 0; performance.now() < deadline; nth++) {
    const stream = nth % STREAMS;
    const began = performance.now();
    const { nextExpectedStreamVersion } = await store.appendToStream(`request-${tag}-${client}-${stream}`, [signedOff], {
      expectedStreamVersion: versions[stream],
    });
    versions[stream] = nextExpectedStreamVersion;
    latencies.push(performance.now() - began);
  }
}

const began = performance.now();
const deadline = began + 1000 * Number(seconds);
await Promise.all([...Array(Number(clients)).keys()].map(sign));
const took = (performance.now() - began) / 1000;
latencies.sort((a, b) => a - b);
console.log(
  JSON.stringify({
    per_second: latencies.length / took,
    p50_ms: latencies[Math.floor(latencies.length / 2)],
    p99_ms: latencies[Math.floor((latencies.length * 99) / 100)],
  }),
);
await store.close();
await pool.end();
