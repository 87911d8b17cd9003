// A client outside of the handler in Node.js; its agent keeps connections. Beside it: npm install aws-lambda-ric
import http from "node:http";

const [host, port] = (process.env.SERVER ?? "cache.example.com:443").split(":");
const agent = new http.Agent({ keepAlive: true });

export const handler = (event) =>
  new Promise((resolve, reject) => {
    http
      .get({ host, port, agent, path: event.path ?? "/", timeout: 2000 }, (response) => {
        response.resume();
        response.on("end", () => resolve({ status: response.statusCode }));
      })
      .on("timeout", function () {
        this.destroy(new Error("no answer within 2 s"));
      })
      .on("error", reject);
  });
