// JsSIP as a browser's user agent: node jssip.mjs URL NAME PASSWORD
// Commands come as JSON lines on standard input, what happens goes as JSON lines to standard output. JsSIP
// watches. It has no PUBLISH: the method is not among its Constants, and no class of its interface sends it. Its own
// OutgoingRequest and RequestSender, which MESSAGE and OPTIONS are made with, send any method, and are used here.
import {createRequire} from "node:module";
import {createInterface} from "node:readline";
import WebSocket from "ws";
import JsSIP from "jssip";

globalThis.WebSocket = WebSocket;
const [url, name, password] = process.argv.slice(2);
const say = (event, more = {}) => process.stdout.write(JSON.stringify({event, ...more}) + "\n");
const ua = new JsSIP.UA({
  sockets: [new JsSIP.WebSocketInterface(url)], uri: `sip:${name}@example.com`, password, register: false,
});
const require = createRequire(import.meta.url);
const RequestSender = require("jssip/lib/RequestSender.js");
const {OutgoingRequest} = require("jssip/lib/SIPMessage.js");
let subscriber, tag;

function publish(expires, body) {
  const headers = ["Event: presence", `Expires: ${expires}`];
  if (body) headers.push("Content-Type: application/pidf+xml");
  if (tag) headers.push(`SIP-If-Match: ${tag}`);
  const request = new OutgoingRequest("PUBLISH", ua.normalizeTarget(`sip:${name}@example.com`), ua, {}, headers, body);
  new RequestSender(ua, request, {onReceiveResponse(response) {
    if (response.status_code < 200) return;
    tag = response.getHeader("SIP-ETag");
    say("publication", {state: response.status_code < 300 ? (body ? "Published" : "Unpublished") : "Failed", code: response.status_code});
  }}).send();
}

const commands = {
  publish: ({body}) => publish(600, body),
  unpublish: () => publish(0),
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
