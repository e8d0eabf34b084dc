//! 100,000 rules: how long they take to be added and removed, and what an event costs among them.

use rules::{Engine, Event, Pattern, RulesError, Scratch};

use super::{Options, best_rate, rate, seconds_of};

const RULES: usize = 100_000;
const EVENTS: usize = 1_000;

/// Rules of several kinds, most of them on fields that all share.
fn rule(id: usize) -> String {
    let source = format!("aws.service{}", id % 40);
    let detail = match id % 8 {
        0..=3 => format!(r#""eventName":["Call{}","Call{id}"],"userIdentity":{{"userName":["user-{id}"]}}"#, id % 500),
        4 => format!(r#""eventName":[{{"prefix":"Delete{id}"}}]"#),
        5 => format!(r#""requestParameters":{{"instanceId":[{{"wildcard":"i-*{id}*"}}]}}"#),
        6 => format!(r#""eventName":["Call{}"],"errorCode":[{{"anything-but":"E{id}"}}]"#, id / 8),
        _ => format!(
            r#""sourceIPAddress":[{{"cidr":"10.{}.{}.0/24"}}],"n":[{{"numeric":[">",{id}]}}]"#,
            id % 256,
            id / 256 % 256
        ),
    };
    format!(r#"{{"source":["{source}"],"detail":{{{detail}}}}}"#)
}

fn event(id: usize) -> String {
    let rule = id * (RULES / EVENTS);
    format!(
        r#"{{"version":"0","source":"aws.service{}","account":"123456789012","detail":{{"eventName":"Call{}","errorCode":"E1","sourceIPAddress":"10.{}.7.9","n":{id},"userIdentity":{{"type":"IAMUser","userName":"user-{rule}"}},"requestParameters":{{"instanceId":"i-0{rule}a"}}}}}}"#,
        rule % 40,
        rule % 500,
        rule % 256,
    )
}

/// Measures.
#[allow(clippy::print_stdout, reason = "the report is this program's purpose")]
pub fn run(options: &Options) -> anyhow::Result<()> {
    let texts: Vec<String> = (0..RULES).map(rule).collect();
    let mut engine = Engine::default();
    let mut read = Ok(());
    let seconds = seconds_of(|| {
        read = texts.iter().enumerate().try_for_each(|(id, text)| insert(&mut engine, id, text));
    });
    read?;
    println!("{RULES} rules read and added in {seconds:.2} s");
    let events: Vec<String> = (0..EVENTS).map(event).collect();
    let events = events.iter().map(|event| Event::check(event.as_bytes())).collect::<Result<Vec<_>, _>>()?;
    let mut scratch = Scratch::default();
    let mut matched = 0;
    let speed = best_rate(options.seconds, events.len(), || {
        matched = 0;
        for event in &events {
            matched += engine.matches(*event, &mut scratch).count();
        }
    });
    println!("{}/s events among them, {:.2} rules matched by each", rate(speed), matched as f64 / events.len() as f64);
    let changes = 10_000;
    let mut read = Ok(());
    let seconds = seconds_of(|| {
        read = (0..changes).map(|id| id * 7 % RULES).try_for_each(|id| insert(&mut engine, id, &texts[id]));
    });
    read?;
    println!("one replaced in {:.1} µs", seconds * 1e6 / changes as f64);
    let seconds = seconds_of(|| (0..RULES).for_each(|id| _ = engine.remove(&id)));
    println!("all removed in {seconds:.2} s");
    Ok(())
}

fn insert(engine: &mut Engine<usize>, id: usize, text: &str) -> Result<(), RulesError> {
    engine.insert(id, &Pattern::parse(text)?);
    Ok(())
}
