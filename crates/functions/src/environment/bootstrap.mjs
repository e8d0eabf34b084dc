// Runs a Node.js handler on the Lambda Runtime API (2018-06-01), as AWS Lambda's own Node.js runtime does.
//
// The server starts this file with the interpreter of its configuration, one process an environment. It speaks HTTP over
// one kept-alive socket by hand: the only peer is the server. While a handler runs the socket does not keep the event
// loop alive, so that an empty loop is seen, which is when the answer of a callback handler goes out.

import fs from "node:fs";
import { createRequire } from "node:module";
import net from "node:net";
import path from "node:path";
import { pathToFileURL } from "node:url";
import util from "node:util";

const environment = process.env;
let requestId;
let invoking = false;
let whenIdle;

/** A failure that is the function's, by the name that AWS gives it. */
class Fault extends Error {
  constructor(name, message, cause) {
    super(message);
    this.name = name;
    if (cause?.stack) this.stack = `${name}: ${cause.stack}`;
  }
}

class RuntimeApi {
  constructor(address) {
    const colon = address.lastIndexOf(":");
    this.address = address;
    this.received = [];
    this.length = 0;
    this.answer = undefined;
    this.socket = net.connect({ host: address.slice(0, colon), port: Number(address.slice(colon + 1)) });
    this.socket.setNoDelay(true);
    this.socket.on("data", (data) => this.receive(data));
    // Nobody is left to answer to.
    this.socket.on("error", () => process.exit(1));
    this.socket.on("close", () => process.exit(1));
  }

  call(method, target, body = "", headers = "") {
    const content = Buffer.from(body);
    this.socket.ref();
    this.socket.cork();
    this.socket.write(
      `${method} /2018-06-01/runtime/${target} HTTP/1.1\r\nHost: ${this.address}\r\n` +
        `Content-Length: ${content.length}\r\n${headers}\r\n`,
    );
    this.socket.write(content);
    this.socket.uncork();
    return new Promise((resolve) => {
      this.resolve = resolve;
    });
  }

  receive(data) {
    this.received.push(data);
    this.length += data.length;
    if (!this.answer && !this.readHead()) return;
    if (this.length < this.answer.length) return;
    const answer = { ...this.answer, body: Buffer.concat(this.received) };
    this.received = [];
    this.length = 0;
    this.answer = undefined;
    this.socket.unref();
    this.resolve(answer);
  }

  readHead() {
    const all = Buffer.concat(this.received);
    const end = all.indexOf("\r\n\r\n");
    if (end < 0) return false;
    const [first, ...lines] = all.toString("utf8", 0, end).split("\r\n");
    const headers = {};
    for (const line of lines) {
      const colon = line.indexOf(":");
      headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
    }
    this.received = [all.subarray(end + 4)];
    this.length = all.length - end - 4;
    this.answer = { status: Number(first.split(" ")[1]), headers, length: Number(headers["content-length"] ?? 0) };
    return true;
  }
}

const LEVELS = { log: "INFO", debug: "DEBUG", info: "INFO", warn: "WARN", error: "ERROR", trace: "TRACE", fatal: "FATAL" };

function setUpConsole() {
  for (const [method, level] of Object.entries(LEVELS)) {
    console[method] = (...values) => {
      process.stdout.write(`${new Date().toISOString()}\t${requestId}\t${level}\t${util.format(...values)}\n`);
    };
  }
}

const isError = (value) =>
  util.types.isNativeError(value) ||
  (value !== null && typeof value === "object" && [value.name, value.message, value.stack].every((v) => typeof v === "string"));

function describe(error) {
  try {
    if (isError(error)) {
      return { errorType: String(error.name), errorMessage: String(error.message), trace: String(error.stack ?? "").split("\n") };
    }
    return { errorType: typeof error, errorMessage: String(error), trace: [] };
  } catch {
    return { errorType: "handled", errorMessage: "the error that was raised cannot be turned into text", trace: [] };
  }
}

/** The document of an error and the header that names its type. */
function report(title, error) {
  const { errorType, errorMessage, trace } = describe(error);
  const code = error?.code === undefined ? {} : { code: String(error.code) };
  console.error(`${title}\t${JSON.stringify({ errorType, errorMessage, ...code, stack: trace })}`);
  const header = errorType.replace(/[^\x20-\x7e]/g, "?").slice(0, 200);
  return [
    JSON.stringify({ errorType, errorMessage, trace }),
    `Content-Type: application/json\r\nLambda-Runtime-Function-Error-Type: ${header}\r\n`,
  ];
}

function isFile(file) {
  return fs.statSync(file, { throwIfNoEntry: false })?.isFile() ?? false;
}

/** Whether the nearest package.json makes a `.js` file an ES module. */
function isModule(file) {
  for (let folder = path.dirname(file); ; folder = path.dirname(folder)) {
    const described = path.join(folder, "package.json");
    if (isFile(described)) return JSON.parse(fs.readFileSync(described, "utf8")).type === "module";
    if (folder === path.dirname(folder)) return false;
  }
}

async function importModule(root, folder, name) {
  const at = path.resolve(root, folder, name);
  const require = createRequire(path.join(root, "handler.js"));
  for (const suffix of ["", ".js", ".mjs", ".cjs"]) {
    const file = at + suffix;
    if (!isFile(file)) continue;
    const byImport = suffix === ".mjs" || (suffix === ".js" && isModule(file));
    return byImport ? await import(pathToFileURL(file).href) : require(file);
  }
  return require(require.resolve(name, { paths: [root, path.resolve(root, folder)] }));
}

