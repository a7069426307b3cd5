// faye's server as it comes: `node faye_server.mjs FOLDER` prints its port; FOLDER holds node_modules.
import http from "node:http";
import { createRequire } from "node:module";

const faye = createRequire(process.argv[2] + "/")("faye");
const server = http.createServer((request, response) => {
  response.statusCode = 404;
  response.end();
});
new faye.NodeAdapter({ mount: "/bayeux", timeout: 45 }).attach(server);
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
