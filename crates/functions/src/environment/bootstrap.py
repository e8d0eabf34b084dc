"""Runs a Python handler on the Lambda Runtime API (2018-06-01), as AWS Lambda's own Python runtime does.

The server starts this file with the interpreter of its configuration, one process an environment. It speaks HTTP over
one kept-alive socket by hand: the only peer is the server, and a general client costs more time than the whole call.
"""

import base64  # noqa: F401  (handlers of Kinesis events need it at once; imported before the first event)
import decimal
import importlib
import json
import logging
import os
import socket
import sys
import time
import traceback

_HERE = os.path.abspath(__file__)
_request_id = ""


class _Fault(Exception):
    """A failure that is the function's, by the name that AWS gives it."""

    def __init__(self, error_type, message, trace=None):
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.trace = trace or []


class _RuntimeApi:
    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self._host = address
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def call(self, method, path, body=b"", headers=""):
        head = "%s /2018-06-01/runtime/%s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n%s\r\n" % (
            method, path, self._host, len(body), headers)
        try:
            self._socket.sendall(head.encode() + body)
            return self._answer()
        except OSError:
            self._server_is_gone()

    def _server_is_gone(self):
        # Nobody is left to answer to. Not an exception: a handler's threads must not keep the process alive.
        os._exit(1)

    def _receive(self):
        data = self._socket.recv(1 << 16)
        if not data:
            self._server_is_gone()
        self._buffer += data

    def _answer(self):
        while b"\r\n\r\n" not in self._buffer:
            self._receive()
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, value = line.split(":", 1)
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", 0))
        while len(self._buffer) < length:
            self._receive()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return int(lines[0].split(" ", 2)[1]), headers, body


class _Bag:
    """Attributes from a JSON object, None where it has none."""

    def __init__(self, source, names):
        for name in names:
            setattr(self, name, source.get(name))

    def __repr__(self):
        return "%s(%s)" % (type(self).__name__, self.__dict__)


class Client(_Bag):
    pass


class ClientContext(_Bag):
    pass


class CognitoIdentity(_Bag):
    pass