async function load(root, handler) {
  if (handler.includes("..")) {
    const how = "Use absolute paths when specifying root directories in handler names.";
    throw new Fault("Runtime.MalformedHandlerName", `'${handler}' is not a valid handler name. ${how}`);
  }
  const base = path.basename(handler);
  const parts = /^([^.]*)\.(.*)$/.exec(base);
  if (!parts) throw new Fault("Runtime.MalformedHandlerName", "Bad handler");
  let found;
  try {
    found = await importModule(root, handler.slice(0, handler.length - base.length), parts[1]);
  } catch (error) {
    if (error instanceof SyntaxError) throw new Fault("Runtime.UserCodeSyntaxError", String(error), error);
    if (error?.code === "MODULE_NOT_FOUND") throw new Fault("Runtime.ImportModuleError", String(error), error);
    throw error;
  }
  for (const part of parts[2].split(".")) found = found?.[part];
  if (found === undefined || found === null) {
    throw new Fault("Runtime.HandlerNotFound", `${handler} is undefined or not exported`);
  }
  if (typeof found !== "function") throw new Fault("Runtime.HandlerNotFound", `${handler} is not a function`);
  return found;
}

function fromJson(headers, name) {
  return headers[name] ? JSON.parse(headers[name]) : undefined;
}

function contextOf(headers) {
  const deadline = Number(headers["lambda-runtime-deadline-ms"]);
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionVersion: environment.AWS_LAMBDA_FUNCTION_VERSION,
    functionName: environment.AWS_LAMBDA_FUNCTION_NAME,
    memoryLimitInMB: environment.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: environment.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: environment.AWS_LAMBDA_LOG_STREAM_NAME,
    clientContext: fromJson(headers, "lambda-runtime-client-context"),
    identity: fromJson(headers, "lambda-runtime-cognito-identity"),
    invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"],
    awsRequestId: headers["lambda-runtime-aws-request-id"],
    getRemainingTimeInMillis: () => deadline - Date.now(),
  };
}

/** Calls the handler; settles when it has answered in one of its ways, or when nothing is left that could. */
function run(handler, event, context) {
  return new Promise((resolve, reject) => {
    whenIdle = () => resolve(null);
    const done = (error, result) => (error === undefined || error === null ? resolve(result) : reject(error));
    context.done = done;
    context.succeed = (result) => resolve(result);
    context.fail = (error) => reject(error ?? "handled");
    const callback = (error, result) => {
      if ((error === undefined || error === null) && context.callbackWaitsForEmptyEventLoop) {
        whenIdle = () => resolve(result);
      } else {
        done(error, result);
      }
    };
    const returned = handler(event, context, callback);
    if (typeof returned?.then === "function") returned.then(resolve, reject);
  });
}

function marshal(result) {
  try {
    return JSON.stringify(result === undefined ? null : result) ?? "null";
  } catch {
    throw new Fault("Runtime.MarshalError", "Unable to stringify response body");
  }
}

async function serve(api, handler) {
  for (;;) {
    const { status, headers, body } = await api.call("GET", "invocation/next");
    if (status !== 200) throw new Error(`the Runtime API answered ${status} to next`);
    requestId = headers["lambda-runtime-aws-request-id"];
    environment._X_AMZN_TRACE_ID = headers["lambda-runtime-trace-id"] ?? "";
    invoking = true;
    let answer;
    try {
      answer = ["response", marshal(await run(handler, JSON.parse(body.toString()), contextOf(headers)))];
    } catch (error) {
      answer = ["error", ...report("Invoke Error", error)];
    }
    // What fails from here on is no longer this invocation's.
    invoking = false;
    whenIdle = undefined;
    const [kind, document, head = "Content-Type: application/json\r\n"] = answer;
    await api.call("POST", `invocation/${requestId}/${kind}`, document, head);
  }
}

async function die(api, title, error, code) {
  const document = report(title, error);
  if (invoking) {
    invoking = false;
    await api.call("POST", `invocation/${requestId}/error`, ...document);
  }
  process.exit(code);
}

async function main() {
  setUpConsole();
  const api = new RuntimeApi(environment.AWS_LAMBDA_RUNTIME_API);
  api.socket.unref();
  globalThis.awslambda = {
    streamifyResponse() {
      throw new Error("response streaming is not available in this version of Tidegate");
    },
  };
  process.on("beforeExit", () => {
    const idle = whenIdle;
    whenIdle = undefined;
    idle?.();
  });
  let handler;
  try {
    handler = await load(environment.LAMBDA_TASK_ROOT, environment._HANDLER);
  } catch (error) {
    await api.call("POST", "init/error", ...report("Uncaught Exception", error));
    process.exit(1);
  }
  process.on("uncaughtException", (error) => die(api, "Uncaught Exception", error, 129));
  process.on("unhandledRejection", (reason) => {
    const fault = new Fault("Runtime.UnhandledPromiseRejection", String(reason), reason);
    return die(api, "Unhandled Promise Rejection", fault, 128);
  });
  await serve(api, handler);
}

main();
