// JsSIP as a browser's user agent: node jssip.mjs URL NAME PASSWORD
// Commands come as JSON lines on standard input, what happens goes as JSON lines to standard output. JsSIP
// watches, and has no PUBLISH.
import {createInterface} from "node:readline";
import WebSocket from "ws";
import JsSIP from "jssip";

globalThis.WebSocket = WebSocket;
const [url, name, password] = process.argv.slice(2);
const say = (event, more = {}) => process.stdout.write(JSON.stringify({event, ...more}) + "\n");
const ua = new JsSIP.UA({
  sockets: [new JsSIP.WebSocketInterface(url)], uri: `sip:${name}@example.com`, password, register: false,
});
let subscriber;

const commands = {
  watch({peer}) {
    subscriber = ua.subscribe(`sip:${peer}@example.com`, "presence", "application/pidf+xml",
      {expires: 600, contentType: "application/pidf+xml"});
    subscriber.on("notify", (final, request, body) =>
      say("notify", {state: request.getHeader("Subscription-State"), body: body || ""}));
    for (const state of ["pending", "accepted", "active"]) subscriber.on(state, () => say("subscription", {state}));
    subscriber.on("terminated", (code, reason) => say("subscription", {state: "terminated", code, reason}));
    subscriber.subscribe();
  },
  leave: () => subscriber.terminate(),
};

ua.on("connected", () => say("connected"));
ua.on("disconnected", () => say("disconnected"));
ua.start();
const lines = createInterface({input: process.stdin});
lines.on("line", (line) => {
  const command = JSON.parse(line);
  commands[command.do](command);
});
lines.on("close", () => { ua.stop(); setTimeout(() => process.exit(0), 200); });
