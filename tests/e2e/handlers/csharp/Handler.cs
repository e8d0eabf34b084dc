// Answers what it sees; raises what it is told to. With a client of the Runtime API of its own, as Mono runs none of the
// official one.
using System;
using System.IO;
using System.Net;
using System.Text;
using System.Text.RegularExpressions;

static class Handler
{
    const string Version = "/2018-06-01/runtime/invocation/";
    static readonly string Api = "http://" + Environment.GetEnvironmentVariable("AWS_LAMBDA_RUNTIME_API") + Version;
    static int calls;

    static string Handle(string request, string invocation, long deadline)
    {
        Match raise = Regex.Match(request, "\"raise\": *\"([^\"]*)\"");
        if (raise.Success) throw new InvalidOperationException(raise.Groups[1].Value);
        calls++;
        Console.WriteLine("called " + calls);
        long now = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();
        return "{\"event\":" + request + ",\"calls\":" + calls + ",\"name\":" + Variable("AWS_LAMBDA_FUNCTION_NAME")
            + ",\"version\":" + Variable("AWS_LAMBDA_FUNCTION_VERSION") + ",\"id\":" + Text(invocation)
            + ",\"left\":" + (deadline - now) + ",\"stage\":" + Variable("STAGE") + "}";
    }

    static string Text(string text) { return "\"" + text.Replace("\\", "\\\\").Replace("\"", "\\\"") + "\""; }

    static string Variable(string name) { return Text(Environment.GetEnvironmentVariable(name) ?? ""); }

    static void Post(string path, string body)
    {
        var request = (HttpWebRequest)WebRequest.Create(Api + path);
        request.Method = "POST";
        byte[] bytes = Encoding.UTF8.GetBytes(body);
        request.ContentLength = bytes.Length;
        using (Stream stream = request.GetRequestStream()) stream.Write(bytes, 0, bytes.Length);
        request.GetResponse().Close();
    }

    static void Main()
    {
        while (true)
        {
            var next = (HttpWebRequest)WebRequest.Create(Api + "next");
            next.Timeout = System.Threading.Timeout.Infinite;
            string id, text;
            long deadline;
            using (WebResponse answer = next.GetResponse())
            using (var reader = new StreamReader(answer.GetResponseStream(), Encoding.UTF8))
            {
                id = answer.Headers["Lambda-Runtime-Aws-Request-Id"];
                deadline = long.Parse(answer.Headers["Lambda-Runtime-Deadline-Ms"]);
                text = reader.ReadToEnd();
            }
            try
            {
                Post(id + "/response", Handle(text, id, deadline));
            }
            catch (InvalidOperationException error)
            {
                Post(id + "/error", "{\"errorType\":\"" + error.GetType().Name + "\",\"errorMessage\":" + Text(error.Message) + "}");
            }
        }
    }
}
