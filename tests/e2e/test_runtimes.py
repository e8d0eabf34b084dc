"""Functions in Node.js, Java, Go, Rust and C#, by the real runtimes and the official clients of the Runtime API."""

import base64
import io
import json
import shutil
import zipfile

import pytest
from conftest import ROLE, ROOT, create_function, zipped

HANDLERS = ROOT / "tests/e2e/handlers"

# Runtime, handler, what is packed, and the tool that runs or builds it.
COMPILED = {
    "java": ("java8.al2", "tidegate.Handler::handleRequest", HANDLERS / "java/target/classes", "java"),
    "go": ("provided.al2", "any", HANDLERS / "go/target/bootstrap", "go"),
    "rust": ("provided.al2023", "any", HANDLERS / "rust/target/release/bootstrap", "cargo"),
    "csharp": ("dotnet8", "any", HANDLERS / "csharp/target", "mono"),
}


def package(path):
    """A zip of a folder, or of one executable."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file() and file.name != ".state")
        for file in files:
            info = zipfile.ZipInfo(file.name if path.is_file() else str(file.relative_to(path)))
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o755 << 16
            archive.writestr(info, file.read_bytes())
    return out.getvalue()


def invoke(server, name, event):
    answer = server.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event).encode(), LogType="Tail")
    return answer, json.loads(answer["Payload"].read()), base64.b64decode(answer["LogResult"]).decode()


@pytest.mark.parametrize("language", COMPILED)
def test_a_compiled_handler(server, unique, language):
    runtime, handler, path, tool = COMPILED[language]
    if not shutil.which(tool):
        pytest.skip(f"there is no {tool} on this machine")
    assert path.exists(), f"{path} is not there: run scripts/sdks {language}-handler"
    server.client("lambda").create_function(
        FunctionName=unique, Runtime=runtime, Role=ROLE, Handler=handler, Code={"ZipFile": package(path)}, Timeout=30,
        MemorySize=512, Environment={"Variables": {"STAGE": "test"}})
    for calls in (1, 2):
        answer, result, tail = invoke(server, unique, {"word": "ü"})
        assert "FunctionError" not in answer, (result, tail)
        assert result["event"] == {"word": "ü"} and result["calls"] == calls and result["stage"] == "test", result
        assert (result["name"], result["version"]) == (unique, "$LATEST")
        assert result["id"] in tail and 0 < result["left"] <= 30_000, (result, tail)
        assert f"called {calls}" in tail, tail
    answer, result, tail = invoke(server, unique, {"raise": "bad luck"})
    assert answer["FunctionError"] == "Unhandled" and "bad luck" in result["errorMessage"], (result, tail)
    # an error of the handler is not the end of its process
    assert invoke(server, unique, {})[1]["calls"] == 3


def test_a_node_function_on_a_runtime_of_2017(server, unique):
    source = """
exports.handler = (event, context, callback) => {
  if (event.raise) return callback(new TypeError(event.raise));
  console.log('hello', event.name);
  setTimeout(() => callback(null, { id: context.awsRequestId, left: context.getRemainingTimeInMillis() }), 5);
};"""
    create_function(server, unique, {"index.js": source}, runtime="nodejs6.10", handler="index.handler", Timeout=20)
    answer, result, tail = invoke(server, unique, {"name": "you"})
    assert "FunctionError" not in answer, result
    assert f"\t{result['id']}\tINFO\thello you\n" in tail and 0 < result["left"] <= 20_000
    answer, result, _ = invoke(server, unique, {"raise": "no"})
    assert answer["FunctionError"] == "Unhandled"
    assert (result["errorType"], result["errorMessage"]) == ("TypeError", "no") and result["trace"][0] == "TypeError: no"


@pytest.mark.parametrize("runtime, text", [("dotnet8", "bootstrap"), ("ruby3.3", "aws_lambda_ric"), ("java21", "runtime-interface-client")])
def test_what_cannot_run_is_refused_with_its_remedy(server, unique, runtime, text):
    client = server.client("lambda")
    with pytest.raises(client.exceptions.InvalidParameterValueException, match=text):
        client.create_function(FunctionName=unique, Runtime=runtime, Role=ROLE, Handler="a.b", Code={"ZipFile": zipped({"a": ""})})
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_function(FunctionName=unique)
