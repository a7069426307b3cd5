// cometd.js as an application: node cometd.mjs URL USER PASSWORD CHANNEL FOREIGN TRANSPORT
// Prints one JSON line for each thing that happens.
import {adapt} from "cometd-nodejs-client";
import {AckExtension, CometD} from "cometd";

adapt();
const [url, user, password, channel, foreign, transport] = process.argv.slice(2);
const say = (event, more = {}) => process.stdout.write(JSON.stringify({event, ...more}) + "\n");
const client = new CometD();
for (const name of ["long-polling", "websocket", "callback-polling"]) {
  const wanted = transport === "fallback" ? ["websocket", "long-polling"] : [transport];
  if (!wanted.includes(name)) client.unregisterTransport(name);
}
client.registerExtension("ack", new AckExtension());
client.configure({url, requestHeaders: {Authorization: "Basic " + btoa(`${user}:${password}`)}, logLevel: "error",
  backoffIncrement: 100, maxBackoff: 500});
client.addListener("/meta/handshake", (reply) => {
  say("handshake", {successful: reply.successful});
  if (!reply.successful) return;
  client.subscribe(channel, (message) => say("message", {data: message.data}), {}, (r) =>
    say("subscribe", {successful: r.successful}));
  client.subscribe(foreign, () => say("foreign"), {}, (r) => say("denied", {successful: r.successful, error: r.error}));
});
// A WebSocket cannot carry headers everywhere: the credentials ride in the handshake too.
client.handshake({ext: {authentication: {user, credentials: password}}});
process.stdin.on("end", () => client.disconnect(() => process.exit(0))).resume();
