// faye as an application: node faye.mjs URL USER PASSWORD CHANNEL FOREIGN TRANSPORT
import faye from "faye";

const [url, user, password, channel, foreign, transport] = process.argv.slice(2);
const say = (event, more = {}) => process.stdout.write(JSON.stringify({event, ...more}) + "\n");
const client = new faye.Client(url, {retry: 0.2});
client.setHeader("Authorization", "Basic " + btoa(`${user}:${password}`));
// Its handshake always goes over HTTP; a WebSocket comes afterwards if it is not disabled.
if (transport === "long-polling") client.disable("websocket");
client.disable("eventsource");
client.addExtension({incoming(message, callback) {
  if (message.channel === "/meta/handshake") say("handshake", {successful: message.successful});
  callback(message);
}});
client.subscribe(channel, (data) => say("message", {data})).then(() => say("subscribe", {successful: true}));
client.subscribe(foreign, () => say("foreign")).then(() => say("foreign"), (e) => say("denied", {successful: false, error: String(e)}));
process.stdin.on("end", () => { client.disconnect(); setTimeout(() => process.exit(0), 100); }).resume();
