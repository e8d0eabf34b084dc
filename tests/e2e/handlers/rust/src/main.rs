//! Answers what it sees; raises what it is told to.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

static CALLS: AtomicU32 = AtomicU32::new(0);

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let LambdaEvent { payload, context } = event;
    if let Some(text) = payload["raise"].as_str() {
        return Err(text.to_owned().into());
    }
    let calls = CALLS.fetch_add(1, Ordering::SeqCst) + 1;
    println!("called {calls}");
    let deadline = UNIX_EPOCH + Duration::from_millis(context.deadline);
    let left = deadline.duration_since(SystemTime::now()).unwrap_or_default();
    Ok(json!({
        "event": payload,
        "calls": calls,
        "name": context.env_config.function_name,
        "version": context.env_config.version,
        "id": context.request_id,
        "left": left.as_millis() as u64,
        "stage": std::env::var("STAGE").ok(),
    }))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(handle)).await
}
