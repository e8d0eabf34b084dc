//! From PutEvents to the first line of a function: PutEvents → rule → warm Python function, which tells of it by one
//! request to the benchmark.

use serde_json::json;

use super::latency::{ACCOUNT, Receiver, create_function, json_call};
use crate::contenders::{Contender, Server};
use crate::load::REGION;
use crate::options::Options;
use crate::report::Row;

/// It tells at once, over a connection that stays.
const HANDLER: &str = r#"
import http.client, json, os
hook = http.client.HTTPConnection(os.environ["HOOK"])
def handler(event, context):
    hook.request("POST", "/hook", json.dumps({"Message": str(event["detail"]["n"])}))
    hook.getresponse().read()
"#;

/// One event at a time: milliseconds from the call of PutEvents until the benchmark hears of the function.
pub async fn measure(contender: &'static Contender, options: &Options) -> anyhow::Result<Row> {
    let server = Server::fresh(contender, options).await?;
    let receiver = Receiver::listen().await?;
    create_function(&server, HANDLER, ("HOOK", &receiver.address)).await?;
    let pattern = json!({"Name": "bench", "EventPattern": r#"{"source":["bench"]}"#});
    json_call(&server, "events", "AWSEvents.PutRule", pattern).await?;
    let arn = format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:bench");
    let targets = json!({"Rule": "bench", "Targets": [{"Id": "1", "Arn": arn}]});
    json_call(&server, "events", "AWSEvents.PutTargets", targets).await?;
    let name = "PutEvents to function entered: rule, warm Python function, heard of by its HTTP request; one at a time";
    receiver.one_at_a_time(&server, options.duration(), name).await
}