class LambdaContext:
    def __init__(self, headers):
        environ = os.environ
        self.aws_request_id = headers["lambda-runtime-aws-request-id"]
        self.invoked_function_arn = headers.get("lambda-runtime-invoked-function-arn")
        self.function_name = environ.get("AWS_LAMBDA_FUNCTION_NAME")
        self.function_version = environ.get("AWS_LAMBDA_FUNCTION_VERSION")
        self.memory_limit_in_mb = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.log_group_name = environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = environ.get("AWS_LAMBDA_LOG_STREAM_NAME")
        self._deadline_ms = int(headers.get("lambda-runtime-deadline-ms", 0))
        identity = _header_json(headers, "lambda-runtime-cognito-identity") or {}
        self.identity = CognitoIdentity({
            "cognito_identity_id": identity.get("cognitoIdentityId"),
            "cognito_identity_pool_id": identity.get("cognitoIdentityPoolId"),
        }, ("cognito_identity_id", "cognito_identity_pool_id"))
        self.client_context = None
        given = _header_json(headers, "lambda-runtime-client-context")
        if given is not None:
            self.client_context = ClientContext(given, ("custom", "env"))
            client = given.get("client")
            self.client_context.client = client and Client(
                client, ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name"))

    def get_remaining_time_in_millis(self):
        return max(0, self._deadline_ms - int(time.time() * 1000))

    def log(self, message):
        sys.stdout.write(str(message))

    def __repr__(self):
        return "LambdaContext(%s)" % self.__dict__


def _header_json(headers, name):
    value = headers.get(name)
    if not value:
        return None
    try:
        # HTTP gives bytes; the JSON in them is UTF-8.
        return json.loads(value.encode("latin-1").decode("utf-8"))
    except ValueError as e:
        raise _Fault("Runtime.LambdaContextUnmarshalError", "Unable to parse %s: %s" % (name, e))


def _load(handler):
    module_name, dot, function_name = handler.rpartition(".")
    if not dot:
        raise _Fault("Runtime.MalformedHandlerName",
                     "Bad handler '%s': not enough values to unpack (expected 2, got 1)" % handler)
    if module_name.split(".")[0] in sys.builtin_module_names:
        raise _Fault("Runtime.BuiltInModuleConflict",
                     "Cannot use built-in module %s as a handler module" % module_name)
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as e:
        raise _Fault("Runtime.ImportModuleError", "Unable to import module '%s': %s" % (module_name, e))
    except SyntaxError as e:
        where = ["  File \"%s\" Line %s\n    %s" % (e.filename, e.lineno, (e.text or "").rstrip("\n"))]
        raise _Fault("Runtime.UserCodeSyntaxError", "Syntax error in module '%s': %s" % (module_name, e), where)
    try:
        return getattr(module, function_name)
    except AttributeError:
        raise _Fault("Runtime.HandlerNotFound",
                     "Handler '%s' missing on module '%s'" % (function_name, module_name))


def _number(value):
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError("Object of type %s is not JSON serializable" % type(value).__name__)


def _marshal(result):
    try:
        return json.dumps(result, ensure_ascii=False, default=_number).encode("utf-8", "surrogatepass")
    except Exception as e:
        raise _Fault("Runtime.MarshalError", "Unable to marshal response: %s" % e)


def _unmarshal(body):
    try:
        return json.loads(body)
    except ValueError as e:
        raise _Fault("Runtime.UnmarshalError", "Unable to unmarshal input: %s" % e)


def _error_document(error, request_id):
    if isinstance(error, _Fault):
        error_type, message, trace = error.error_type, error.message, error.trace
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if f.filename != _HERE and "importlib" not in f.filename]
        error_type, message, trace = type(error).__name__, str(error), traceback.format_list(own or frames)
    sys.stdout.write("[ERROR] %s: %s\n" % (error_type, message))
    if trace:
        sys.stdout.write("Traceback (most recent call last):\n%s\n" % "".join(trace).rstrip("\n"))
    document = {"errorMessage": message, "errorType": error_type, "requestId": request_id, "stackTrace": trace}
    head = "Content-Type: application/json\r\nLambda-Runtime-Function-Error-Type: %s\r\n" % error_type
    return json.dumps(document).encode(), head


class _RequestId(logging.Filter):
    def filter(self, record):
        record.aws_request_id = _request_id
        return True


def _set_up_output():
    for stream in (sys.stdout, sys.stderr):
        # Whole lines go out at once, in the order of both streams.
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(
        "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s", "%Y-%m-%dT%H:%M:%S"))
    logging.Formatter.converter = time.gmtime
    handler.addFilter(_RequestId())
    logging.getLogger().addHandler(handler)


def _flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            # The handler has put something else there, or closed it; that is not the invocation's failure.
            pass


def _serve(api, handler):
    global _request_id
    while True:
        status, headers, body = api.call("GET", "invocation/next")
        if status != 200:
            sys.exit("the Runtime API answered %d to next" % status)
        _request_id = headers["lambda-runtime-aws-request-id"]
        os.environ["_X_AMZN_TRACE_ID"] = headers.get("lambda-runtime-trace-id", "")
        try:
            result = _marshal(handler(_unmarshal(body), LambdaContext(headers)))
        except Exception as e:
            document, head = _error_document(e, _request_id)
            _flush()
            api.call("POST", "invocation/%s/error" % _request_id, document, head)
        else:
            _flush()
            api.call("POST", "invocation/%s/response" % _request_id, result, "Content-Type: application/json\r\n")
            del result
        del headers, body


def _main():
    _set_up_output()
    api = _RuntimeApi(os.environ["AWS_LAMBDA_RUNTIME_API"])
    # The folder of this file makes way for the function's: its modules come first, and ours is none of them.
    sys.path[0] = os.environ["LAMBDA_TASK_ROOT"]
    try:
        handler = _load(os.environ["_HANDLER"])
        _flush()
    except Exception as e:
        document, head = _error_document(e, "")
        _flush()
        api.call("POST", "init/error", document, head)
        sys.exit(1)
    _serve(api, handler)


if __name__ == "__main__":
    _main()
