// SIP.js as a browser's user agent: node sipjs.mjs URL NAME PASSWORD
// Commands come as JSON lines on standard input, what happens goes as JSON lines to standard output.
import {createInterface} from "node:readline";
import WebSocket from "ws";
import {Publisher, Subscriber, UserAgent} from "sip.js";

globalThis.WebSocket = WebSocket;
const [url, name, password] = process.argv.slice(2);
const say = (event, more = {}) => process.stdout.write(JSON.stringify({event, ...more}) + "\n");
const uri = (who) => UserAgent.makeURI(`sip:${who}@example.com`);
const ua = new UserAgent({
  uri: uri(name), authorizationUsername: name, authorizationPassword: password,
  transportOptions: {server: url, connectionTimeout: 5}, logLevel: "error",
});
let publisher, subscriber;

const commands = {
  async publish({body}) {
    if (!publisher) {
      publisher = new Publisher(ua, uri(name), "presence",
        {contentType: "application/pidf+xml", expires: 600, body});
      publisher.stateChange.addListener((state) => say("publication", {state}));
      // It does not wait for an answer: what is told while a PUBLISH is in flight would go with the old entity-tag.
      const receive = publisher.receiveResponse.bind(publisher);
      publisher.receiveResponse = (response) => {
        receive(response);
        if (response.statusCode >= 200) say("answered", {state: String(response.statusCode)});
      };
    }
    await publisher.publish(body);
  },
  unpublish: () => publisher.unpublish(),
  async watch({peer}) {
    subscriber = new Subscriber(ua, uri(peer), "presence",
      {expires: 600, extraHeaders: ["Accept: application/pidf+xml"]});
    subscriber.delegate = {onNotify(notification) {
      notification.accept();
      const {request} = notification;
      say("notify", {state: request.getHeader("Subscription-State"), body: request.body || ""});
    }};
    subscriber.stateChange.addListener((state) => say("subscription", {state}));
    await subscriber.subscribe();
  },
  leave: () => subscriber.unsubscribe(),
};

await ua.start();
say("connected");
const lines = createInterface({input: process.stdin});
lines.on("line", (line) => {
  const command = JSON.parse(line);
  Promise.resolve(commands[command.do](command)).catch((error) => say("failed", {error: String(error)}));
});
lines.on("close", async () => { await ua.stop(); process.exit(0); });
